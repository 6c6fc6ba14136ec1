"""What a scrub finds, what it says of it, and what it leaves alone."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from strongroom.crypto import random
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.errors import CancelledError, StorageUnavailableError
from strongroom.format.block import BlockClass
from strongroom.repository import layout
from strongroom.repository.chain import Head, Trust
from strongroom.repository.packs import PIECE
from strongroom.repository.scrub import scrub
from strongroom.repository.scrub_report import ScrubReport
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import source
from tests.support.jobs import Job, a_job, write_tree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def storage() -> AdversaryStorage:
    return AdversaryStorage(MemoryStorage())


@pytest.fixture(params=[True, False], ids=["sealed", "plain"])
def job(request: pytest.FixtureRequest, storage: AdversaryStorage, tmp_path: Path) -> Job:
    """A job with three points of one tree: a file they share, and one that each has anew."""
    job = a_job(storage, source("files", tmp_path / "tree"), sealed=request.param)
    for _ in range(3):
        write_tree(tmp_path / "tree", {"same": b"same" * 900, "large": random.token(9_000)})
        job.run()
    return job


def ids(job: Job) -> list[str]:
    return [point.id.hex() for point in job.points()]


def found(report: ScrubReport) -> dict[str, tuple[str, ...]]:
    return {damage.object: damage.points for damage in report.damaged}


class Counting(NullProgress):
    """Adds up what a scrub says it has read."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.read = 0

    def begin(self, stage: str, total_bytes: int | None = None) -> None:
        self.total = total_bytes

    def advance(self, byte_count: int = 0, files: int = 0) -> None:
        self.read += byte_count


# --- what is whole ---------------------------------------------------------------------------


def test_a_whole_repository_is_found_whole(job: Job) -> None:
    report = job.scrub(heads={job.chain_id: job.head()})

    assert report.ok
    assert report.notes == ()
    (chain,) = report.chains
    assert (chain.points, chain.sealed, chain.trusted) == (3, job.sealed, True)
    assert chain.signer == job.signer.public.fingerprint
    assert "every byte is what was written" in report.text()


def test_every_byte_outside_locks_is_read_and_told(job: Job) -> None:
    progress = Counting()
    report = scrub(job.repository, job.trust, {}, progress=progress, cancel=Cancellation())

    stored = [info for info in job.storage.list("") if not info.key.startswith(layout.LOCKS)]
    assert report.objects == len(stored)
    assert report.bytes_read == progress.total == sum(info.size for info in stored)
    # The marker is a few bytes that nobody is told of.
    assert progress.read == progress.total - job.storage.size(layout.MARKER)


def test_locks_are_nobodys_business(job: Job, storage: AdversaryStorage) -> None:
    storage.plant("locks/job-of-somebody/0000000001", b"anything")

    assert job.scrub().ok


def test_a_report_can_be_told_as_json(job: Job, storage: AdversaryStorage) -> None:
    storage.flip(job.keys_of("packs")[0], 200)

    assert json.loads(json.dumps(asdict(job.scrub())))["damaged"][0]["object"].startswith("chains/")


def test_only_the_chains_asked_for_are_read(
    job: Job, storage: AdversaryStorage, tmp_path: Path
) -> None:
    other = a_job(storage, source("files", tmp_path / "tree"))
    other.run()
    storage.flip(other.keys_of("packs")[0], 100)

    report = scrub(
        job.repository,
        job.trust,
        {},
        chain_ids=[job.chain_id],
        progress=NullProgress(),
        cancel=Cancellation(),
    )

    assert report.ok
    assert [chain.chain for chain in report.chains] == [job.chain_id.hex()]


# --- packs -----------------------------------------------------------------------------------


def test_a_damaged_block_hurts_the_points_that_use_it_and_no_others(
    job: Job, storage: AdversaryStorage
) -> None:
    (pack,) = job.packs_of(job.points()[1], BlockClass.DATA)
    storage.flip(pack, 5_000)

    report = job.scrub()

    assert found(report) == {pack: (ids(job)[1],)}
    assert "1 of its 1 blocks" in report.damaged[0].what


def test_a_block_that_later_points_share_hurts_them_as_well(
    job: Job, storage: AdversaryStorage
) -> None:
    (pack,) = job.packs_of(job.points()[0], BlockClass.DATA)
    storage.flip(pack, 5_000)  # one block holds both files, and points share the one

    assert ids(job)[0] in found(job.scrub())[pack]


def test_a_pack_that_is_gone_is_missed(job: Job, storage: AdversaryStorage) -> None:
    (pack,) = job.packs_of(job.points()[2], BlockClass.INDEX)
    storage.hide(pack)

    report = job.scrub()

    assert found(report) == {pack: (ids(job)[2],)}
    assert report.damaged[0].what == "is missing"


