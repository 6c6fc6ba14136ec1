from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from strongroom.crypto import hpke, kdf, random, recipients
from strongroom.crypto.kdf import MAXIMUM, MINIMUM
from strongroom.crypto.keys import Password, Seed
from strongroom.crypto.recipients import (
    PasswordUnlocker,
    RecoveryUnlocker,
    SeedUnlocker,
    Stanza,
    check_stanza,
    make_password_recipient,
    make_recovery_recipient,
    recipient_of,
    vouch_for,
)
from strongroom.crypto.signing import SigningKey
from strongroom.errors import (
    EnvelopeDamagedError,
    InvalidInputError,
    MalformedError,
    NotAddressedError,
    UnsupportedVersionError,
)

if TYPE_CHECKING:
    from conftest import Household

SECRET = Seed(bytes(range(32)))
INFO = b"info"


@pytest.fixture(scope="module")
def by_password(household: Household) -> Stanza:
    return household.password.wrap(INFO, SECRET)


@pytest.fixture(scope="module")
def by_kit(household: Household) -> Stanza:
    return household.recovery.wrap(INFO, SECRET)


def altered(stanza: Stanza, **fields: Any) -> Stanza:
    return msgspec.structs.replace(stanza, **fields)


def test_every_secret_unwraps_its_own_stanza_and_no_other(
    household: Household, by_password: Stanza, by_kit: Stanza
) -> None:
    assert household.by_password.unwrap(by_password, INFO) == SECRET
    assert household.by_stored_secret.unwrap(by_password, INFO) == SECRET
    assert household.by_kit.unwrap(by_kit, INFO) == SECRET
    for unlocker, stanza in (
        (household.by_password, by_kit),
        (household.by_stored_secret, by_kit),
        (household.by_kit, by_password),
        (RecoveryUnlocker(random.seed()), by_kit),
        (SeedUnlocker(random.seed()), by_password),
    ):
        with pytest.raises(NotAddressedError):
            unlocker.unwrap(stanza, INFO)
        assert not unlocker.vouches(stanza, household.identity.public)


def test_a_kit_is_not_taken_for_a_password(household: Household, by_password: Stanza) -> None:
    with pytest.raises(NotAddressedError):
        RecoveryUnlocker(household.password_seed).unwrap(by_password, INFO)


