from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import pytest

from strongroom.crypto import hpke, random
from strongroom.crypto.envelope import (
    MAX_CHUNKER_SEED,
    MAX_STANZAS,
    ChainKey,
    SessionSecrets,
    make_link,
    open_link,
    open_session,
    seal_stanzas,
    unlock,
)
from strongroom.crypto.keys import DedupKey, Seed
from strongroom.crypto.labels import bind
from strongroom.crypto.recipients import RecoveryUnlocker, Stanza
from strongroom.errors import (
    EnvelopeDamagedError,
    InvalidInputError,
    KmsUnavailableError,
    MalformedError,
    NoRecipientMatchedError,
    PointDamagedError,
)

if TYPE_CHECKING:
    from conftest import Household

    from strongroom.crypto.signing import SigningPublicKey

CONTEXT = b"chain one"
DEDUP = DedupKey(bytes(range(32)))


@pytest.fixture(scope="module")
def chain_key() -> ChainKey:
    return ChainKey.generate()


@pytest.fixture(scope="module")
def stanzas(household: Household, chain_key: ChainKey) -> tuple[Stanza, ...]:
    return seal_stanzas(chain_key, [household.recovery, household.password], CONTEXT)


def test_any_one_secret_opens_the_chain_key(
    household: Household, chain_key: ChainKey, stanzas: tuple[Stanza, ...]
) -> None:
    for unlocker in (household.by_password, household.by_stored_secret, household.by_kit):
        opened = unlock(stanzas, chain_key.public.raw, unlocker, CONTEXT)
        assert opened.seed == chain_key.seed
        assert opened.id == chain_key.id == chain_key.public.id


def test_nothing_is_sealed_to_no_one_or_to_too_many(
    household: Household, chain_key: ChainKey
) -> None:
    with pytest.raises(InvalidInputError):
        seal_stanzas(chain_key, [], CONTEXT)
    with pytest.raises(InvalidInputError):
        seal_stanzas(chain_key, [household.recovery] * (MAX_STANZAS + 1), CONTEXT)
    assert len(seal_stanzas(chain_key, [household.recovery] * MAX_STANZAS, CONTEXT)) == 64


def test_a_secret_that_opens_nothing_is_told_the_hints(
    chain_key: ChainKey, stanzas: tuple[Stanza, ...]
) -> None:
    with pytest.raises(NoRecipientMatchedError, match="birds") as raised:
        unlock(stanzas, chain_key.public.raw, RecoveryUnlocker(random.seed()), CONTEXT)
    assert raised.value.fields["hints"] == ["kit in the safe", "birds"]


@pytest.mark.parametrize("number", [0, MAX_STANZAS + 1])
def test_the_number_of_stanzas_is_bounded_before_any_is_tried(
    household: Household, chain_key: ChainKey, stanzas: tuple[Stanza, ...], number: int
) -> None:
    with pytest.raises(MalformedError):
        unlock(stanzas[:1] * number, chain_key.public.raw, household.by_kit, CONTEXT)


def test_one_hostile_stanza_is_refused_before_any_is_tried(
    household: Household, chain_key: ChainKey, stanzas: tuple[Stanza, ...]
) -> None:
    hostile = msgspec.structs.replace(stanzas[1], memory_kib=1 << 40)
    with pytest.raises(MalformedError):
        unlock((stanzas[0], hostile), chain_key.public.raw, household.by_kit, CONTEXT)


def test_a_stanza_of_another_chain_or_chain_key_does_not_stand_in(
    household: Household, chain_key: ChainKey, stanzas: tuple[Stanza, ...]
) -> None:
    other = ChainKey.generate()
    with pytest.raises(EnvelopeDamagedError):
        unlock(stanzas, chain_key.public.raw, household.by_kit, b"chain two")
    with pytest.raises(EnvelopeDamagedError):
        unlock(
            seal_stanzas(other, [household.recovery], CONTEXT),
            chain_key.public.raw,
            household.by_kit,
            CONTEXT,
        )


def test_a_chain_key_that_a_stranger_sealed_under_our_name_is_not_taken(
    household: Household, chain_key: ChainKey
) -> None:
    # The stranger binds their own seed to our public half: only comparing finds it.
    info = bind("stanza", chain_key.public.id, CONTEXT)
    forged = household.recovery.wrap(info, random.seed())
    with pytest.raises(EnvelopeDamagedError, match="another chain key"):
        unlock([forged], chain_key.public.raw, household.by_kit, CONTEXT)


def test_a_kms_that_is_down_is_not_taken_for_a_wrong_key(
    household: Household, chain_key: ChainKey, stanzas: tuple[Stanza, ...]
) -> None:
    class Down:
        def describe(self) -> str:
            return "the KMS"

        def unwrap(self, stanza: Stanza, info: bytes) -> Seed:
            raise KmsUnavailableError("no answer")

        def vouches(self, stanza: Stanza, identity: SigningPublicKey) -> bool:
            return False

    with pytest.raises(KmsUnavailableError):
        unlock(stanzas, chain_key.public.raw, Down(), CONTEXT)


def test_links_lead_from_the_newest_chain_key_to_the_first() -> None:
    keys = [ChainKey.generate() for _ in range(5)]
    links = [make_link(old, new.public, CONTEXT) for old, new in pairwise(keys)]
    found = keys[-1]
    for old, link in zip(reversed(keys[:-1]), reversed(links), strict=True):
        found = open_link(found, link, old.public.raw, CONTEXT)
        assert found.seed == old.seed


