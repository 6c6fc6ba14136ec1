"""A clone under keys of its own follows its chain, whatever happened there meanwhile."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from strongroom.crypto import random
from strongroom.engine import pipeline
from strongroom.engine.extension import Lacking
from strongroom.errors import (
    BlockDamagedError,
    StorageUnavailableError,
    StrongroomError,
    UnlockError,
)
from strongroom.format.block import BlockClass
from strongroom.format.index import CLUSTER
from strongroom.format.journal import SessionBody
from strongroom.repository import layout
from strongroom.repository.keyring import Keyring
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.cloning import SealedCopy
from tests.support.engine_job import source
from tests.support.jobs import Job, a_job, write_tree
from tests.unit.engine.test_reencryption import damage_first_block, die, held, write_image

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.testing.memory_storage import Snapshot


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("job")


def run(job: Job, folder: Path, turn: int, *, dies_first: bool = False) -> None:
    write_tree(
        folder / "tree",
        {
            "same": b"same" * 9_000,
            "own": random.token(3_000 + turn),
            "large": random.token(3 * CLUSTER) if turn in (0, 2) else b"small",
        },
    )
    write_image(folder / "image", turn, 5)
    if dies_first:
        die(job)
    job.run()


@pytest.fixture(scope="module")
def made(folder: Path) -> tuple[SealedCopy, Snapshot, Snapshot]:
    """Return a copy that is behind, what is stored at its source, and what at itself.

    The source has a tree and an image. Of its four sessions the copy has the first; one that
    died was taken over since, one was given up and pruned, and a point is held.
    """
    there, here = MemoryStorage(), MemoryStorage()
    job = a_job(
        there,
        source("files", folder / "tree"),
        source("image", folder / "image"),
        cache=folder / "cache",
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pipeline, "PACK_RAW_BYTES", CLUSTER)
        run(job, folder, 0)
        copy = SealedCopy.begin(job, here)
        copy.fill()
        copy.publish()
        run(job, folder, 1)
        run(job, folder, 2, dies_first=True)
        assert job.taken_over()
        run(job, folder, 3)
    points = job.points()
    job.remove(*points[2:4])
    job.prune(signer=job.signer)
    job.hold(points[0])
    job.cache = None
    return copy, there.snapshot(), here.snapshot()


@pytest.fixture
def copy(made: tuple[SealedCopy, Snapshot, Snapshot]) -> SealedCopy:
    copy, there, here = made
    for job, snapshot in ((copy.source, there), (copy.job, here)):
        assert isinstance(job.storage, MemoryStorage)
        job.storage.restore(snapshot)
    return copy


def packs(job: Job) -> set[str]:
    return set(job.keys_of("packs"))


def live(job: Job) -> set[bytes]:
    return {one.point.point_id for one in job.chain().live_points()}


def moments(job: Job) -> list[int]:
    return [one.entry.raw.made_at for one in job.chain().live_points()]


def check_follows(copy: SealedCopy) -> None:
    """The copy has every point of its source, and only under its own keys."""
    job, original = copy.job, copy.source
    assert job.contents() == original.contents()
    assert moments(job) == moments(original)
    assert held(job) == held(original)
    assert Lacking(original.chain(), job.chain()).nothing
    job.check_block_sets()
    report = job.scrub()
    assert report.ok, report
    for entry in job.chain().kept_entries():
        assert isinstance(entry.body, SessionBody)
        assert not entry.body.older
        for _, record in job.chain().sessions(entry.body).items():
            with pytest.raises(UnlockError):
                Keyring(job.chain_id, original.keyring().chain_keys).secrets(record)


def test_what_was_published_since_is_added_and_no_pack_is_made_twice(copy: SealedCopy) -> None:
    before = packs(copy.job)
    stored, size = copy.follow()

    check_follows(copy)
    assert before < packs(copy.job)
    assert stored == len(packs(copy.job)) - len(before)
    assert size == sum(copy.job.storage.size(key) for key in packs(copy.job) - before)
    assert copy.follow() == (0, 0)


def test_what_the_source_lets_go_and_releases_the_copy_does_too(copy: SealedCopy) -> None:
    copy.follow()
    points = copy.source.points()
    copy.source.release(points[0])
    copy.source.remove(points[1])
    copy.source.hold(points[2])
    copy.follow()
    check_follows(copy)
    copy.job.prune(signer=copy.job.signer)
    check_follows(copy)
    copy.job.check_nothing_leaks()


def test_it_goes_on_following_after_both_were_pruned(copy: SealedCopy, folder: Path) -> None:
    copy.follow()
    for turn in (4, 5):
        job = copy.source
        job.release(*[point for point in job.points() if point.id in held(job)])
        job.remove(*job.points()[:-2])
        run(job, folder, turn)
        job.prune(signer=job.signer)
        copy.follow()
        copy.job.prune(signer=copy.job.signer)
        check_follows(copy)


def test_a_session_goes_on_in_a_copy(copy: SealedCopy, folder: Path) -> None:
    for _ in range(3):
        point = copy.source.points()[-1]
        copy.source.hold(point)
        copy.source.release(point)
    run(copy.source, folder, 4)
    copy.follow()
    before = copy.job.contents()
    run(copy.job, folder, 5)
    assert before.items() < copy.job.contents().items()
    assert copy.job.scrub().ok


def test_a_copy_whose_own_secret_is_closed_follows_and_begins_anew_what_was_cut_short(
    copy: SealedCopy,
) -> None:
    faulty = FaultyStorage(copy.job.storage)
    faulty.kill_after(6)
    with pytest.raises(Exception, match="killed"):
        copy.follow(faulty)
    copy.follow(keyless=True)
    check_follows(copy)


def _ends(copy: SealedCopy, faulty: FaultyStorage) -> bool:
    """Follow, and tell whether that came to its end."""
    with suppress(StorageUnavailableError):
        copy.follow(faulty)
        return True
    return False


def test_cut_short_at_any_write_it_is_whole_and_goes_on(copy: SealedCopy) -> None:
    here = copy.job.storage
    assert isinstance(here, MemoryStorage)
    begun, before = here.snapshot(), live(copy.job)
    for calls in range(1, 200):
        here.restore(begun)
        faulty = FaultyStorage(here)
        faulty.kill_after(calls)
        if _ends(copy, faulty):
            break
        assert before <= live(copy.job) <= before | live(copy.source)
        kept = packs(copy.job)
        copy.follow()
        assert kept <= packs(copy.job)
        assert live(copy.job) == live(copy.source)
        if calls % 5 == 0:
            check_follows(copy)
    else:
        pytest.fail("it never came to its end")
    assert calls > 10


@pytest.mark.parametrize("block_class", [BlockClass.DATA, BlockClass.INDEX])
def test_a_block_that_was_changed_at_the_source_is_never_sealed_again(
    copy: SealedCopy, block_class: BlockClass
) -> None:
    before = copy.job.contents()
    entries = copy.job.keys_of("journal")
    key = copy.source.packs_of(copy.source.points()[-1], block_class)[0]
    damage_first_block(copy.source, key)

    with pytest.raises(BlockDamagedError, match=key):
        copy.follow()

    assert copy.job.contents() == before
    assert copy.job.keys_of("journal") == entries


def test_what_the_target_changed_is_found_before_an_entry_says_that_it_is_there(
    copy: SealedCopy,
) -> None:
    class Changing(FaultyStorage):
        """Changes the first pack that it takes."""

        done = False

        def put(self, key: str, data: bytes | bytearray | memoryview) -> None:
            super().put(key, data)
            if not self.done and key.startswith(layout.packs(copy.job.chain_id)):
                self.done = True
                damage_first_block(copy.job, key)

    entries = copy.job.keys_of("journal")
    with pytest.raises(StrongroomError):
        copy.follow(Changing(copy.job.storage))
    assert copy.job.keys_of("journal") == entries
