"""The store is the enemy, and whoever looks has no key: what it does is seen all the same.

The attacks of docs/threat-model.md on a repository that is scrubbed, read and pruned without
any secret. Each is done to a real chain; nothing may stay silent. What is done to a bucket is done
behind the back of whoever reads and writes there.
"""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from strongroom.crypto import random
from strongroom.crypto.recipients import RecoveryUnlocker, make_recovery_recipient
from strongroom.crypto.signing import SigningKey
from strongroom.engine.points import open_points
from strongroom.errors import (
    BlockDamagedError,
    ForgedError,
    ForkedError,
    IntegrityError,
    PointWithheldError,
    RolledBackError,
    StorageUnavailableError,
    StrongroomError,
    UnvouchedError,
)
from strongroom.format.block import BlockAddress, BlockClass
from strongroom.format.codec import decode
from strongroom.format.journal import CondemnationBody, IdentityBody, encode_entry, frame_entry
from strongroom.format.pack import Directory
from strongroom.format.point import TreeRoot
from strongroom.format.versions import FORMAT
from strongroom.repository import layout, promises, rekey
from strongroom.repository.append import append_entry
from strongroom.repository.chain import Chain, Head, Trust
from strongroom.repository.reach import Reach, used_packs
from strongroom.repository.repository import Repository
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import look_at, read_tree, source
from tests.support.jobs import Job, a_job, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from strongroom.crypto.keys import Seed
    from strongroom.testing.memory_storage import Snapshot
    from tests.support.s3_server import S3Server

FLIPS = 4
"""Random offsets tried in every object, beside its first and last byte."""


@pytest.fixture
def storage(request: pytest.FixtureRequest) -> AdversaryStorage:
    if getattr(request, "param", "memory") == "bucket":
        return AdversaryStorage(request.getfixturevalue("s3").storage())
    return AdversaryStorage(MemoryStorage())


IN_BOTH = pytest.mark.parametrize("storage", ["memory", "bucket"], indirect=True)


@pytest.fixture
def job(storage: AdversaryStorage, tmp_path: Path) -> Job:
    job = a_job(storage, source("files", tmp_path / "tree"), cache=tmp_path / "cache")
    for _ in range(3):
        publish(job, tmp_path)
    return job


def publish(job: Job, folder: Path) -> None:
    files = {f"own{n}": random.token(40_000) for n in range(4)}
    write_tree(folder / "tree", {"same": b"same" * 400, **files})
    job.run()


def damaged(job: Job, heads: dict[bytes, Head] | None = None) -> set[str]:
    return {damage.object for damage in job.scrub(heads=heads).damaged}


def read_all(job: Job) -> dict[bytes, object]:
    return job.contents()


# --- flipped bits ----------------------------------------------------------------------------


def of_every_kind(storage: AdversaryStorage, folder: Path, kit: Seed | None = None) -> Job:
    """Return a job whose repository has every kind of object and of entry.

    Args:
        storage: Where.
        folder: For the job's tree.
        kit: What opens it.
    """
    plain = a_job(storage, source("files", folder / "tree"), sealed=False)
    publish(plain, folder)
    job = a_job(storage, source("files", folder / "tree"), cache=folder / "cache")
    publish(job, folder)
    assert job.chain_key is not None
    recipient = make_recovery_recipient(kit or random.seed(), "second kit", job.signer.public)
    job.chain_key = rekey.change_recipients(job.chain(), job.chain_key, [recipient], job.signer)
    publish(job, folder)
    faulty = FaultyStorage(storage)
    job.storage = faulty
    for _ in range(2):  # the second takes over what the first left, and dies as well
        faulty.fail("put", 4, StorageUnavailableError("power cut"))
        with pytest.raises(StorageUnavailableError):
            publish(job, folder)
    job.storage = storage
    publish(job, folder)
    oldest = job.chain().live_points()[0].point.point_id
    promises.take_back(job.chain(), [oldest], job.signer, job.clock, "removed by hand")
    job.prune(timedelta(hours=1), signer=job.signer)
    introduced = SigningKey.from_seed(random.seed()).public
    append_entry(job.chain(), IdentityBody(introduced.raw), job.signer, job.clock)
    publish(job, folder)
    return job


