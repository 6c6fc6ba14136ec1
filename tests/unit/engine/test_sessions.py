"""Sessions that do not go as planned: sources that fail, sessions that die or are overtaken."""

from __future__ import annotations

import copy
import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from strongroom import errors
from strongroom.crypto import random as secure
from strongroom.engine import pipeline
from strongroom.engine.backup import NewPoint, SourcePlan
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.format.block import BlockClass
from strongroom.format.journal import CondemnationBody, DeathBody, PointKind
from strongroom.format.pack import read_header
from strongroom.format.point import TreeRoot
from strongroom.repository import layout
from strongroom.repository.append import append_entry
from strongroom.storage.base import Storage
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import EngineJob, look_at, read_tree, settle, source

MIB = 1 << 20
PACKS = 4
"""Packs of data that a full of the image makes."""


@pytest.fixture(autouse=True)
def _small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "PACK_RAW_BYTES", 2 * MIB)


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(random.Random(1).randbytes(PACKS * 2 * MIB))  # noqa: S311 - a test's
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(40):
        (root / f"{number:02}").write_bytes(b"file %d" % number * 100)
    return root


def a_job(storage: Storage, tmp_path: Path, *sources: SourcePlan, sealed: bool = True) -> EngineJob:
    return EngineJob(storage, sources, cache=tmp_path / "cache", sealed=sealed)


def clone(job: EngineJob, cache: Path) -> EngineJob:
    """Return what a copy of the job's machine would run: same keys, a cache of its own."""
    twin = copy.copy(job)
    twin.metakeys = dict(job.metakeys)
    twin.cache = cache
    if job.cache is not None and job.cache.exists():
        shutil.copytree(job.cache, cache)
    return twin


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"changed")


# --- sources that fail -----------------------------------------------------------------------


def test_a_source_that_fails_leaves_the_others_standing_and_its_own_state_carried_over(
    storage: MemoryStorage, tmp_path: Path, tree: Path, image: Path
) -> None:
    job = a_job(storage, tmp_path, source("files", tree), source("image", image))
    job.run()
    moved = image.rename(tmp_path / "unmounted")
    (tree / "new").write_bytes(b"new")
    settle()
    second = job.run()
    files, disk = second.results
    assert files.point_id is not None
    assert isinstance(disk.error, errors.SourceUnavailableError)
    assert disk.point_id is None
    assert second.kind is PointKind.INCREMENTAL
    job.check_block_sets()
    job.sweep()

    moved.rename(image)
    damage(image)
    third = job.run()
    assert [result.error for result in third.results] == [None, None]
    disk_points = [p for p in job.points() if p.public.source_id == job.sources[1].source_id]
    assert len(disk_points) == 2
    assert disk_points[1].details.parent == disk_points[0].id
    # Carried over, its blocks were still there to be compared with and referred to.
    assert third.changed_bytes == 65536
    assert job.read_image(disk_points[1]) == image.read_bytes()
    job.check_block_sets()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_source_that_fails_half_way_leaves_nothing_that_another_could_trip_over(
    storage: MemoryStorage,
    tmp_path: Path,
    tree: Path,
    image: Path,
    monkeypatch: pytest.MonkeyPatch,
    order: tuple[int, int],
) -> None:
    """The two hold the same content, so what the first stored is recognised by the second."""
    twin = tmp_path / "twin"
    shutil.copytree(tree, twin)
    broken, whole = source("files", tree), source("files", twin)
    job = a_job(storage, tmp_path, *[(broken, whole)[index] for index in order])
    from strongroom.sources.files import FilesSource

    inner = FilesSource.walk

    def failing(self: FilesSource):
        for count, found in enumerate(inner(self)):
            if count == 30 and self.root == os.fsencode(tree):
                raise errors.SourceUnavailableError("the disk went away")
            yield found

    monkeypatch.setattr(FilesSource, "walk", failing)
    outcome = job.run()
    assert sorted(result.error is None for result in outcome.results) == [False, True]
    (point,) = job.points()
    assert isinstance(point.details.root, TreeRoot)
    assert read_tree(job.reader(point.body), point.details.root) == look_at(twin)
    job.check_block_sets()
    monkeypatch.undo()
    settle()
    job.run()
    for point in job.points():
        root = tree if point.public.source_id == broken.source_id else twin
        assert isinstance(point.details.root, TreeRoot)
        assert read_tree(job.reader(point.body), point.details.root) == look_at(root)
    job.check_block_sets()


