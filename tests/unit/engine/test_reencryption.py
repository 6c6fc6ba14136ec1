"""Re-encryption: the same points under new keys, seen only once all of them are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from strongroom.crypto import random
from strongroom.engine import pipeline
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.carried import carried
from strongroom.errors import BlockDamagedError, CancelledError, UnlockError
from strongroom.format.block import BlockClass
from strongroom.format.index import CLUSTER
from strongroom.format.journal import SessionBody
from strongroom.format.pack import ALIGNED_HEADER, SHORT_HEADER
from strongroom.repository import layout, unpublished
from strongroom.repository.keyring import Keyring
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.cloning import Clone
from tests.support.engine_job import source
from tests.support.jobs import Job, a_job, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.testing.memory_storage import Snapshot


def write_image(image: Path, *clusters: int) -> None:
    with image.open("r+b" if image.exists() else "wb") as file:
        file.truncate(6 * CLUSTER)
        for cluster in clusters:
            file.seek(cluster * CLUSTER)
            file.write(random.token(CLUSTER))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("job")


@pytest.fixture(scope="module")
def made(folder: Path) -> tuple[Job, Snapshot]:
    """Return a job with a tree, an image and a stream, five points of each, and what is stored.

    One session died and was taken over; three points are given up, and one is held.
    """
    tree, image = folder / "tree", folder / "image"
    memory = MemoryStorage()
    job = a_job(
        memory,
        source("files", tree),
        source("image", image),
        source("command", "echo words"),
        cache=folder / "cache",
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pipeline, "PACK_RAW_BYTES", CLUSTER)
        for turn in range(5):
            write_tree(
                tree,
                {
                    "same": b"same" * 9_000,
                    "own": random.token(3_000 + turn),
                    "large": random.token(5 * CLUSTER) if turn in (0, 2) else b"small",
                },
            )
            write_image(image, turn, 5)
            if turn == 2:
                die(job)
            job.run()
    assert job.taken_over()
    points = job.points()
    job.remove(points[0], points[3], points[4])
    job.hold(points[8])
    return job, memory.snapshot()


@pytest.fixture
def job(made: tuple[Job, Snapshot]) -> Job:
    job, snapshot = made
    assert isinstance(job.storage, MemoryStorage)
    job.storage.restore(snapshot)
    job.cache = None
    return job


def die(job: Job) -> None:
    memory = job.storage
    faulty = FaultyStorage(memory)
    faulty.kill_after(6)
    job.storage = job.repository.storage = faulty
    with pytest.raises(Exception, match="killed"):
        job.run()
    faulty.assert_all_hit()
    job.storage = job.repository.storage = memory


def damage_first_block(job: Job, key: str) -> None:
    data = bytearray(job.storage.get(key))
    begin = SHORT_HEADER if any(data[SHORT_HEADER:ALIGNED_HEADER]) else ALIGNED_HEADER
    data[begin + 20] ^= 1
    job.storage.delete(key)
    job.storage.put(key, bytes(data))


def held(job: Job) -> set[bytes]:
    return {one.point.point_id for one in job.chain().live_points() if one.held}


def sealed_bytes(job: Job) -> set[bytes]:
    """Return the stored bytes of every block of a job's chain."""
    found = set()
    for key in job.keys_of("packs"):
        found.add(job.storage.get(key))
    return found


def test_every_point_is_what_it_was_and_nothing_opens_with_the_keys_before(job: Job) -> None:
    before, was_held = job.contents(), held(job)
    details = {point.id: point.details for point in job.points()}
    clone = Clone.begin(job)
    clone.fill()

    newer = clone.publish()

    assert newer.contents() == before
    assert {point.id: point.details for point in newer.points()} == details
    assert held(newer) == was_held
    assert was_held
    newer.check_block_sets()
    assert job.contents() == {}
    assert newer.chain_id != job.chain_id
    assert not sealed_bytes(job) & sealed_bytes(newer)
    for entry in newer.chain().kept_entries():
        assert isinstance(entry.body, SessionBody)
        for _, record in newer.chain().sessions(entry.body).items():
            with pytest.raises(UnlockError):
                Keyring(newer.chain_id, job.keyring().chain_keys).secrets(record)
    report = newer.scrub()
    assert report.ok, report