def test_one_flipped_byte_anywhere_is_seen_by_scrub(
    storage: AdversaryStorage, tmp_path: Path
) -> None:
    job = of_every_kind(storage, tmp_path)
    assert job.scrub().ok
    kinds = set()
    for info in list(storage.list("")):
        if info.key.startswith(layout.LOCKS):
            continue
        kinds.add(info.key.split("/")[2] if info.key.startswith("chains/") else info.key[:7])
        offsets = {random.number(0, info.size - 1) for _ in range(FLIPS)} | {0, info.size - 1}
        for offset in offsets:
            mask = 1 << random.number(0, 7)
            storage.flip(info.key, offset, mask)
            assert info.key in damaged(job), f"byte {offset} of {info.key}, mask {mask}"
            storage.flip(info.key, offset, mask)
    assert job.scrub().ok
    assert kinds == {
        "strongr",
        "headers",
        "journal",
        "envelopes",
        "links",
        "keys",
        "packs",
        "tables",
    }


def test_a_truncated_object_is_seen_by_scrub(job: Job, storage: AdversaryStorage) -> None:
    for info in list(storage.list("chains/")):
        then = storage.snapshot()
        storage.truncate(info.key, random.number(0, info.size - 1))
        assert info.key in damaged(job)
        storage.replay(then)


# --- swaps -----------------------------------------------------------------------------------


def test_two_packs_that_changed_places_are_refused(job: Job, storage: AdversaryStorage) -> None:
    one, other = (job.packs_of(point, BlockClass.DATA)[0] for point in job.points()[:2])
    storage.swap(one, other)

    assert {one, other} <= damaged(job)
    with pytest.raises(IntegrityError):
        read_all(job)