def test_if_every_source_fails_nothing_is_published(storage: MemoryStorage, tmp_path: Path) -> None:
    gone = [source("files", tmp_path / "gone"), source("image", tmp_path / "gone too")]
    job = a_job(storage, tmp_path, *gone)
    with pytest.raises(errors.SessionFailedError, match="gone too"):
        job.run()
    assert job.chain().listing == []
    with pytest.raises(errors.SourceUnavailableError):
        job.run(job.plan(gone[:1]))


def test_a_command_that_fails_leaves_no_point(storage: MemoryStorage, tmp_path: Path) -> None:
    job = a_job(storage, tmp_path, source("command", "echo half; exit 3"))
    with pytest.raises(errors.SessionFailedError, match="exit status 3"):
        job.run()
    assert job.chain().listing == []


# --- sessions that die -----------------------------------------------------------------------


def data_packs(storage: MemoryStorage, job: EngineJob) -> int:
    """Return how many packs of data are there; what else there is holds pages of indexes."""
    stored = [info.key for info in storage.list(layout.packs(job.chain_id))]
    return sum(read_header(storage.get(key), key).block_class == BlockClass.DATA for key in stored)


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("writes", range(1, PACKS + 4))
def test_the_complete_packs_of_a_session_that_died_are_taken_over(
    storage: MemoryStorage, tmp_path: Path, image: Path, writes: int, sealed: bool
) -> None:
    """Killed at any write; the next run stores only what the dead one had not."""
    faulty = FaultyStorage(storage)
    job = a_job(faulty, tmp_path, source("image", image), sealed=sealed)
    # A plain session has no keys to store first.
    faulty.kill_after(writes if sealed else writes - 1)
    with pytest.raises(errors.StorageUnavailableError):
        job.run()
    faulty.assert_all_hit()
    complete = data_packs(storage, job)

    job.storage = storage
    outcome = job.run()
    assert data_packs(storage, job) == PACKS
    assert outcome.stored_bytes < (PACKS - complete) * 2 * MIB * 1.05 + 64 * 1024
    (point,) = job.points()
    assert job.read_image(point) == image.read_bytes()
    job.check_block_sets()
    job.sweep()
    assert job.read_image(point) == image.read_bytes()
    # The heir is like any other session to the next one.
    damage(image)
    settle()
    assert job.run().changed_bytes == 65536
    assert job.read_image(job.points()[-1]) == image.read_bytes()


def test_a_heir_that_dies_too_leaves_both_to_the_next(
    storage: MemoryStorage, tmp_path: Path, image: Path
) -> None:
    job = a_job(FaultyStorage(storage), tmp_path, source("image", image))
    for writes in (2, 4):  # the second writes a DEATH and its keys first
        faulty = FaultyStorage(storage)
        faulty.kill_after(writes)
        job.storage = faulty
        with pytest.raises(errors.StorageUnavailableError):
            job.run()
    job.storage = storage
    complete = data_packs(storage, job)
    assert complete >= 2
    outcome = job.run()
    assert outcome.stored_bytes < (PACKS - complete) * 2 * MIB * 1.05 + 64 * 1024
    (point,) = job.points()
    assert job.read_image(point) == image.read_bytes()
    job.check_block_sets()


