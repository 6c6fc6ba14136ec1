"""Sessions whose base is damaged: what they make is whole, without a full."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from strongroom.crypto import random
from strongroom.engine.image_backup import CLUSTER
from strongroom.errors import StrongroomError
from strongroom.format.block import PLACE_BITS, BlockClass
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import look_at, settle, source
from tests.support.jobs import Job, a_job

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.engine.backup import SessionOutcome

CLUSTERS = 70
"""More than one page of a disk's map is for."""


@pytest.fixture
def storage() -> AdversaryStorage:
    return AdversaryStorage(MemoryStorage())


def of_image(storage: AdversaryStorage, folder: Path, *, sealed: bool = True) -> Job:
    (folder / "source").write_bytes(random.token(CLUSTERS * CLUSTER))
    job = a_job(storage, source("image", folder / "source"), sealed=sealed, cache=folder / "cache")
    job.block_size = 4 * CLUSTER
    job.run()
    return job


def of_tree(storage: AdversaryStorage, folder: Path, *, sealed: bool = True) -> Job:
    tree = folder / "source"
    tree.mkdir()
    for index in range(20):
        (tree / f"{index:02}").write_bytes(random.token(30_000))
    (tree / "large").write_bytes(random.token(CLUSTERS * CLUSTER))
    job = a_job(storage, source("files", tree), sealed=sealed, cache=folder / "cache")
    job.block_size = 2 * CLUSTER
    job.run()
    return job


KINDS = {"image": of_image, "tree": of_tree}


def found(job: Job) -> frozenset[tuple[int, int]]:
    """Return the damaged blocks, as a scrub finds them."""
    return frozenset(
        (pack.slot, pack.ordinal << PLACE_BITS | place)
        for pack in job.scrub().packs
        for place in pack.places
    )


def run_knowing(job: Job, damaged: frozenset[tuple[int, int]]) -> SessionOutcome:
    settle()
    return job.run(replace(job.plan(), damaged=damaged))


def now(job: Job) -> object:
    path = job.sources[0].value
    from pathlib import Path

    return look_at(Path(path)) if Path(path).is_dir() else Path(path).read_bytes()


def newest(job: Job) -> object:
    return job.restore(job.points()[-1])