def places(job: Job, key: str, at: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, offset and length of the blocks in a point's own pack."""
    body = job.points()[at].body
    chain = job.chain()
    record = chain.sessions(body).get(body.slot)
    assert record is not None
    for ordinal, page in chain.ledger(record.ledger).items():
        directory = decode(Directory, page.directory, "a directory")
        if layout.pack(job.chain_id, directory.pack_id) == key:
            for place, offset, length in zip(
                directory.places, directory.offsets, directory.lengths, strict=True
            ):
                yield ordinal << 16 | place, offset, length


def test_two_blocks_that_changed_places_are_refused(
    storage: AdversaryStorage, tmp_path: Path
) -> None:
    job = a_job(storage, source("files", tmp_path / "tree"))
    job.block_size = 256 << 10
    write_tree(tmp_path / "tree", {"image": random.token(1 << 20)})
    image = source("image", tmp_path / "tree" / "image")
    job.sources = (image,)
    job.run()
    (key,) = job.packs_of(job.points()[0], BlockClass.DATA)
    (first, at, length), (second, there, long) = list(places(job, key, 0))[:2]
    assert length == long, "otherwise the swap shows by itself"
    data = bytearray(storage.get(key))
    data[at : at + length], data[there : there + length] = (
        data[there : there + length],
        data[at : at + length],
    )
    storage.replace(key, bytes(data))

    report = job.scrub()

    assert [damage.object for damage in report.damaged] == [key]
    assert "2 of its 4 blocks" in report.damaged[0].what
    assert report.points == (job.points()[0].id.hex(),)
    body = job.points()[0].body
    for number in (first, second):
        with pytest.raises(BlockDamagedError):
            job.reader(body).read(BlockAddress(body.slot, number), BlockClass.DATA)


@IN_BOTH
def test_two_entries_that_changed_places_are_refused(job: Job, storage: AdversaryStorage) -> None:
    one, other = layout.entry(job.chain_id, 1), layout.entry(job.chain_id, 2)
    storage.swap(one, other)

    assert {one, other} <= damaged(job)
    with pytest.raises(ForgedError, match="moved or replayed"):
        job.chain().live_points()


def test_an_entry_of_another_chain_is_refused(
    job: Job, storage: AdversaryStorage, tmp_path: Path
) -> None:
    other = a_job(storage, source("files", tmp_path / "tree"))
    publish(other, tmp_path)
    storage.replace(layout.entry(job.chain_id, 3), storage.get(layout.entry(other.chain_id, 1)))

    assert layout.entry(job.chain_id, 3) in damaged(job)
    with pytest.raises(ForgedError):
        job.chain().live_points()


# --- replays, holes, roll-back -----------------------------------------------------------------


def test_an_old_entry_replayed_as_the_newest_is_refused(
    job: Job, storage: AdversaryStorage
) -> None:
    storage.duplicate(layout.entry(job.chain_id, 1), layout.entry(job.chain_id, 4))

    assert layout.entry(job.chain_id, 4) in damaged(job)
    with pytest.raises(ForgedError, match="moved or replayed"):
        job.chain().live_points()


@IN_BOTH
def test_a_hidden_entry_that_is_promised_is_withheld(job: Job, storage: AdversaryStorage) -> None:
    hidden = job.points()[1]
    storage.hide(layout.entry(job.chain_id, hidden.entry.number))

    assert layout.entry(job.chain_id, hidden.entry.number) in damaged(job)
    with pytest.raises(PointWithheldError) as withheld:
        job.chain().live_points()
    assert withheld.value.fields["points"] == [hidden.id.hex()]


def test_a_condemnation_excuses_no_hole(job: Job, storage: AdversaryStorage) -> None:
    append_entry(job.chain(), CondemnationBody([2], [], 0), None, job.clock)
    storage.hide(layout.entry(job.chain_id, 2))

    assert layout.entry(job.chain_id, 2) in damaged(job)
    with pytest.raises(PointWithheldError):
        job.chain().live_points()


def test_a_repository_rolled_back_as_a_whole_is_known_by_a_head(
    job: Job, storage: AdversaryStorage, tmp_path: Path
) -> None:
    then = storage.snapshot()
    publish(job, tmp_path)
    head = job.head()
    storage.replay(then)

    assert job.scrub().ok, "without a head nobody can know"
    assert damaged(job, {job.chain_id: head}) == {layout.entry(job.chain_id, 4)}
    with pytest.raises(RolledBackError):
        job.chain().check_head(head)


@IN_BOTH
def test_another_history_after_a_roll_back_is_a_fork(
    job: Job, storage: AdversaryStorage, tmp_path: Path
) -> None:
    then = storage.snapshot()
    publish(job, tmp_path)
    head = job.head()
    storage.replay(then)
    job.cache = None
    publish(job, tmp_path)

    assert layout.entry(job.chain_id, 4) in damaged(job, {job.chain_id: head})
    with pytest.raises(ForkedError):
        job.chain().check_head(head)


# --- condemnations that nobody may make ----------------------------------------------------------


def test_an_unsigned_condemnation_of_what_is_promised_changes_nothing(
    job: Job, tmp_path: Path
) -> None:
    before = read_all(job)
    points = [point.id for point in job.points()]
    everything = [
        info.key.removeprefix(layout.chain(job.chain_id))
        for info in job.storage.list(layout.chain(job.chain_id))
        if "/keys/" not in info.key
    ]
    append_entry(job.chain(), CondemnationBody([1, 2, 3], everything, 0), None, job.clock)

    chain = job.chain()
    assert chain.condemned() == set()
    assert chain.newest_session is not None
    assert chain.newest_session.number == 3
    job.prune()
    assert read_all(job) == before

    publish(job, tmp_path)
    newest = job.points()[-1]
    assert newest.body.base == 3
    assert [point.id for point in job.points()[:-1]] == points
    assert job.restore(newest) == look_at(tmp_path / "tree")
    job.prune()
    assert {*before} <= {*read_all(job)}
    assert job.scrub().ok


def test_a_stranger_who_may_append_cannot_end_a_journal(job: Job, tmp_path: Path) -> None:
    """His entry is no signed one's successor; what is signed later commits to it as it is."""
    body = CondemnationBody([], [], 0)
    encoded = encode_entry(job.chain_id, 4, bytes(32), 0, b"", body, FORMAT)
    job.storage.put(layout.entry(job.chain_id, 4), frame_entry(encoded, b""))

    publish(job, tmp_path)

    assert len(read_all(job)) == 4
    assert job.scrub().ok


def test_an_entry_far_away_ends_no_journal(job: Job, tmp_path: Path) -> None:
    body = CondemnationBody([], [], 0)
    encoded = encode_entry(job.chain_id, 9_999_999_999, bytes(32), 0, b"", body, FORMAT)
    far = layout.entry(job.chain_id, 9_999_999_999)
    job.storage.put(far, frame_entry(encoded, b""))

    publish(job, tmp_path)

    assert len(read_all(job)) == 4
    assert damaged(job) == {far}


# --- forged chains -------------------------------------------------------------------------------


def a_forged_chain(storage: AdversaryStorage) -> tuple[Chain, RecoveryUnlocker, SigningKey]:
    """Let somebody who has only public halves make a chain.

    The vouch in the stanza is genuine: it was copied from a real envelope. So is the identity
    that it vouches for, which the forger introduces as a second signer.
    """
    job = a_job(storage)
    genuine, forger = job.signer, SigningKey.from_seed(random.seed())
    seed = random.seed()
    recipient = make_recovery_recipient(seed, "kit", genuine.public)
    chain, _ = rekey.start_chain(storage, random.token(16), [recipient], forger, job.clock, None)
    append_entry(chain, IdentityBody(genuine.public.raw), forger, job.clock)
    return chain, RecoveryUnlocker(seed), genuine


def test_introducing_a_trusted_identity_makes_nobody_trusted(storage: AdversaryStorage) -> None:
    chain, unlocker, genuine = a_forged_chain(storage)

    with pytest.raises(UnvouchedError) as unvouched:
        chain.wrapped.unlock(unlocker, Trust())
    assert unvouched.value.fields["fingerprint"] == chain.identity.fingerprint
    with pytest.raises(UnvouchedError):
        chain.wrapped.unlock(unlocker, Trust(pinned=frozenset({genuine.public.fingerprint})))


def test_a_forged_chain_shows_its_own_signer_to_a_scrub(storage: AdversaryStorage) -> None:
    chain, _, genuine = a_forged_chain(storage)
    job = a_job(storage)
    pinned = Trust(pinned=frozenset({genuine.public.fingerprint}))

    report = job.scrub(pinned)

    assert layout.header(chain.chain_id) in {damage.object for damage in report.damaged}
    signers = {one.chain: one.signer for one in report.chains}
    assert signers[chain.chain_id.hex()] == chain.identity.fingerprint


def test_an_entry_signed_by_somebody_else_is_refused(job: Job, storage: AdversaryStorage) -> None:
    stranger = SigningKey.from_seed(random.seed())
    chain = job.chain()
    encoded = encode_entry(
        job.chain_id, 4, chain.entry(3).hash, 0, stranger.public.id, IdentityBody(b""), FORMAT
    )
    signature = stranger.sign("journal entry", encoded)
    storage.plant(layout.entry(job.chain_id, 4), frame_entry(encoded, signature))

    assert layout.entry(job.chain_id, 4) in damaged(job)
    with pytest.raises(ForgedError):
        job.chain().live_points()


def test_a_stripped_signature_is_refused(job: Job, storage: AdversaryStorage) -> None:
    entry = job.chain().entry(3)
    raw = entry.raw
    bare = encode_entry(
        raw.chain_id, raw.number, raw.previous_hash, raw.made_at, b"", entry.body, FORMAT
    )
    storage.replace(layout.entry(job.chain_id, 3), frame_entry(bare, b""))

    assert layout.entry(job.chain_id, 3) in damaged(job)
    with pytest.raises(ForgedError, match="stripped"):
        job.chain().live_points()


# --- each kind of attack on each kind of object of a bucket ---------------------------------------


@dataclass
class Furnished:
    """A repository that has every kind of object, and what opens it."""

    job: Job
    tree: Path
    kit: Seed
    then: Snapshot
    head: Head
    """What was seen of it: without that nobody notices that the newest entry is withheld."""

    def moved(self, storage: AdversaryStorage) -> Furnished:
        storage.replay(self.then)
        job = copy(self.job)
        job.storage, job.cache = storage, None
        job.repository = Repository.open(storage)
        return replace(self, job=job)

    def contents(self) -> dict[bytes, object]:
        """Return what every point holds."""
        chain = self.job.chain()
        chain.check_head(self.head)
        keyring = chain.wrapped.unlock(RecoveryUnlocker(self.kit), self.job.trust)
        found: dict[bytes, object] = {}
        for view in open_points([chain], lambda _: keyring):
            root = view.opened().root
            assert isinstance(root, TreeRoot)
            found[view.point_id] = read_tree(view.reader(), root)
        return found

    def newest_of(self, kind: str) -> str:
        """Return the newest object of a kind, or the one with the highest name that is needed."""
        if kind == "headers":
            return layout.header(self.job.chain_id)
        if kind == "packs":
            chain = self.job.chain()
            needed = used_packs(Reach(chain), chain, chain.kept_entries())
            return max(layout.pack(chain.chain_id, one.directory.pack_id) for one in needed)
        return max(self.job.keys_of(kind))


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Furnished:
    folder, kit = tmp_path_factory.mktemp("furnished"), random.seed()
    storage = AdversaryStorage(MemoryStorage())
    job = of_every_kind(storage, folder, kit)
    return Furnished(job, folder / "tree", kit, storage.snapshot(), job.head())


def other_than(storage: AdversaryStorage, key: str) -> bytes:
    """Return an older object of the same kind, or any where there is none."""
    kind = key.split("/")[2] if key.startswith("chains/") else ""
    keys = [info.key for info in storage.list("chains/" if kind else layout.HEADERS)]
    same = [one for one in keys if f"/{kind}/" in one or not kind]
    return storage.get(next(one for one in [*same, *keys] if one != key))


def beside(storage: AdversaryStorage, key: str) -> str:
    """Return a name that another object of the same kind could have."""
    names = (f"{key[:-1]}{digit}" for digit in "987c")
    return next(name for name in names if not storage.exists(name))


ATTACKS: dict[str, Callable[[AdversaryStorage, str], None]] = {
    "altered": lambda storage, key: storage.flip(key, storage.size(key) // 2),
    "cut": lambda storage, key: storage.truncate(key, -1),
    "emptied": lambda storage, key: storage.truncate(key, 0),
    "replaced by another": lambda storage, key: storage.replace(key, other_than(storage, key)),
    "withheld": lambda storage, key: storage.hide(key),
    "planted": lambda storage, key: storage.plant(
        beside(storage, key), other_than(storage, key) + random.token(9)
    ),
}
UNSEEN = {("withheld", "links"), ("withheld", "keys")}
"""By a scrub, which has no key that says which there have to be; who reads notices."""
TOGETHER = (("envelopes", "links", "keys", "packs"), ("journal",), ("tables",), ("headers",))
"""Kinds of objects that are attacked at once: each is seen for itself."""


@pytest.mark.parametrize("attack", ATTACKS)
def test_whatever_is_done_to_any_kind_of_object_of_a_bucket_is_seen(
    attack: str, furnished: Furnished, s3: S3Server
) -> None:
    """By a scrub; readers and sessions say so as well, or come to what is right."""
    storage = AdversaryStorage(s3.storage())
    there = furnished.moved(storage)
    expected = there.contents()
    for kinds in TOGETHER:
        for kind in kinds:
            ATTACKS[attack](storage, there.newest_of(kind))
        done = zip(kinds, storage.attacks[-len(kinds) :], strict=True)
        hurt = {key for kind, one in done for key in one.keys if (attack, kind) not in UNSEEN}

        report = there.job.scrub(heads={there.job.chain_id: there.head})

        assert hurt <= {one.object for one in (*report.damaged, *report.notes)}
        with suppress(StrongroomError):
            assert there.contents() == expected
        with suppress(StrongroomError):
            publish(there.job, there.tree.parent)
            (newest,) = {*(found := there.contents())} - {*expected}
            assert found[newest] == look_at(there.tree)
        storage.replay(there.then)
    assert there.contents() == expected