def test_a_damaged_pack_of_a_dead_session_is_not_taken_over(
    storage: MemoryStorage, tmp_path: Path, image: Path
) -> None:
    faulty = FaultyStorage(storage)
    job = a_job(faulty, tmp_path, source("image", image))
    faulty.kill_after(3)
    with pytest.raises(errors.StorageUnavailableError):
        job.run()
    job.storage = storage
    first, *_ = storage.list(layout.packs(job.chain_id))
    data = bytearray(storage.get(first.key))
    data[len(data) // 2] ^= 1
    storage.delete(first.key)
    storage.put(first.key, data)
    job.run()
    (point,) = job.points()
    assert job.read_image(point) == image.read_bytes()


def test_a_dead_session_whose_metakey_is_lost_is_declared_dead_once(
    storage: MemoryStorage, tmp_path: Path, image: Path
) -> None:
    """Nobody can tell what its packs hold; they are prune's, and no entry more is spent on them."""
    job = a_job(storage, tmp_path, source("image", image))
    job.run()
    known = dict(job.metakeys)
    job.storage = faulty = FaultyStorage(storage)
    image.write_bytes(random.Random(2).randbytes(PACKS * 2 * MIB))  # noqa: S311 - a test's
    faulty.kill_after(3)
    with pytest.raises(errors.StorageUnavailableError):
        job.run()
    job.storage = storage
    job.run(metakeys=known)
    job.run()
    chain = job.chain()
    kinds = [type(chain.entry(number).body) for number in chain.listing]
    assert kinds.count(DeathBody) == 1
    assert job.read_image(job.points()[-1]) == image.read_bytes()


class _Interrupting(NullProgress):
    """Asks for the stop once so many packs are stored."""

    def __init__(self, storage: MemoryStorage, job: EngineJob, packs: int) -> None:
        self.cancel = Cancellation()
        self._look: Callable[[], int] = lambda: sum(
            1 for _ in storage.list(layout.packs(job.chain_id))
        )
        self._packs = packs

    def advance(self, byte_count: int = 0, files: int = 0) -> None:
        if self._look() >= self._packs:
            self.cancel.cancel()


def test_a_session_stopped_on_request_leaves_complete_packs_that_the_next_run_reuses(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    image = tmp_path / "disk"
    image.write_bytes(random.Random(2).randbytes(40 * MIB))  # noqa: S311 - a test's
    job = a_job(storage, tmp_path, source("image", image))
    progress = _Interrupting(storage, job, 2)
    with pytest.raises(errors.CancelledError):
        job.run(progress=progress, cancel=progress.cancel)
    complete = data_packs(storage, job)
    assert complete >= 2
    assert job.points() == []
    outcome = job.run()
    assert outcome.stored_bytes < (20 - complete) * 2 * MIB * 1.05 + 128 * 1024
    (point,) = job.points()
    assert job.read_image(point) == image.read_bytes()


def test_a_session_that_is_stopped_while_a_block_is_being_filled_ends(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    """Small files share a block whose address is known before its content; its pack may be full."""
    root = tmp_path / "tree"
    root.mkdir()
    (root / "a-small").write_bytes(b"small")
    (root / "b-large").write_bytes(random.Random(4).randbytes(24 * MIB))  # noqa: S311 - a test's
    job = a_job(storage, tmp_path, source("files", root))

    class Stopping(NullProgress):
        cancel = Cancellation()

        def reading(self, what: str) -> None:
            if data_packs(storage, job) or what.endswith("c-large"):
                self.cancel.cancel()

    shutil.copyfile(root / "b-large", root / "c-large")
    with pytest.raises(errors.CancelledError):
        job.run(progress=Stopping(), cancel=Stopping.cancel)
    job.run()
    (point,) = job.points()
    assert isinstance(point.details.root, TreeRoot)
    assert read_tree(job.reader(point.body), point.details.root) == look_at(root)


# --- fences ----------------------------------------------------------------------------------

Meddle = Callable[[Sequence[NewPoint]], frozenset[bytes]]


def run_and_meanwhile(job: EngineJob, act: Callable[[bytes], object]) -> None:
    """Run a session; when all is stored and only the entry is missing, let `act` happen."""
    plan = job.plan()

    def meanwhile(_: Sequence[NewPoint]) -> frozenset[bytes]:
        act(plan.session_id)
        return frozenset()

    job.run(plan, give_up=meanwhile)


def test_a_session_that_was_declared_dead_does_not_publish(
    storage: MemoryStorage, tmp_path: Path, tree: Path
) -> None:
    job = a_job(storage, tmp_path, source("files", tree))
    job.run()
    with pytest.raises(errors.FencedError, match="declared dead"):
        run_and_meanwhile(
            job,
            lambda session_id: append_entry(
                job.chain(), DeathBody(session_id, secure.token(16)), job.signer, job.clock
            ),
        )
    assert len(job.points()) == 1
    job.run()
    assert len(job.points()) == 2


def test_of_two_copies_of_one_machine_that_run_at_once_one_is_refused(
    storage: MemoryStorage, tmp_path: Path, tree: Path
) -> None:
    job = a_job(storage, tmp_path, source("files", tree))
    job.run()
    twin = clone(job, tmp_path / "cache of the twin")
    (tree / "new").write_bytes(b"new")
    settle()
    with pytest.raises(errors.FencedError, match="published entry"):
        run_and_meanwhile(job, lambda _: twin.run())
    assert len(twin.points()) == 2
    for point in twin.points()[1:]:
        assert isinstance(point.details.root, TreeRoot)
        assert read_tree(twin.reader(point.body), point.details.root) == look_at(tree)


def test_a_session_planned_on_a_state_that_is_no_longer_the_newest_is_refused(
    storage: MemoryStorage, tmp_path: Path, tree: Path
) -> None:
    """The chain was looked at, and then a copy of this machine published.

    Going on from the older state would refer to blocks that the newest does not hold: a
    block's life would have a hole, and prune could remove what a point needs.
    """
    job = a_job(storage, tmp_path, source("files", tree))
    (tree / "large").write_bytes(random.Random(3).randbytes(3 * MIB))  # noqa: S311 - a test's
    job.run()
    twin = clone(job, tmp_path / "cache of the twin")
    twin.metakeys = job.metakeys
    settle()
    chain = job.chain()
    assert chain.newest_session is not None  # looked at, and remembered
    large = (tree / "large").rename(tmp_path / "large")
    twin.run()  # a state without the large file
    large.rename(tree / "large")
    settle()
    with pytest.raises(errors.FencedError):
        job.run(chain=chain)
    assert len(job.points()) == 2
    job.run()
    assert len(job.points()) == 3
    job.check_block_sets()


@pytest.mark.parametrize("what", ["base", "own pack", "own keys"])
def test_a_session_whose_base_or_own_objects_were_condemned_does_not_publish(
    storage: MemoryStorage, tmp_path: Path, tree: Path, what: str
) -> None:
    job = a_job(storage, tmp_path, source("files", tree))
    base = job.run().entry.number
    before = set(storage.snapshot())
    (tree / "new").write_bytes(os.urandom(5000))
    settle()

    def condemn(session_id: bytes) -> None:
        prefix = layout.chain(job.chain_id)
        packs = [
            key.removeprefix(prefix)
            for key in storage.snapshot()
            if key not in before and key.startswith(layout.packs(job.chain_id))
        ]
        keys = layout.session_keys(job.chain_id, session_id).removeprefix(prefix)
        objects = {"base": [], "own pack": packs[:1], "own keys": [keys]}[what]
        entries = [base] if what == "base" else []
        body = CondemnationBody(entries, objects, 0)  # as prune would, without a key
        append_entry(job.chain(), body, None, job.clock)

    with pytest.raises(errors.FencedError, match="condemned"):
        run_and_meanwhile(job, condemn)
    assert len(job.points()) == 1


def test_a_condemnation_of_something_else_does_not_disturb(
    storage: MemoryStorage, tmp_path: Path, tree: Path
) -> None:
    job = a_job(storage, tmp_path, source("files", tree))
    job.run()
    body = CondemnationBody([], ["packs/00/" + "00" * 32], 0)
    run_and_meanwhile(job, lambda _: append_entry(job.chain(), body, None, job.clock))
    assert len(job.points()) == 2


# --- the cache -------------------------------------------------------------------------------


@pytest.mark.parametrize("sealed", [True, False])
def test_a_lost_cache_is_rebuilt_from_the_index(
    storage: MemoryStorage, tmp_path: Path, image: Path, sealed: bool
) -> None:
    """What moved meanwhile is recognised by content all the same, if the chain is sealed."""
    root = tmp_path / "tree"
    root.mkdir()
    image.rename(root / "large")
    for number in range(50):
        (root / f"{number}").write_bytes(b"small %d" % number * 300)
    job = a_job(storage, tmp_path, source("files", root), sealed=sealed)
    first = job.run()
    shutil.rmtree(tmp_path / "cache")
    (root / "large").rename(root / "moved")
    (root / "inner").mkdir()
    for number in range(50):
        (root / f"{number}").rename(root / "inner" / f"{number}")
    settle()
    second = job.run()
    if sealed:
        # Nobody but the store says what a plain pack holds, so there it is stored again.
        assert second.changed_bytes == 0
        assert second.stored_bytes < first.stored_bytes // 50
    for point, expected in zip(job.points()[1:], [look_at(root)], strict=True):
        assert isinstance(point.details.root, TreeRoot)
        assert read_tree(job.reader(point.body), point.details.root) == expected
    job.check_block_sets()
    job.sweep()
    assert (tmp_path / "cache" / "content" / "lineage").exists()


def test_a_cache_of_another_history_is_not_used(
    storage: MemoryStorage, tmp_path: Path, tree: Path
) -> None:
    """The storage is set back; the cache tells of blocks that are not there any more."""
    job = a_job(storage, tmp_path, source("files", tree))
    job.run()
    back_then = storage.snapshot()
    for round_number in range(2):
        content = random.Random(round_number).randbytes(400_000)  # noqa: S311 - a test's
        (tree / "new").write_bytes(content)
        (tree / f"different{round_number}").write_bytes(os.urandom(1000))
        settle()
        job.run()
        storage.restore(back_then)
        job.counter = 1
    settle()
    outcome = job.run()
    assert outcome.changed_bytes >= 400_000
    point = job.points()[-1]
    assert isinstance(point.details.root, TreeRoot)
    assert read_tree(job.reader(point.body), point.details.root) == look_at(tree)
    job.check_block_sets()


def test_a_cache_copied_from_another_chain_is_not_used(
    storage: MemoryStorage, tmp_path: Path, tree: Path
) -> None:
    one = a_job(storage, tmp_path, source("files", tree), sealed=False)
    one.run()
    other = EngineJob(storage, one.sources, cache=tmp_path / "other", sealed=False)
    other.run()
    shutil.rmtree(tmp_path / "other")
    shutil.copytree(tmp_path / "cache", tmp_path / "other")
    for path in list(tree.iterdir()):
        path.rename(path.with_name(f"moved-{path.name}"))
    settle()
    other.run()
    point = other.points()[-1]
    assert isinstance(point.details.root, TreeRoot)
    assert read_tree(other.reader(point.body), point.details.root) == look_at(tree)
    other.check_block_sets()


def test_what_a_session_seals_opens_with_its_own_class_of_key_alone(
    storage: MemoryStorage, tmp_path: Path, tree: Path
) -> None:
    """The keystore's metakeys open names and maps, and no content."""
    from strongroom.engine import index_reader
    from strongroom.repository.keyring import Keyring
    from strongroom.repository.reader import BlockReader

    job = a_job(storage, tmp_path, source("files", tree))
    job.run()
    (point,) = job.points()
    chain = job.chain()
    metakeys = Keyring(job.chain_id, {}, job.metakeys)
    reader = BlockReader(chain, chain.sessions(point.body), metakeys)
    assert isinstance(point.details.root, TreeRoot)
    entries = [*index_reader.walk_tree(reader, point.details.root)]
    assert len(entries) == 41
    (piece,) = index_reader.pieces_of(reader, entries[-1])
    assert piece.address is not None
    with pytest.raises(errors.UnlockError):
        reader.read(piece.address, BlockClass.DATA)


def test_a_plan_says_how_each_source_is_called() -> None:
    plan = source("files", "/srv")
    assert str(replace(plan, value="/home")) == "files:/home"
