"""What a copy mends of a damaged repository, and what nobody may change for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from strongroom.crypto import random
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.image_backup import CLUSTER
from strongroom.engine.progress import NullProgress
from strongroom.repository import layout
from strongroom.repository.chain import Head, Trust
from strongroom.repository.repair import RepairReport, repair
from strongroom.repository.repository import Repository
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import settle, source
from tests.support.fickle_storage import FickleStorage
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
    job: Job,
    copy: AdversaryStorage,
    heads: dict[bytes, Head] | None = None,
    *,
    trust: Trust | None = None,
    dry_run: bool = False,
) -> RepairReport:
    return repair(
        job.repository,
        Repository.open(copy),
        job.trust if trust is None else trust,
        heads or {},
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


Attack = "Callable[[AdversaryStorage, str], None]"


@pytest.mark.parametrize(
    ("kind", "which", "attack"),
    [
        ("packs", 0, flip),
        ("packs", -1, cut),
        ("packs", 0, hide),
        ("tables", 0, flip),
        ("tables", -1, hide),
        ("journal", 0, hide),
        ("journal", -1, flip),
        ("journal", -1, hide),
        ("envelopes", 0, flip),
        ("envelopes", -1, hide),
        ("headers", 0, cut),
        ("headers", 0, hide),
    ],
)
def test_whatever_is_damaged_comes_back_from_a_copy(
    storage: AdversaryStorage, job: Job, kind: str, which: int, attack: Attack
) -> None:
    if kind == "envelopes" and not job.sealed:
        return
    before, contents, heads = storage.snapshot(), job.contents(), {job.chain_id: job.head()}
    copy = copy_of(storage)
    keys = [layout.header(job.chain_id)] if kind == "headers" else job.keys_of(kind)
    attack(storage, keys[which])
    assert not job.scrub(heads=heads).ok

    report = mend(job, copy, heads)

    assert report.ok, report
    assert report.mended
    assert job.scrub(heads=heads).ok
    assert job.contents() == contents
    if kind != "packs":
        after = storage.snapshot()
        assert {key: after[key] for key in before} == before


@pytest.mark.parametrize("kind", ["headers", "journal"])
def test_what_comes_back_is_what_was_judged_whatever_the_copy_says_when_asked_again(
    storage: AdversaryStorage, tmp_path: Path, kind: str
) -> None:
    job = with_two_points(storage, tmp_path)
    heads = {job.chain_id: job.head()}
    key = layout.header(job.chain_id) if kind == "headers" else job.keys_of("journal")[-1]
    honest, copy = storage.get(key), FickleStorage(copy_of(storage), 1)
    storage.hide(key)

    mend(job, copy, heads)

    assert not storage.exists(key) or storage.get(key) == honest


def test_of_a_pack_that_both_have_damaged_each_block_comes_from_where_it_is_whole(
    storage: AdversaryStorage, tmp_path: Path
) -> None:
    job = with_two_points(storage, tmp_path)
    contents = job.contents()
    copy = copy_of(storage)
    key = max(job.keys_of("packs"), key=storage.size)
    # The last block, and the first: one in between may be larger than half of the pack.
    storage.truncate(key, storage.size(key) - 20_000)
    copy.flip(key, 5000)
    assert mend(job, copy).ok
    assert job.scrub().ok
    assert job.contents() == contents


def test_what_nobody_has_stays_damaged_and_is_named(
    storage: AdversaryStorage, tmp_path: Path
) -> None:
    job = with_two_points(storage, tmp_path)
    copy = copy_of(storage)
    key = max(job.keys_of("packs"), key=storage.size)
    for place in (storage, copy):
        place.flip(key, 5000)
    storage.truncate(key, storage.size(key) * 2 // 3)
    lost = job.scrub()
    report = mend(job, copy)
    assert not report.ok
    assert report.mended, "all but one block came back"
    assert [len(pack.places) for pack in lost.packs] > [len(p.places) for p in job.scrub().packs]
    assert [len(pack.places) for pack in job.scrub().packs] == [1]
    assert report.points


def test_a_dry_run_says_what_could_be_done_and_changes_nothing(
    storage: AdversaryStorage, tmp_path: Path
) -> None:
    job = with_two_points(storage, tmp_path)
    copy = copy_of(storage)
    flip(storage, job.keys_of("packs")[0])
    flip(storage, job.keys_of("envelopes")[0])
    before = storage.snapshot()
    report = mend(job, copy, dry_run=True)
    assert report.ok
    assert len(report.mended) == 2
    assert storage.snapshot() == before


def test_a_chain_whose_signer_is_not_believed_is_left_alone(
    storage: AdversaryStorage, tmp_path: Path
) -> None:
    job = with_two_points(storage, tmp_path)
    copy = copy_of(storage)
    flip(storage, job.keys_of("packs")[0])
    before = storage.snapshot()
    report = mend(job, copy, trust=Trust())
    assert not report.ok
    assert any("not believed" in note for note in report.notes)
    assert storage.snapshot() == before


def test_an_older_copy_brings_nothing_back_that_retention_let_go(
    storage: AdversaryStorage, tmp_path: Path
) -> None:
    job = with_two_points(storage, tmp_path)
    copy = copy_of(storage)
    job.remove(job.points()[0])
    job.prune()
    job.prune()
    gone = {info.key for info in copy.list("")} - {info.key for info in storage.list("")}
    assert gone
    flip(storage, job.keys_of("packs")[0])
    contents = None
    report = mend(job, copy)
    assert report.ok, report
    contents = job.contents()
    assert len(contents) == 1
    assert not gone & {info.key for info in storage.list("")} - {
        one.object for one in report.mended
    }


def test_a_copy_that_is_behind_says_that_it_lacks_the_newest_entry(
    storage: AdversaryStorage, tmp_path: Path
) -> None:
    job = with_two_points(storage, tmp_path)
    copy = copy_of(storage)
    job.run()
    heads = {job.chain_id: job.head()}
    flip(storage, job.keys_of("journal")[-1])
    report = mend(job, copy, heads)
    assert not report.ok
    assert any("does not have" in note for note in report.notes)


def test_a_copy_that_was_tampered_with_is_not_believed(
    storage: AdversaryStorage, tmp_path: Path
) -> None:
    job = with_two_points(storage, tmp_path)
    copy = copy_of(storage)
    heads = {job.chain_id: job.head()}
    for kind in ("tables", "packs", "envelopes"):
        key = job.keys_of(kind)[0]
        copy.flip(key, copy.size(key) // 2)
        hide(storage, key)
    report = mend(job, copy, heads)
    assert not report.ok
    there = {info.key for info in storage.list("")}
    assert not {one.object for one in report.mended} & there