def test_the_next_session_is_an_increment_and_prune_removes_all_of_the_old_chain(
    job: Job, folder: Path
) -> None:
    clone = Clone.begin(job)
    clone.fill()
    newer = clone.publish()
    before = newer.contents()
    write_tree(folder / "tree", {"same": b"same" * 9_000, "new": b"new"})

    outcome = newer.run()

    assert outcome.kind.name == "INCREMENTAL"
    assert outcome.stored_bytes < 60_000
    contents = newer.contents()
    assert {key: contents[key] for key in before} == before
    assert len(contents) == len(before) + 3
    job.prune(signer=job.signer)
    assert list(job.storage.list(layout.chain(job.chain_id))) == []
    newer.prune(signer=newer.signer)
    assert newer.contents() == contents
    assert newer.scrub().ok


def test_what_no_live_point_uses_is_left_behind(job: Job) -> None:
    job.remove(*job.points()[:-3])
    live = carried(job.chain()).byte_count
    clone = Clone.begin(job)
    clone.fill()
    newer = clone.publish()
    stored = sum(info.size for info in newer.storage.list(layout.packs(newer.chain_id)))
    everything = sum(info.size for info in job.storage.list(layout.packs(job.chain_id)))
    assert live <= stored < everything
    assert newer.plan_prune().dead_bytes == 0


def test_nobody_sees_an_unfinished_chain_and_the_job_goes_on_in_the_old_one(
    job: Job, folder: Path
) -> None:
    clone = Clone.begin(job)
    clone.fill()
    assert job.repository.chain_ids() == [job.chain_id]
    write_tree(folder / "tree", {"new": b"new"})
    job.run()
    contents = job.contents()
    job.prune()

    clone.fill()

    assert clone.publish().contents() == contents


def test_it_goes_on_where_it_was_stopped(job: Job) -> None:
    class AfterThree(Cancellation):
        left = 3

        def check(self) -> None:
            self.left -= 1
            if self.left < 0:
                self.cancel()
            super().check()

    before = job.contents()
    clone = Clone.begin(job)
    with pytest.raises(CancelledError):
        clone.fill(cancel=AfterThree())
    there = {info.key for info in job.storage.list(layout.packs(clone.chain_id))}
    clone.fill()
    assert len(there) == 3
    assert there <= {info.key for info in job.storage.list(layout.packs(clone.chain_id))}
    assert clone.publish().contents() == before


def test_a_pack_that_the_storage_put_there_is_not_taken(job: Job) -> None:
    clone = Clone.begin(job)
    clone.fill()
    key = next(iter(job.storage.list(layout.packs(clone.chain_id)))).key
    data = bytearray(job.storage.get(key))
    data[-60] ^= 1
    job.storage.delete(key)
    job.storage.put(key, bytes(data))
    before = job.contents()
    clone.fill()
    assert key not in {info.key for info in job.storage.list(layout.packs(clone.chain_id))}
    assert clone.publish().contents() == before


def test_a_block_that_reads_back_as_another_is_found_before_anything_is_given_up(
    job: Job,
) -> None:
    clone = Clone.begin(job)
    clone.fill()
    key = next(iter(job.storage.list(layout.packs(clone.chain_id)))).key
    damage_first_block(job, key)
    with pytest.raises(BlockDamagedError):
        clone.fill()
    assert not unpublished.is_published(job.storage, clone.chain_id)


def test_a_damaged_old_block_stops_it(job: Job) -> None:
    point = job.points()[-2]
    key = job.packs_of(point, BlockClass.DATA)[0]
    damage_first_block(job, key)
    with pytest.raises(BlockDamagedError, match=key):
        Clone.begin(job).fill()


def test_an_abandoned_chain_leaves_nothing(job: Job) -> None:
    everything = {info.key for info in job.storage.list("")}
    clone = Clone.begin(job)
    clone.fill()
    unpublished.remove(job.storage, clone.chain_id)
    assert {info.key for info in job.storage.list("")} == everything
