"""Configuration backups: what opens, and what is refused because somebody was at it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from strongroom import errors
from strongroom.crypto import hpke, random
from strongroom.crypto.recipients import (
    RecoveryRecipient,
    RecoveryUnlocker,
    make_recovery_recipient,
)
from strongroom.crypto.signing import SigningKey
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.format import configuration as form
from strongroom.format.codec import encode
from strongroom.repository import configuration, layout
from strongroom.repository.chain import Trust
from strongroom.repository.repository import Repository
from strongroom.repository.scrub import scrub
from strongroom.repository.scrub_report import ScrubReport
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.memory_storage import MemoryStorage
from strongroom.testing.turned_clock import TurnedClock

if TYPE_CHECKING:
    from strongroom.crypto.recipients import Recipient

SERVER: Final = SigningKey.from_seed(random.seed())
SEED: Final = random.seed()
RECIPIENT: Final = make_recovery_recipient(SEED, "kit", SERVER.public)
UNLOCKER: Final = RecoveryUnlocker(SEED)
OURS: Final = configuration.installation_id(SERVER.public)


def holding(word: bytes) -> form.Configuration:
    return form.Configuration(catalog=word, records=[("kind", b"x")], metakeys=[])


def publish(
    storage: AdversaryStorage,
    word: bytes,
    previous: configuration.Seen | None = None,
    signer: SigningKey = SERVER,
    recipient: Recipient = RECIPIENT,
) -> configuration.Seen:
    return configuration.publish(storage, holding(word), [recipient], signer, 1000, previous)


@pytest.fixture
def storage() -> AdversaryStorage:
    return AdversaryStorage(MemoryStorage())


def put(storage: AdversaryStorage, number: int, data: bytes, installation: bytes = OURS) -> None:
    key = layout.configuration(installation, number)
    storage.delete(key)
    storage.put(key, data)


def opened(storage: AdversaryStorage, number: int = 1, trust: Trust | None = None) -> bytes:
    stored = configuration.read(storage, OURS, number)
    return configuration.open_configuration(stored, UNLOCKER, trust or Trust()).catalog


def test_what_was_stored_comes_back_by_the_secret_alone(storage: AdversaryStorage) -> None:
    publish(storage, b"all of it")
    assert opened(storage) == b"all of it"


def test_nothing_of_it_stands_in_the_storage(storage: AdversaryStorage) -> None:
    publish(storage, b"name-of-a-job" * 3)
    data = storage.get(layout.configuration(OURS, 1))
    assert b"name-of-a-job" not in data


def test_a_configuration_is_never_stored_for_nobody(storage: AdversaryStorage) -> None:
    with pytest.raises(errors.InvalidInputError):
        configuration.publish(storage, holding(b"x"), [], SERVER, 1000, None)
    assert not list(storage.list(""))


def test_two_of_nearly_one_length_look_alike(storage: AdversaryStorage) -> None:
    for length in (40_000, 40_100):
        publish(storage, random.token(length))
    first, second = (storage.size(layout.configuration(OURS, number)) for number in (1, 2))
    assert first == second


def test_another_secret_opens_nothing(storage: AdversaryStorage) -> None:
    publish(storage, b"x")
    stored = configuration.read(storage, OURS, 1)
    with pytest.raises(errors.NoRecipientMatchedError):
        configuration.open_configuration(stored, RecoveryUnlocker(random.seed()), Trust())


def test_a_forger_who_has_the_public_half_is_not_believed(storage: AdversaryStorage) -> None:
    forger = SigningKey.from_seed(random.seed())
    # Sealed to the genuine recipient, with the genuine vouch, which anybody can copy.
    publish(storage, b"the forger's jobs", signer=forger)
    stored = configuration.read(storage, configuration.installation_id(forger.public), 1)
    with pytest.raises(errors.UnvouchedError, match=forger.public.fingerprint):
        configuration.open_configuration(stored, UNLOCKER, Trust())
    pinned = Trust(pinned=frozenset({forger.public.fingerprint}))
    assert configuration.open_configuration(stored, UNLOCKER, pinned).catalog


def test_a_pin_excludes_whom_the_secret_vouches_for(storage: AdversaryStorage) -> None:
    publish(storage, b"x")
    with pytest.raises(errors.UnvouchedError):
        opened(storage, trust=Trust(pinned=frozenset({"somebody-else"})))


def test_a_forger_cannot_put_one_among_the_server_s_own(storage: AdversaryStorage) -> None:
    forger = SigningKey.from_seed(random.seed())
    publish(storage, b"x", signer=forger)
    theirs = configuration.installation_id(forger.public)
    data = storage.get(layout.configuration(theirs, 1))
    put(storage, 1, data)
    with pytest.raises(errors.MalformedError, match="was moved"):
        configuration.read(storage, OURS, 1)
    backup, _, _ = form.read_configuration(data, "it")
    body = encode(msgspec.structs.replace(backup, installation_id=OURS))
    put(storage, 1, form.frame_configuration(body, forger.sign(form.DOMAIN, body)))
    with pytest.raises(errors.ForgedError):
        configuration.read(storage, OURS, 1)


@pytest.mark.parametrize("field", ["sealed", "stanzas", "made_at", "previous", "key_public"])
def test_no_part_can_be_exchanged_for_that_of_another(
    storage: AdversaryStorage, field: str
) -> None:
    first = publish(storage, b"one")
    configuration.publish(storage, holding(b"two"), [RECIPIENT], SERVER, 2000, first)
    one, _, signature = form.read_configuration(storage.get(layout.configuration(OURS, 1)), "one")
    two, _, _ = form.read_configuration(storage.get(layout.configuration(OURS, 2)), "two")
    mixed = msgspec.structs.replace(one, **{field: getattr(two, field)})
    put(storage, 1, form.frame_configuration(encode(mixed), signature))
    with pytest.raises(errors.ForgedError):
        configuration.read(storage, OURS, 1)


def test_a_payload_of_another_number_does_not_open_even_signed() -> None:
    one = form.payload_info(OURS, 1)
    key = hpke.PrivateKey.from_seed(random.seed())
    sealed = hpke.seal(key.public, one, b"x")
    with pytest.raises(hpke.NotSealedHereError):
        hpke.open_sealed(key, form.payload_info(OURS, 2), sealed)


def test_a_stripped_signature_is_refused(storage: AdversaryStorage) -> None:
    publish(storage, b"x")
    _, body, _ = form.read_configuration(storage.get(layout.configuration(OURS, 1)), "it")
    put(storage, 1, form.frame_configuration(body, b""))
    with pytest.raises(errors.ForgedError):
        configuration.read(storage, OURS, 1)


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_one_that_was_cut_short_is_refused(storage: AdversaryStorage, length: int) -> None:
    publish(storage, b"x")
    put(storage, 1, storage.get(layout.configuration(OURS, 1))[:length])
    with pytest.raises(errors.MalformedError):
        configuration.read(storage, OURS, 1)


def test_an_older_one_in_the_newest_s_place_is_refused(storage: AdversaryStorage) -> None:
    first = publish(storage, b"old")
    publish(storage, b"new", first)
    put(storage, 2, storage.get(layout.configuration(OURS, 1)))
    with pytest.raises(errors.MalformedError, match="was moved"):
        configuration.read(storage, OURS, 2)


def test_a_roll_back_shows_where_a_newer_one_was_seen(storage: AdversaryStorage) -> None:
    seen = publish(storage, b"new", publish(storage, b"old"))
    storage.delete(layout.configuration(OURS, 2))
    newest = configuration.read(storage, OURS, 1)
    configuration.check_history(storage, newest)
    with pytest.raises(errors.RolledBackError):
        configuration.check_history(storage, newest, seen)


def test_another_one_of_the_number_that_was_seen_is_a_fork(storage: AdversaryStorage) -> None:
    seen = publish(storage, b"x")
    newest = configuration.read(storage, OURS, 1)
    with pytest.raises(errors.ForkedError):
        configuration.check_history(storage, newest, replace(seen, body_hash=bytes(32)))


def test_two_that_do_not_follow_each_other_are_a_fork(storage: AdversaryStorage) -> None:
    publish(storage, b"new", replace(publish(storage, b"old"), body_hash=b"!" * 32))
    with pytest.raises(errors.ForkedError):
        configuration.check_history(storage, configuration.read(storage, OURS, 2))


def test_what_is_planted_under_a_high_number_is_passed_over(storage: AdversaryStorage) -> None:
    publish(storage, b"one")
    put(storage, 9_999_999_999, b"garbage")
    assert publish(storage, b"two").number == 2


def test_the_newest_are_kept_and_others_installations_are_left_alone(
    storage: AdversaryStorage,
) -> None:
    other = SigningKey.from_seed(random.seed())
    publish(storage, b"x", signer=other)
    for _ in range(4):
        publish(storage, b"x")
    assert configuration.let_go(storage, OURS, 4, 2) == 2
    theirs = configuration.installation_id(other.public)
    assert configuration.numbers(storage) == {OURS: [3, 4], theirs: [1]}


def test_what_is_planted_under_high_numbers_makes_no_good_one_go(
    storage: AdversaryStorage,
) -> None:
    publish(storage, b"one")
    planted = [9_999_999_998, 9_999_999_999]
    for number in planted:
        put(storage, number, b"garbage")
    newest = publish(storage, b"two").number
    assert configuration.let_go(storage, OURS, newest, 1) == 1
    assert configuration.numbers(storage) == {OURS: [newest, *planted]}
    assert opened(storage, newest) == b"two"


def test_a_later_version_is_told_from_damage(storage: AdversaryStorage) -> None:
    body = encode([2, "whatever this will be"])
    put(storage, 1, form.frame_configuration(body, b""))
    with pytest.raises(errors.UnsupportedVersionError):
        configuration.read(storage, OURS, 1)


def test_scrub_knows_a_whole_one_and_finds_a_damaged_one() -> None:
    storage = AdversaryStorage(MemoryStorage())
    repository = Repository.create(storage, TurnedClock())
    publish(storage, b"x")

    def scrubbed() -> ScrubReport:
        return scrub(repository, Trust(), {}, progress=NullProgress(), cancel=Cancellation())

    report = scrubbed()
    assert not report.damaged
    assert not report.notes
    data = bytearray(storage.get(layout.configuration(OURS, 1)))
    data[200] ^= 1
    put(storage, 1, bytes(data))
    assert [one.object for one in scrubbed().damaged] == [layout.configuration(OURS, 1)]


def test_a_recipient_without_a_vouch_seals_and_does_not_vouch(storage: AdversaryStorage) -> None:
    bare = RecoveryRecipient(RECIPIENT.public, "kit", b"")
    publish(storage, b"x", recipient=bare)
    with pytest.raises(errors.UnvouchedError):
        opened(storage)