def test_a_wrong_password_is_found_without_opening_anything(
    by_password: Stanza, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hpke, "open_sealed", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(NotAddressedError):
        PasswordUnlocker(Password(b"wrong")).unwrap(by_password, INFO)


def test_a_password_is_derived_once_for_each_salt(
    household: Household, by_password: Stanza, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def derive(password: Password, salt: bytes, parameters: kdf.Argon2Parameters) -> Seed:
        calls.append((salt, parameters))
        return household.password_seed

    monkeypatch.setattr(recipients, "derive_seed", derive)
    unlocker = PasswordUnlocker(Password(b"x"))
    for _ in range(3):
        unlocker.unwrap(by_password, INFO)
        unlocker.vouches(by_password, household.identity.public)
    assert len(calls) == 1

    other = hpke.PrivateKey.from_seed(random.seed()).public
    with pytest.raises(NotAddressedError):
        unlocker.unwrap(
            altered(by_password, salt=bytes(16), recipient_id=other.id, public=other.raw), INFO
        )
    assert len(calls) == 2


def test_a_stanza_under_another_purpose_or_altered_is_damage_not_a_wrong_password(
    household: Household, by_password: Stanza, by_kit: Stanza
) -> None:
    for stanza, info in (
        (by_password, b"another"),
        (altered(by_password, sealed=by_password.sealed[:-1] + b"\0"), INFO),
        (altered(by_password, sealed=by_kit.sealed), INFO),
    ):
        with pytest.raises(EnvelopeDamagedError):
            household.by_stored_secret.unwrap(stanza, info)


def test_a_recipient_comes_back_whole_from_its_stanza(
    household: Household, by_password: Stanza, by_kit: Stanza
) -> None:
    assert recipient_of(by_password) == household.password
    assert recipient_of(by_kit) == household.recovery
    assert recipient_of(by_password).kind == by_password.kind == "password"
    assert recipient_of(by_kit).kind == by_kit.kind == "recovery"
    assert recipient_of(by_kit).id == by_kit.recipient_id == household.recovery.public.id
    wrapped = recipient_of(by_password).wrap(INFO, SECRET)
    assert household.by_stored_secret.unwrap(wrapped, INFO) == SECRET


def test_a_stanza_is_the_array_of_its_fields(by_password: Stanza) -> None:
    encoded = msgspec.msgpack.encode(by_password)
    assert msgspec.msgpack.decode(encoded)[0] == "password"
    assert msgspec.msgpack.decode(encoded, type=Stanza) == by_password
    longer = msgspec.msgpack.encode([*msgspec.msgpack.decode(encoded), 1])
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(longer, type=Stanza)


@pytest.mark.parametrize(
    "fields",
    [
        {"memory_kib": MAXIMUM.memory_kib + 1},
        {"memory_kib": MINIMUM.memory_kib - 1},
        {"passes": 11},
        {"lanes": 9},
        {"memory_kib": 0, "passes": 0, "lanes": 0},
        {"salt": b""},
        {"salt": bytes(17)},
        {"public": b""},
        {"public": bytes(1216)},
        {"public": bytes(1215)},
        {"recipient_id": bytes(32)},
        {"recipient_id": b""},
        {"sealed": b""},
        {"sealed": bytes(1169)},
        {"vouch": b"x"},
        {"hint": "x" * 201},
        {"hint": "two\nlines"},
        {"hint": "\x1b[2Jcleared"},
        {"hint": "\u202ereversed"},
        {"kind": ""},
        {"kind": "x" * 33},
        {"kind": "pass\nword"},
        {"kind": "recovery"},
    ],
    ids=str,
)
def test_a_hostile_stanza_is_refused_before_any_derivation(
    by_password: Stanza, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipients, "derive_seed", lambda *_: pytest.fail("it was derived"))
    stanza = altered(by_password, **fields)
    with pytest.raises(MalformedError):
        check_stanza(stanza)
    with pytest.raises(MalformedError):
        recipient_of(stanza)
    if stanza.kind == "password":
        with pytest.raises(MalformedError):
            PasswordUnlocker(Password(b"x")).unwrap(stanza, INFO)


@pytest.mark.parametrize("fields", [{"salt": bytes(16)}, {"passes": 3}, {"kind": "password"}])
def test_a_kit_has_no_parameters(by_kit: Stanza, fields: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        recipient_of(altered(by_kit, **fields))


def test_a_kms_stanza_passes_and_is_for_others_to_unwrap(
    household: Household, by_kit: Stanza
) -> None:
    kms = altered(by_kit, kind="kms-aws", public=b"", sealed=bytes(512))
    check_stanza(kms)
    with pytest.raises(UnsupportedVersionError):
        recipient_of(kms)
    for unlocker in (household.by_password, household.by_stored_secret, household.by_kit):
        with pytest.raises(NotAddressedError):
            unlocker.unwrap(kms, INFO)
    with pytest.raises(MalformedError):
        check_stanza(altered(kms, sealed=bytes(1 << 20)))


def test_every_secret_vouches_for_the_identity_and_no_other(
    household: Household, by_password: Stanza, by_kit: Stanza
) -> None:
    for unlocker, stanza in (
        (household.by_password, by_password),
        (household.by_stored_secret, by_password),
        (household.by_kit, by_kit),
    ):
        assert unlocker.vouches(stanza, household.identity.public)
        stranger = SigningKey.from_seed(random.seed())
        assert not unlocker.vouches(stanza, stranger.public)
        assert not unlocker.vouches(altered(stanza, vouch=b""), household.identity.public)


def test_who_knows_only_the_public_half_cannot_vouch(
    household: Household, by_password: Stanza
) -> None:
    # The attacker seals a stanza to the victim's public half and vouches with a key of theirs.
    attacker = SigningKey.from_seed(random.seed())
    forged = altered(by_password, vouch=vouch_for(random.seed(), attacker.public))
    assert not household.by_stored_secret.vouches(forged, attacker.public)


def test_the_vouching_key_is_not_the_key_pair_of_the_seed_itself(
    household: Household, by_password: Stanza
) -> None:
    identity = household.identity.public
    direct = SigningKey.from_seed(household.password_seed).sign("vouch", identity.raw)
    stanza = altered(by_password, vouch=direct)
    assert not household.by_stored_secret.vouches(stanza, identity)


def test_the_same_password_twice_is_two_recipients(household: Household) -> None:
    again, seed = make_password_recipient(
        Password.from_text("Nine pigeons, 4 hats"), "birds", household.identity.public, MINIMUM
    )
    assert again.salt != household.password.salt
    assert again.id != household.password.id
    assert seed != household.password_seed


@pytest.mark.parametrize("hint", ["two\nlines", "\x1b[0m", "x" * 201])
def test_a_hint_that_no_reader_would_take_is_not_written(household: Household, hint: str) -> None:
    with pytest.raises(InvalidInputError):
        make_password_recipient(Password(b"x"), hint, household.identity.public, MINIMUM)
    with pytest.raises(InvalidInputError):
        make_recovery_recipient(random.seed(), hint, household.identity.public)


def test_unlockers_say_what_they_are(household: Household) -> None:
    assert household.by_password.describe() == "the password"
    assert household.by_stored_secret.describe() == "the stored secret"
    assert household.by_kit.describe() == "the recovery kit"
