"""What a copy mends of a damaged repository, and what nobody may change for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from strongroom.crypto import random
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.image_backup import CLUSTER
from strongroom.engine.progress import NullProgress
from strongroom.repository import layout
from strongroom.repository.chain import Trust
from strongroom.repository.repair import RepairReport, repair
from strongroom.repository.repository import Repository
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import settle, source
from tests.support.jobs import Job, a_job

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def storage() -> AdversaryStorage:
    return AdversaryStorage(MemoryStorage())


@pytest.fixture(params=[True, False], ids=["sealed", "plain"])
def job(request: pytest.FixtureRequest, storage: AdversaryStorage, tmp_path: Path) -> Job:
    return with_two_points(storage, tmp_path, sealed=request.param)


def with_two_points(storage: AdversaryStorage, folder: Path, *, sealed: bool = True) -> Job:
    tree = folder / "tree"
    tree.mkdir()
    for index in range(5):
        (tree / f"{index}").write_bytes(random.token(30_000))
    (tree / "large").write_bytes(random.token(20 * CLUSTER))
    job = a_job(storage, source("files", tree), sealed=sealed, cache=folder / "cache")
    job.block_size = 4 * CLUSTER
    job.run()
    settle()
    (tree / "more").write_bytes(random.token(200_000))
    job.run()
    return job


def copy_of(storage: AdversaryStorage) -> AdversaryStorage:
    inner = MemoryStorage()
    inner.restore(storage.snapshot())
    return AdversaryStorage(inner)


def mend(
    job: Job, copy: AdversaryStorage, *, trust: Trust | None = None, dry_run: bool = False
) -> RepairReport:
    return repair(
        job.repository,
        Repository.open(copy),
        job.trust if trust is None else trust,
        {job.chain_id: job.head()} if not dry_run else {},
        clock=job.clock,
        dry_run=dry_run,
        progress=NullProgress(),
        cancel=Cancellation(),
    )


def flip(storage: AdversaryStorage, key: str) -> None:
    storage.flip(key, storage.size(key) // 2)


def cut(storage: AdversaryStorage, key: str) -> None:
    storage.truncate(key, storage.size(key) // 2)


def hide(storage: AdversaryStorage, key: str) -> None:
    storage.hide(key)


ATTACKS = [flip, cut, hide]
Attack = "Callable[[AdversaryStorage, str], None]"


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("which", [0, -1], ids=["first", "last"])
@pytest.mark.parametrize("kind", ["packs", "tables", "journal", "envelopes", "headers"])
def test_whatever_is_damaged_comes_back_from_a_copy(
    storage: AdversaryStorage, job: Job, kind: str, which: int, attack: Attack
) -> None:
    if kind == "envelopes" and not job.sealed:
        return
    before, contents, head = storage.snapshot(), job.contents(), job.head()
    copy = copy_of(storage)
    keys = [layout.header(job.chain_id)] if kind == "headers" else job.keys_of(kind)
    attack(storage, keys[which])
    assert not job.scrub(heads={job.chain_id: head}).ok
    report = repair(
        job.repository,
        Repository.open(copy),
        job.trust,
        {job.chain_id: head},
        clock=job.clock,
        progress=NullProgress(),
        cancel=Cancellation(),
    )
    assert report.ok, report
    assert report.mended
    assert job.scrub(heads={job.chain_id: head}).ok
    assert job.contents() == contents
    if kind != "packs":
        after = storage.snapshot()
        assert {key: after[key] for key in before} == before