def test_damage_in_a_header_or_trailer_hurts_no_point(job: Job, storage: AdversaryStorage) -> None:
    first, second = job.keys_of("packs")[:2]
    storage.flip(first, 20)
    storage.flip(second, -60)

    assert found(job.scrub()) == {first: (), second: ()}


def test_bytes_behind_a_pack_belong_to_nothing(job: Job, storage: AdversaryStorage) -> None:
    pack = job.keys_of("packs")[0]
    storage.append(pack, b"more")

    assert [*found(job.scrub())] == [pack]


def test_two_packs_that_changed_places_are_both_found(job: Job, storage: AdversaryStorage) -> None:
    one, other = (job.packs_of(point, BlockClass.DATA)[0] for point in job.points()[:2])
    storage.swap(one, other)

    report = job.scrub()

    assert {*found(report)} == {one, other}
    assert {*report.points} >= {*ids(job)[:2]}


def test_packs_of_a_session_that_never_published_are_noted(
    job: Job, storage: AdversaryStorage, tmp_path: Path
) -> None:
    faulty = FaultyStorage(storage)
    job.storage = faulty
    write_tree(tmp_path / "tree", {"more": random.token(9_000)})
    faulty.fail("put", 4, StorageUnavailableError("power cut"))  # lock, keys, pack; lock, packs
    with pytest.raises(StorageUnavailableError):
        job.run()
    faulty.assert_all_hit()
    job.storage = storage

    report = job.scrub()

    assert report.ok
    assert report.notes
    assert all("has not published" in note.what for note in report.notes)
    stray = report.notes[0].object
    storage.flip(stray, 90)
    assert found(job.scrub()) == {stray: ()}


