"""What compaction gives back, and that nobody who reads or writes notices it."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

import pytest

from strongroom.crypto import random
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.image_backup import CLUSTER
from strongroom.engine.progress import NullProgress
from strongroom.errors import IntegrityError, ObjectMissingError, StorageUnavailableError
from strongroom.format import pack as packs
from strongroom.format.point import DiskRoot
from strongroom.repository import layout, locks
from strongroom.repository.compaction import (
    SPARED_SHARE,
    CompactionResult,
    _packs,
    compact,
    plan_compaction,
    thinned_parts,
)
from strongroom.repository.newest_state import objects_of_newest_state
from strongroom.repository.repository import Repository
from strongroom.repository.stored_packs import Form, forms, next_generation, read_form
from strongroom.storage.local import LocalStorage
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import read_disk, settle, source
from tests.support.jobs import Job, a_job

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.storage.base import Storage

CLUSTERS = 48


@pytest.fixture
def storage() -> AdversaryStorage:
    return AdversaryStorage(MemoryStorage())


@pytest.fixture(params=[True, False], ids=["sealed", "plain"])
def job(request: pytest.FixtureRequest, storage: AdversaryStorage, tmp_path: Path) -> Job:
    return worn(storage, tmp_path, sealed=request.param)


def worn(storage: Storage, folder: Path, *, sealed: bool = True) -> Job:
    """A job of one image, of whose full only each third cluster is used by a kept point."""
    job = a_job(storage, source("image", folder / "disk"), sealed=sealed, cache=folder / "cache")
    job.block_size = CLUSTER
    (folder / "disk").write_bytes(random.token(CLUSTERS * CLUSTER))
    job.run()
    change(folder, [at for at in range(CLUSTERS) if at % 3])
    job.run()
    job.remove(job.points()[0])
    job.prune()
    return job


def change(folder: Path, clusters: list[int]) -> None:
    settle()
    with (folder / "disk").open("r+b") as disk:
        for cluster in clusters:
            disk.seek(cluster * CLUSTER)
            disk.write(random.token(CLUSTER))
    settle()


def compacted(job: Job, dead_share: float | None = None) -> CompactionResult:
    chain = job.chain()
    return compact(
        chain, plan_compaction(chain, dead_share), job.clock, NullProgress(), Cancellation()
    )


def stored_bytes(job: Job) -> int:
    return sum(info.size for info in job.storage.list(layout.packs(job.chain_id)))


# --- what it does ----------------------------------------------------------------------------


def test_dead_blocks_give_their_space_back(job: Job) -> None:
    contents, before = job.contents(), stored_bytes(job)
    plan = plan_compaction(job.chain())

    result = compacted(job)

    assert result.problems == []
    assert result.freed_bytes == before - stored_bytes(job)
    assert abs(result.freed_bytes - plan.freed_bytes) < 20_000
    assert result.freed_bytes > 0.6 * CLUSTERS * CLUSTER
    assert job.contents() == contents
    assert job.scrub().ok


def test_what_was_compacted_is_left_alone_afterwards(job: Job) -> None:
    compacted(job)
    before = [info for info in job.storage.list("") if "locks/" not in info.key]

    again = plan_compaction(job.chain())

    assert not again.packs
    assert not again.leftovers
    assert "nothing to compact" in again.text()
    compacted(job)
    assert [info for info in job.storage.list("") if "locks/" not in info.key] == before


def test_a_pack_is_thinned_again_when_more_of_it_dies(tmp_path: Path) -> None:
    job = a_job(MemoryStorage(), source("image", tmp_path / "disk"), cache=tmp_path / "cache")
    job.block_size = CLUSTER
    (tmp_path / "disk").write_bytes(random.token(CLUSTERS * CLUSTER))
    job.run()
    for begin in (0, 1):
        change(tmp_path, list(range(begin, CLUSTERS, 6)))
        job.run()
        job.remove(job.points()[0])
        job.prune()
        contents = job.contents()

        result = compacted(job, 0.1)

        assert result.packs >= 1
        assert job.contents() == contents
        assert job.scrub().ok
    assert any(key.endswith("-000002") for key in job.keys_of("packs"))


def test_sessions_go_on_from_what_was_compacted_without_their_cache(
    job: Job, tmp_path: Path
) -> None:
    compacted(job)
    job.cache = None
    change(tmp_path, [0, 7])

    outcome = job.run()

    assert outcome.changed_bytes == 2 * CLUSTER
    assert outcome.stored_bytes < 4 * CLUSTER
    job.check_block_sets()
    assert job.contents()[job.points()[-1].id] == (tmp_path / "disk").read_bytes()


def test_what_a_point_in_quarantine_uses_stays(tmp_path: Path) -> None:
    job = worn(MemoryStorage(), tmp_path)
    change(tmp_path, list(range(CLUSTERS)))
    job.run()
    given_up = job.points()[0]
    image = job.read_image(given_up)
    job.remove(given_up)

    compacted(job)

    assert job.read_image(given_up) == image


def test_a_pack_that_is_mostly_alive_stays_as_it_was_born(tmp_path: Path) -> None:
    job = a_job(MemoryStorage(), source("image", tmp_path / "disk"))
    job.block_size = CLUSTER
    (tmp_path / "disk").write_bytes(random.token(CLUSTERS * CLUSTER))
    job.run()
    change(tmp_path, [1, 2])
    job.run()
    job.remove(job.points()[0])
    job.prune()

    plan = plan_compaction(job.chain())

    assert not plan.packs
    assert plan.dead_bytes >= 2 * CLUSTER
    assert plan_compaction(job.chain(), 0.01).packs


@pytest.mark.parametrize("every", [4, 8, 16])
def test_little_that_is_dead_in_many_places_does_not_add_up_to_much(
    tmp_path: Path, every: int
) -> None:
    job = a_job(MemoryStorage(), source("image", tmp_path / "disk"))
    job.block_size = CLUSTER
    (tmp_path / "disk").write_bytes(random.token(CLUSTERS * CLUSTER))
    job.run()
    change(tmp_path, list(range(0, CLUSTERS, every)))
    job.run()
    job.remove(job.points()[0])
    job.prune()
    contents = job.contents()

    compacted(job)

    left = plan_compaction(job.chain())
    assert left.dead_bytes <= SPARED_SHARE * left.stored_bytes
    assert not left.packs
    assert job.contents() == contents


def test_prune_removes_what_is_left_of_a_pack_when_nobody_uses_it(job: Job, tmp_path: Path) -> None:
    compacted(job)
    thinned = [key for key in job.keys_of("packs") if "-" in key.rpartition("/")[2]]
    assert thinned
    change(tmp_path, list(range(CLUSTERS)))
    job.run()
    job.remove(job.points()[0])

    job.prune()

    assert not {*thinned} & {*job.keys_of("packs")}
    assert job.scrub().ok


# --- who reads meanwhile ---------------------------------------------------------------------


def test_a_reader_that_began_before_finds_moved_blocks(job: Job) -> None:
    point = job.points()[-1]
    image = job.read_image(point)
    reader = job.reader(point.body)
    root = point.details.root
    assert isinstance(root, DiskRoot)

    compacted(job)

    assert read_disk(reader, root) == image


# --- bad days --------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["compose", "delete", "get"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_failure_anywhere_loses_nothing_and_the_next_run_ends_it(
    tmp_path: Path, verb: str, when: str
) -> None:
    memory = MemoryStorage()
    job = worn(memory, tmp_path)
    contents = job.contents()
    nth = 0
    while True:
        nth += 1
        faulty = FaultyStorage(memory)
        faulty.fail(verb, nth, StorageUnavailableError("power cut"), when)
        job.storage = faulty
        try:
            compacted(job)
        except StorageUnavailableError:
            job.storage = memory
            assert job.contents() == contents
            assert job.scrub().ok
        else:
            break
    job.storage = memory
    assert nth > 1, f"no {verb} ever failed"
    compacted(job)
    assert not plan_compaction(job.chain()).leftovers
    assert job.contents() == contents
    assert job.scrub().ok


def test_a_kill_after_any_write_loses_nothing(tmp_path: Path) -> None:
    original = worn(MemoryStorage(), tmp_path)
    contents = original.contents()
    everything = {info.key: original.storage.get(info.key) for info in original.storage.list("")}
    nth, killed = 0, True
    while killed:
        memory = MemoryStorage()
        for key, data in everything.items():
            memory.put(key, data)
        job = worn_again(original, memory)
        faulty = FaultyStorage(memory)
        faulty.kill_after(nth)
        job.storage = faulty
        try:
            compacted(job)
            killed = False
        except StorageUnavailableError:
            pass
        job.storage = memory
        assert job.contents() == contents
        assert job.scrub().ok
        compacted(job)
        assert not plan_compaction(job.chain()).leftovers
        assert job.contents() == contents
        nth += 1
    assert nth > 4


def worn_again(job: Job, storage: Storage) -> Job:
    same = copy(job)
    same.storage = storage
    same.repository = Repository.open(storage)
    return same


def test_a_damaged_block_stays_where_it_is_and_is_told_of(
    job: Job, storage: AdversaryStorage
) -> None:
    thinning = plan_compaction(job.chain()).packs[0]
    form = Form(thinning.object, thinning.stored_bytes, 0)
    pack = read_form(storage, form)
    used = plan_bits(job, pack.directory.pack_id)
    place = (used & -used).bit_length() - 1
    storage.flip(thinning.object, pack.offsets[place] + 50)

    result = compacted(job)

    assert any(thinning.object in problem for problem in result.problems)
    assert storage.exists(thinning.object)
    assert [form.key for form in forms(storage, job.chain_id, pack.directory.pack_id)] == [
        thinning.object
    ]


def plan_bits(job: Job, pack_id: bytes) -> int:
    [found] = [pack for pack in _packs(job.chain()) if pack.expected.directory.pack_id == pack_id]
    return found.bits


def test_a_thinned_pack_that_lacks_a_used_block_is_damage_that_names_its_points(
    job: Job, storage: AdversaryStorage
) -> None:
    compacted(job)
    key = next(key for key in job.keys_of("packs") if key.endswith("-000001"))
    form = Form(key, storage.size(key), 1)
    pack = read_form(storage, form)
    bits = sum(1 << place for place in list(pack.offsets)[1:])
    lying = layout.thinned(job.chain_id, pack.directory.pack_id, 2)
    storage.compose(lying, thinned_parts(pack, bits))
    storage.delete(key)

    report = job.scrub()

    [damage] = report.damaged
    assert damage.object == lying
    assert "lacks 1 block that points use" in damage.what
    assert job.points()[-1].id.hex() in damage.points
    with pytest.raises(IntegrityError):
        job.contents()


def test_a_reader_passes_over_a_newer_form_that_hides_blocks(
    job: Job, storage: AdversaryStorage
) -> None:
    contents = job.contents()
    compacted(job)
    key = next(key for key in job.keys_of("packs") if key.endswith("-000001"))
    pack = read_form(storage, Form(key, storage.size(key), 1))
    bits = sum(1 << place for place in list(pack.offsets)[:1])
    storage.compose(
        layout.thinned(job.chain_id, pack.directory.pack_id, 7), thinned_parts(pack, bits)
    )

    assert job.contents() == contents


def test_a_form_planted_under_the_last_name_there_is_stops_neither_compaction_nor_protection(
    job: Job, storage: AdversaryStorage
) -> None:
    contents, last = job.contents(), "-" + "9" * 86
    for key in job.keys_of("packs"):
        storage.plant(key + last, b"junk")

    assert compacted(job).problems == []

    assert job.contents() == contents
    thinned = {key for key in job.keys_of("packs") if layout.pack_form(key)[1]}  # type: ignore[index]
    assert thinned
    for key in thinned:
        storage.plant(key.rpartition("-")[0] + last, b"junk")
    locked = {*objects_of_newest_state(job.chain())}
    assert thinned <= locked, "or what is right goes when its lock runs out"


def test_the_next_form_of_a_pack_has_a_name_even_beside_the_last_there_is() -> None:
    planted = Form("P-" + "9" * 86, 4, int("9" * 86))

    assert next_generation([planted]) == 1
    assert next_generation([planted, Form("P-000007", 4, 7)]) == 8
    assert next_generation([Form("", 4, 10**9 - 1), Form("", 4, 10**9)]) == 10**9 + 1


def test_a_missing_pack_is_missing_in_every_form(job: Job, storage: AdversaryStorage) -> None:
    compacted(job)
    for key in job.keys_of("packs"):
        if key.endswith("-000001"):
            storage.delete(key)

    with pytest.raises(ObjectMissingError):
        job.contents()
    assert not job.scrub().ok


def test_two_at_once_do_not_meet(job: Job) -> None:
    with locks.acquire(
        job.storage, layout.care_lock(job.chain_id), random.token(16).hex(), job.clock
    ):
        result = compacted(job)

    assert result.left is not None
    assert result.packs == 0


def test_on_a_folder_every_form_is_a_file_that_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    job = worn(LocalStorage(folder), tmp_path)
    contents = job.contents()

    result = compacted(job)

    assert result.copied_bytes + result.cloned_bytes > 0
    assert job.contents() == contents
    for key in job.keys_of("packs"):
        assert (folder / key).stat().st_size > packs.FOOTER_LENGTH
    assert job.scrub().ok