def test_an_altered_or_swapped_link_leads_nowhere() -> None:
    old, new, other = (ChainKey.generate() for _ in range(3))
    link = make_link(old, new.public, CONTEXT)
    for key, sealed, public, context in (
        (new, link[:-1] + bytes([link[-1] ^ 1]), old.public.raw, CONTEXT),
        (new, link[:-1], old.public.raw, CONTEXT),
        (new, b"", old.public.raw, CONTEXT),
        (new, link, other.public.raw, CONTEXT),
        (new, link, old.public.raw, b"chain two"),
        (other, link, old.public.raw, CONTEXT),
        (new, make_link(other, new.public, CONTEXT), old.public.raw, CONTEXT),
    ):
        with pytest.raises(EnvelopeDamagedError):
            open_link(key, sealed, public, context)


def test_a_link_to_a_stranger_s_key_under_our_name_is_not_followed() -> None:
    old, new = ChainKey.generate(), ChainKey.generate()
    info = bind("link", old.public.id, CONTEXT)
    forged = hpke.seal(new.public, info, random.seed().expose())
    with pytest.raises(EnvelopeDamagedError, match="another"):
        open_link(new, forged, old.public.raw, CONTEXT)


def test_a_stanza_is_not_taken_for_a_link_nor_session_keys_for_either(
    household: Household, chain_key: ChainKey
) -> None:
    new = ChainKey.generate()
    secrets = SessionSecrets.generate(DEDUP, 1)
    with pytest.raises(EnvelopeDamagedError):
        open_link(new, secrets.seal(new.public, CONTEXT), chain_key.public.raw, CONTEXT)
    with pytest.raises(PointDamagedError):
        open_session(new, make_link(chain_key, new.public, CONTEXT), CONTEXT)


def test_the_keys_of_a_session_open_with_the_chain_key(chain_key: ChainKey) -> None:
    secrets = SessionSecrets.generate(DEDUP, MAX_CHUNKER_SEED)
    sealed = secrets.seal(chain_key.public, CONTEXT)
    opened = open_session(chain_key, sealed, CONTEXT, secrets.commitment(CONTEXT))
    assert opened == secrets
    assert opened.dedup_key == DEDUP
    assert opened.chunker_seed == MAX_CHUNKER_SEED


def test_every_session_has_fresh_keys_and_the_chain_s_own_two() -> None:
    first, second = (SessionSecrets.generate(DEDUP, 7) for _ in range(2))
    assert first.session_key != second.session_key
    assert first.metakey != second.metakey
    assert first.dedup_key == second.dedup_key
    assert first.session_key.expose() != first.metakey.expose()


def test_session_keys_altered_or_in_another_place_are_damage(chain_key: ChainKey) -> None:
    sealed = SessionSecrets.generate(DEDUP, 7).seal(chain_key.public, CONTEXT)
    for key, text, context in (
        (chain_key, sealed, b"session two"),
        (ChainKey.generate(), sealed, CONTEXT),
        (chain_key, sealed[:-1], CONTEXT),
        (chain_key, sealed[:-1] + bytes([sealed[-1] ^ 1]), CONTEXT),
        (chain_key, b"", CONTEXT),
    ):
        with pytest.raises(PointDamagedError):
            open_session(key, text, context)


@pytest.mark.parametrize("length", [0, 103, 105])
def test_session_keys_of_another_length_are_damage(chain_key: ChainKey, length: int) -> None:
    sealed = hpke.seal(chain_key.public, bind("session keys", CONTEXT), b"\1" * length)
    with pytest.raises(PointDamagedError):
        open_session(chain_key, sealed, CONTEXT)


def test_keys_that_anyone_sealed_to_the_public_half_do_not_match_what_was_signed(
    chain_key: ChainKey,
) -> None:
    signed = SessionSecrets.generate(DEDUP, 7).commitment(CONTEXT)
    swapped = SessionSecrets.generate(DEDUP, 7).seal(chain_key.public, CONTEXT)
    with pytest.raises(PointDamagedError, match="commit"):
        open_session(chain_key, swapped, CONTEXT, signed)
    with pytest.raises(PointDamagedError, match="commit"):
        open_session(chain_key, swapped, CONTEXT, b"")


def test_a_commitment_fixes_every_key_and_the_context() -> None:
    one, two = SessionSecrets.generate(DEDUP, 7), SessionSecrets.generate(DedupKey(bytes(32)), 8)
    variants = [
        one,
        SessionSecrets(two.session_key, one.metakey, one.dedup_key, 7),
        SessionSecrets(one.session_key, two.metakey, one.dedup_key, 7),
        SessionSecrets(one.session_key, one.metakey, two.dedup_key, 7),
        SessionSecrets(one.session_key, one.metakey, one.dedup_key, 8),
    ]
    commitments = {secrets.commitment(CONTEXT) for secrets in variants}
    commitments.add(one.commitment(b"session two"))
    assert len(commitments) == 6
    assert one.commitment(CONTEXT) in commitments
    assert len(one.commitment(CONTEXT)) == 32


@pytest.mark.parametrize("seed", [0, -1, MAX_CHUNKER_SEED + 1])
def test_a_chunker_seed_that_means_unseeded_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="chunker seed"):
        SessionSecrets.generate(DEDUP, seed)