def test_a_block_longer_than_what_is_read_at_once_is_compared_too(
    storage: AdversaryStorage, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    image.write_bytes(random.token(2 * PIECE + 5))
    job = a_job(storage, source("image", image))
    job.block_size = 8 << 20
    job.run()
    assert job.scrub().ok
    (pack,) = job.packs_of(job.points()[0], BlockClass.DATA)

    storage.flip(pack, PIECE + 100_000)

    assert found(job.scrub()) == {pack: (ids(job)[0],)}


# --- pages and entries -----------------------------------------------------------------------


def test_a_damaged_page_hurts_the_points_that_reach_it(job: Job, storage: AdversaryStorage) -> None:
    oldest, *_ = job.points()
    before = ids(job)
    page = oldest.body.sessions.page
    assert page is not None
    tables = layout.tables(job.chain_id, page.object_id)
    storage.flip(tables, page.offset + 5)

    report = job.scrub()

    assert found(report)[tables] == (before[0],)


def test_a_damaged_frame_is_found_even_where_no_page_is(
    job: Job, storage: AdversaryStorage
) -> None:
    tables = job.keys_of("tables")[1]
    storage.flip(tables, -1)

    assert found(job.scrub()) == {tables: ()}


def test_a_damaged_entry_hurts_the_points_that_it_published(
    job: Job, storage: AdversaryStorage
) -> None:
    entry = layout.entry(job.chain_id, 2)
    before = ids(job)
    storage.flip(entry, 300)

    assert found(job.scrub()) == {entry: (before[1],)}


def test_a_damaged_newest_entry_does_not_hide_the_rest(job: Job, storage: AdversaryStorage) -> None:
    head = job.head()
    storage.flip(layout.entry(job.chain_id, 3), 300)

    report = job.scrub(heads={job.chain_id: head})

    assert [*found(report)] == [layout.entry(job.chain_id, 3)]
    assert report.chains[0].points == 2


def test_points_of_an_entry_that_nothing_else_tells_of_are_named_if_they_are_known(
    job: Job, storage: AdversaryStorage
) -> None:
    newest = layout.entry(job.chain_id, 3)
    before, head = ids(job), job.head()
    known = {job.chain_id: {3: before[2:]}}

    def points() -> tuple[str, ...]:
        return scrub(
            job.repository,
            job.trust,
            {job.chain_id: head},
            known_points=known,
            progress=NullProgress(),
            cancel=Cancellation(),
        ).points

    storage.flip(newest, 300)
    assert points() == (before[2],)

    storage.hide(newest)
    assert set(points()) == set(before)


def test_a_promised_entry_that_is_gone_is_missed(job: Job, storage: AdversaryStorage) -> None:
    before = ids(job)
    storage.hide(layout.entry(job.chain_id, 1))

    report = job.scrub()

    assert found(report) == {layout.entry(job.chain_id, 1): (before[0],)}
    assert "promises it" in report.damaged[0].what


def test_a_head_known_elsewhere_shows_what_was_rolled_back(
    job: Job, storage: AdversaryStorage
) -> None:
    head = job.head()
    storage.hide(layout.entry(job.chain_id, 3))

    assert job.scrub().ok, "more is impossible for who knows no head"
    report = job.scrub(heads={job.chain_id: head})

    assert [*found(report)] == [layout.entry(job.chain_id, 3)]
    assert "rolled back" in report.damaged[0].what


def test_another_entry_than_the_known_head_is_a_fork(job: Job) -> None:
    other = Head(job.chain_id, 2, bytes(32))

    report = job.scrub(heads={job.chain_id: other})

    assert "two histories" in report.damaged[0].what


def test_an_entry_behind_a_gap_is_found(job: Job, storage: AdversaryStorage) -> None:
    storage.duplicate(layout.entry(job.chain_id, 3), layout.entry(job.chain_id, 9))

    report = job.scrub()

    assert {*found(report)} == {layout.entry(job.chain_id, 9)}


# --- keys ------------------------------------------------------------------------------------


def sealed_job(storage: AdversaryStorage, folder: Path) -> Job:
    job = a_job(storage, source("files", folder / "tree"))
    write_tree(folder / "tree", {"a": b"a"})
    job.run()
    return job


def test_one_damaged_copy_of_an_envelope_hurts_nobody_yet(
    storage: AdversaryStorage, tmp_path: Path
) -> None:
    job = sealed_job(storage, tmp_path)
    one, other = job.keys_of("envelopes")
    storage.flip(one, 500)
    assert found(job.scrub()) == {one: ()}

    storage.flip(other, 900)
    assert (ids(job)[0],) in found(job.scrub()).values()


def test_envelopes_that_are_gone_are_missed(storage: AdversaryStorage, tmp_path: Path) -> None:
    job = sealed_job(storage, tmp_path)
    one, other = job.keys_of("envelopes")
    storage.hide(one)
    assert found(job.scrub()) == {one: ()}

    storage.hide(other)
    report = job.scrub()
    assert report.points == (ids(job)[0],)
    assert "neither an envelope nor a link" in report.damaged[0].what


def test_sealed_keys_by_somebody_else_are_found(storage: AdversaryStorage, tmp_path: Path) -> None:
    job, other = sealed_job(storage, tmp_path), sealed_job(storage, tmp_path)
    (keys,), (others,) = job.keys_of("keys"), other.keys_of("keys")
    storage.replace(keys, storage.get(others))

    assert [*found(job.scrub(Trust()))] == [keys]


# --- chains ----------------------------------------------------------------------------------


def test_a_signer_nobody_pinned_is_told_and_no_damage(job: Job) -> None:
    report = job.scrub(Trust())

    assert report.ok
    assert not report.chains[0].trusted
    assert job.signer.public.fingerprint in report.text()


def test_a_signer_that_is_not_the_pinned_one_is_damage(job: Job) -> None:
    report = job.scrub(Trust(pinned=frozenset({"some-body-else"})))

    assert found(report) == {layout.header(job.chain_id): tuple(ids(job))}


def test_a_damaged_header_hurts_every_point_of_its_chain(
    job: Job, storage: AdversaryStorage
) -> None:
    before = ids(job)
    storage.flip(layout.header(job.chain_id), 100)

    assert found(job.scrub()) == {layout.header(job.chain_id): tuple(before)}


def test_a_header_that_is_gone_is_missed(job: Job, storage: AdversaryStorage) -> None:
    before = ids(job)
    storage.hide(layout.header(job.chain_id))

    report = job.scrub(heads={})

    assert found(report) == {layout.header(job.chain_id): tuple(before)}


def test_a_chain_that_was_known_and_is_gone_is_told(job: Job, storage: AdversaryStorage) -> None:
    head = job.head()
    storage.hide(layout.header(job.chain_id))
    storage.hide(layout.chain(job.chain_id))

    assert [note.what for note in job.scrub(heads={job.chain_id: head}).notes] == [
        "was known here and is gone"
    ]


def test_strange_objects_are_told(job: Job, storage: AdversaryStorage) -> None:
    strange = ["readme", f"{layout.chain(job.chain_id)}locations/1", "headers/nobody"]
    for key in strange:
        storage.plant(key, b"?")

    report = job.scrub()

    assert report.ok
    assert sorted(note.object for note in report.notes) == sorted(strange)


def test_a_damaged_marker_is_found(job: Job, storage: AdversaryStorage) -> None:
    storage.flip(layout.MARKER, 30)

    assert [*found(job.scrub())] == [layout.MARKER]


# --- what stops it ---------------------------------------------------------------------------


@pytest.mark.parametrize("nth", [1, 7, 15])
def test_a_storage_that_does_not_answer_is_no_damage(job: Job, nth: int) -> None:
    faulty = FaultyStorage(job.storage)
    faulty.fail("get", nth, StorageUnavailableError("unplugged"))
    job.repository.storage = faulty

    with pytest.raises(StorageUnavailableError):
        job.scrub()
    faulty.assert_all_hit()


def test_it_stops_on_request(job: Job) -> None:
    cancel = Cancellation()
    cancel.cancel()

    with pytest.raises(CancelledError):
        scrub(job.repository, job.trust, {}, progress=NullProgress(), cancel=cancel)