@pytest.mark.parametrize("attack", ["flip", "hide"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_point_made_on_damaged_data_is_whole(
    storage: AdversaryStorage, tmp_path: Path, kind: str, attack: str
) -> None:
    job = KINDS[kind](storage, tmp_path)
    full = sum(storage.size(key) for key in job.keys_of("packs"))
    (key, *_) = job.packs_of(job.points()[0], BlockClass.DATA)
    if attack == "flip":
        storage.flip(key, storage.size(key) // 3)
    else:
        storage.hide(key)
    damaged = found(job)
    assert damaged
    outcome = run_knowing(job, damaged)
    assert newest(job) == now(job)
    assert outcome.kind.name == "INCREMENTAL"
    assert outcome.changed_bytes == 0, "nothing has changed"
    job.check_block_sets()
    if attack == "flip":
        assert outcome.stored_bytes < full / 2, "only what was damaged is stored again"
        with pytest.raises(StrongroomError):
            job.restore(job.points()[0])


@pytest.mark.parametrize("attack", ["flip", "hide"])
@pytest.mark.parametrize("known", [False, True], ids=["met", "known"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_session_that_cannot_read_its_base_reads_the_source_anew(
    storage: AdversaryStorage, tmp_path: Path, kind: str, known: bool, attack: str
) -> None:
    job = KINDS[kind](storage, tmp_path)
    data = sum(storage.size(key) for key in job.packs_of(job.points()[0], BlockClass.DATA))
    (key,) = job.packs_of(job.points()[0], BlockClass.INDEX)
    if attack == "flip":
        for at in range(100, storage.size(key), 1000):
            storage.flip(key, at)
    else:
        storage.hide(key)
    outcome = run_knowing(job, found(job) if known else frozenset())
    assert newest(job) == now(job)
    assert outcome.damage_met
    assert any("damaged" in warning.message for warning in outcome.warnings)
    assert outcome.stored_bytes < data / 2, "content is recognised all the same"
    following = run_knowing(job, frozenset())
    assert following.damage_met == ()
    assert following.kind.name == "INCREMENTAL"
    assert newest(job) == now(job)


def test_damage_of_one_source_does_not_stop_the_others(
    storage: AdversaryStorage, tmp_path: Path
) -> None:
    job = of_tree(storage, tmp_path)
    (key,) = job.packs_of(job.points()[0], BlockClass.INDEX)
    storage.hide(key)
    (tmp_path / "source").rename(tmp_path / "away")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_bytes(b"content")
    job.sources = (*job.sources, source("files", tmp_path / "other"))
    outcome = run_knowing(job, frozenset())
    assert len([one for one in outcome.results if one.error is None]) == 1
    (tmp_path / "away").rename(tmp_path / "source")
    run_knowing(job, frozenset())
    trees = [job.restore(point) for point in job.points()[-2:]]
    assert look_at(tmp_path / "source") in trees


def spoil(storage: AdversaryStorage, key: str, attack: str) -> None:
    if attack == "hide":
        storage.hide(key)
    elif attack == "cut":
        storage.truncate(key, storage.size(key) // 3)
    else:
        for at in range(100, storage.size(key) - 2000, 40_000):
            storage.flip(key, at)


@pytest.mark.parametrize("attack", ["flip", "cut", "hide"])
@pytest.mark.parametrize("block_class", BlockClass)
@pytest.mark.parametrize("kind", KINDS)
def test_older_points_become_whole_as_far_as_the_source_has_what_they_hold(
    storage: AdversaryStorage, tmp_path: Path, kind: str, block_class: BlockClass, attack: str
) -> None:
    job = KINDS[kind](storage, tmp_path)
    job.secret_is_stored = True
    contents = job.contents()
    (key, *_) = job.packs_of(job.points()[0], block_class)
    spoil(storage, key, attack)
    damaged = found(job)
    outcome = run_knowing(job, damaged)
    assert outcome.mended == damaged
    assert job.scrub().ok
    assert contents.items() <= job.contents().items()
    assert newest(job) == now(job)


def test_of_a_write_only_job_older_points_stay_damaged_and_new_ones_are_whole(
    storage: AdversaryStorage, tmp_path: Path
) -> None:
    job = of_tree(storage, tmp_path)
    (key, *_) = job.packs_of(job.points()[0], BlockClass.DATA)
    spoil(storage, key, "flip")
    damaged = found(job)
    outcome = run_knowing(job, damaged)
    assert outcome.mended == frozenset()
    assert found(job) == damaged
    assert newest(job) == now(job)


def test_a_plain_chain_mends_itself_without_any_key(
    storage: AdversaryStorage, tmp_path: Path
) -> None:
    job = of_image(storage, tmp_path, sealed=False)
    contents = job.contents()
    (key, *_) = job.packs_of(job.points()[0], BlockClass.DATA)
    spoil(storage, key, "flip")
    run_knowing(job, found(job))
    assert job.scrub().ok
    assert contents.items() <= job.contents().items()


def test_what_the_source_has_no_longer_stays_damaged(
    storage: AdversaryStorage, tmp_path: Path
) -> None:
    job = of_image(storage, tmp_path)
    job.secret_is_stored = True
    (key, *_) = job.packs_of(job.points()[0], BlockClass.DATA)
    storage.hide(key)
    damaged = found(job)
    with (tmp_path / "source").open("r+b") as disk:
        disk.write(random.token(CLUSTER))
    outcome = run_knowing(job, damaged)
    assert outcome.mended
    assert found(job) == damaged - outcome.mended != frozenset()
    assert newest(job) == now(job)
    with pytest.raises(StrongroomError):
        job.restore(job.points()[0])
