"""What prune takes away, when, in which order, and what it leaves alone."""

from __future__ import annotations

import json
from copy import copy
from dataclasses import asdict, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from strongroom.crypto import random
from strongroom.crypto.signing import SigningKey
from strongroom.errors import (
    FencedError,
    IntegrityError,
    PointWithheldError,
    StorageUnavailableError,
)
from strongroom.format.block import BlockClass
from strongroom.format.journal import CondemnationBody, EntryRef, SuccessionBody
from strongroom.repository import layout, locks
from strongroom.repository.append import append_entry
from strongroom.repository.page_memory import PageMemory
from strongroom.repository.prune import carry_out, plan_prune
from strongroom.repository.repository import Repository
from strongroom.repository.usage import BlockUsage
from strongroom.repository.writer import SealedKeys, SessionWriter
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage
from strongroom.testing.turned_clock import TurnedClock
from tests.support.engine_job import look_at, source
from tests.support.jobs import Job, a_job, next_chain, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from strongroom.repository.prune import PruneResult
    from strongroom.storage.base import Storage

DAY = timedelta(hours=24)


@pytest.fixture
def storage() -> AdversaryStorage:
    return AdversaryStorage(MemoryStorage())


@pytest.fixture(params=[True, False], ids=["sealed", "plain"])
def job(request: pytest.FixtureRequest, storage: AdversaryStorage, tmp_path: Path) -> Job:
    """A job with four points of one tree, each with a file of its own and one that all share."""
    return with_points(storage, tmp_path, 4, sealed=request.param)


def with_points(storage: Storage, folder: Path, count: int, *, sealed: bool = True) -> Job:
    job = a_job(storage, source("files", folder / "tree"), sealed=sealed, cache=folder / "cache")
    for _ in range(count):
        publish(job, folder)
    return job


def publish(job: Job, folder: Path) -> None:
    own = {f"own{n}": random.token(4_000) for n in range(3)}
    write_tree(folder / "tree", {"same": b"same" * 90_000, **own})
    job.run()


def kinds(job: Job) -> list[str]:
    """Return what the chain has, but for what never goes."""
    prefix = layout.chain(job.chain_id)
    keys = [info.key.removeprefix(prefix) for info in job.storage.list(prefix)]
    return [key for key in keys if key.split("/")[0] not in ("envelopes", "links")]


# --- what goes -------------------------------------------------------------------------------


def test_nothing_goes_while_every_point_is_promised(job: Job) -> None:
    job.prune()  # keys objects of published sessions are no longer needed

    plan = job.plan_prune()

    assert plan.nothing
    assert plan.kept_points == 4
    assert plan.live_bytes > 0


def test_a_point_given_up_takes_what_only_it_needed(job: Job) -> None:
    second = job.points()[1]
    before = job.contents()
    own = job.packs_of(second, BlockClass.DATA)
    job.remove(second)

    result = job.prune()

    assert result.removed == result.condemned > 0
    assert result.freed_bytes > 12_000
    assert not {*own} & {*job.keys_of("packs")}
    del before[second.id]
    assert job.contents() == before
    assert job.scrub().ok
    assert layout.entry(job.chain_id, second.entry.number) not in job.keys_of("journal")


def test_what_a_plan_says_is_what_goes(job: Job) -> None:
    job.remove(*job.points()[:2])
    plan = job.plan_prune()
    before = {info.key: info.size for info in job.storage.list(layout.chain(job.chain_id))}

    result = carry_out(plan)

    prefix = layout.chain(job.chain_id)
    gone = {key for key in before if not job.storage.exists(key)}
    assert gone == {prefix + one.object for one in plan.removals}
    assert result.freed_bytes == plan.freed_bytes == sum(before[key] for key in gone)
    assert all(one.reason for one in plan.removals)
    assert json.loads(json.dumps(asdict(plan)))["entries"] == [1, 2]
    assert "points kept" in plan.text()


def test_planning_changes_nothing(job: Job) -> None:
    job.remove(job.points()[0])
    before = {info.key for info in job.storage.list("")}

    job.plan_prune()

    assert {info.key for info in job.storage.list("")} == before


def test_the_newest_session_stays_even_if_none_of_its_points_does(job: Job, tmp_path: Path) -> None:
    job.remove(*job.points())
    job.prune()

    entries = [job.chain().entry(number).body for number in job.chain().numbers()]
    assert [type(body).__name__ for body in entries] == [
        "SessionBody",
        "PromiseBody",
        "CondemnationBody",
    ]
    publish(job, tmp_path)
    assert job.contents() == {job.points()[0].id: look_at(tmp_path / "tree")}
    assert job.points()[0].public.kind == 2, "the next session is an increment on it"


def test_bytes_that_are_dead_in_packs_that_live_are_told(job: Job, tmp_path: Path) -> None:
    assert job.plan_prune().dead_bytes == 0
    (tmp_path / "tree" / "same").unlink()
    job.run()
    job.remove(*job.points()[:-1])
    job.prune()

    plan = job.plan_prune()

    stored = sum(job.storage.size(key) for key in job.keys_of("packs"))
    assert plan.live_bytes + plan.dead_bytes < stored


def test_a_held_point_stays_until_it_is_released_and_given_up(job: Job) -> None:
    first = job.points()[0]
    job.hold(first)
    job.prune()
    assert first.id in job.contents()


def test_spent_entries_go_once_a_newer_session_follows(job: Job, tmp_path: Path) -> None:
    job.remove(job.points()[0])
    job.prune()
    publish(job, tmp_path)
    job.remove(job.points()[0])

    job.prune()

    # Of the removals before, one promise and one condemnation still stand behind the session.
    kinds = [type(job.chain().entry(n).body).__name__ for n in job.chain().numbers()]
    assert kinds == [*["SessionBody"] * 3, "PromiseBody", "CondemnationBody"]
    assert job.scrub().ok


def test_blocks_carried_over_from_an_older_point_stay(
    storage: AdversaryStorage, tmp_path: Path
) -> None:
    """A source that fails leaves its older point in the state; nothing of that may go."""
    one, two = tmp_path / "one", tmp_path / "two"
    write_tree(one, {"a": b"a"})
    write_tree(two, {"b": b"first" * 2_000})
    job = a_job(storage, source("files", one), source("files", two), cache=tmp_path / "cache")
    job.run()
    then = look_at(two)
    two.rename(tmp_path / "saved")
    write_tree(two, {"b": b"second" * 2_000})
    job.run()
    two.rename(tmp_path / "away")
    job.run()
    job.remove(*(point for point in job.points() if point.entry.number == 2))
    job.prune()
    (tmp_path / "saved").rename(two)
    job.run()  # compares with the first point, whose blocks the state before did not use
    job.remove(*(point for point in job.points() if point.entry.number == 1))

    job.prune()

    newest = job.points()[-1]
    assert job.contents()[newest.id] == then
    assert job.scrub().ok


# --- quarantine ------------------------------------------------------------------------------


def test_what_is_condemned_waits_for_its_quarantine(job: Job) -> None:
    clock = TurnedClock(job.clock.now())
    job.remove(job.points()[0])
    before = kinds(job)

    first = job.prune(DAY, clock)
    assert (first.condemned, first.removed) == (first.waiting, 0)
    assert first.due_at == clock.now() + DAY
    assert {*kinds(job)} >= {*before}
    clock.advance(DAY - timedelta(seconds=1))
    assert job.prune(DAY, clock).removed == 0
    clock.advance(timedelta(seconds=1))
    second = job.prune(DAY, clock)

    assert (second.condemned, second.removed) == (0, first.condemned)
    assert job.plan_prune(DAY, clock).nothing


def test_a_shorter_quarantine_condemns_anew(job: Job) -> None:
    clock = TurnedClock(job.clock.now())
    job.remove(job.points()[0])
    job.prune(10 * DAY, clock)

    assert job.prune(timedelta(), clock).removed > 0


def test_what_came_into_use_again_stays(job: Job, tmp_path: Path) -> None:
    """Packs of a dead session were condemned; before they went, the next session took them over."""
    clock = TurnedClock(job.clock.now())
    left = die_before_publishing(job, tmp_path)
    job.prune(DAY, clock)
    job.run()
    clock.advance(2 * DAY)

    job.prune(DAY, clock)

    assert {*left} & {*job.keys_of("packs")}
    assert job.contents()[job.points()[-1].id] == look_at(tmp_path / "tree")
    assert job.scrub().ok


# --- what dead sessions left -----------------------------------------------------------------


def die_before_publishing(job: Job, folder: Path) -> list[str]:
    """Let a session die with complete packs; return them."""
    before = {*job.keys_of("packs")}
    write_tree(folder / "tree", {f"new{n}": random.token(40_000) for n in range(3)})
    storage, faulty = job.storage, FaultyStorage(job.storage)
    job.storage = faulty
    faulty.fail("put", 5 if job.sealed else 4, StorageUnavailableError("power cut"))
    with pytest.raises(StorageUnavailableError):
        job.run()
    faulty.assert_all_hit()
    job.storage = storage
    return sorted({*job.keys_of("packs")} - before)


def test_what_a_dead_session_left_goes(job: Job, tmp_path: Path) -> None:
    before = job.contents()
    left = die_before_publishing(job, tmp_path)
    assert left

    job.prune()

    assert not {*left} & {*job.keys_of("packs")}
    assert job.keys_of("keys") == []
    assert job.contents() == before
    job.run()
    assert job.contents()[job.points()[-1].id] == look_at(tmp_path / "tree")


def test_nothing_goes_while_the_chain_itself_is_at_work_on(job: Job) -> None:
    job.remove(job.points()[0])
    before = kinds(job)
    lock = layout.job_lock(job.chain().header.job_id)

    with locks.acquire(job.storage, lock, "the-copy", job.clock, command="job reencrypt"):
        result = job.prune()

    assert (result.condemned, result.removed) == (0, 0)
    assert result.left is not None
    assert "the-copy" in result.left
    assert kinds(job) == before
    assert job.prune().removed > 0


# --- what was read before -----------------------------------------------------------------------


class Reads:
    """A storage that counts what is read of entries and pages."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self.bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        data = self._inner.get(key, offset, length)
        if "/tables/" in key or "/journal/" in key:
            self.bytes += len(data)
        return data


def bytes_read_by_prune(job: Job, pages: Path) -> int:
    reads = Reads(job.storage)
    repository = Repository.open(reads)  # type: ignore[arg-type]
    chain = repository.chain(job.chain_id)
    with PageMemory.at(pages) as chain.memory:
        carry_out(plan_prune(repository, chain, job.clock, timedelta()))
    return reads.bytes


def test_prune_reads_what_is_new_since_the_last_one(tmp_path: Path) -> None:
    job = with_points(MemoryStorage(), tmp_path, 20)
    pages = tmp_path / "pages"
    first = bytes_read_by_prune(job, pages)
    kept = job.contents()
    given_up = job.points()[10]
    job.remove(given_up)

    second = bytes_read_by_prune(job, pages)

    assert second < first / 4
    assert job.contents() == {point: held for point, held in kept.items() if point != given_up.id}
    assert job.scrub().ok


def test_what_is_kept_here_and_damaged_is_read_from_the_storage(tmp_path: Path) -> None:
    job = with_points(MemoryStorage(), tmp_path, 3)
    pages = tmp_path / "pages"
    bytes_read_by_prune(job, pages)
    content = bytearray(pages.read_bytes())
    for at in range(100, len(content), 500):
        content[at] ^= 1
    pages.write_bytes(content)
    job.remove(job.points()[0])

    bytes_read_by_prune(job, pages)

    assert len(job.contents()) == 2
    assert job.scrub().ok


# --- beside a session at work ----------------------------------------------------------------


class During:
    """A storage that lets something happen once, before its n-th put of a pack."""

    def __init__(self, inner: Storage, nth: int, happens: Callable[[], object]) -> None:
        self._inner = inner
        self._left = nth
        self._happens = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put(self, key: str, data: Any) -> None:
        if "/packs/" in key:
            self._left -= 1
            if self._left == 0:
                self._happens()
        self._inner.put(key, data)


def run_while(job: Job, happens: Callable[[], object], nth: int = 1) -> None:
    """Run a session in whose middle something happens."""
    inner, happened = job.storage, []
    job.storage = During(inner, nth, lambda: happened.append(happens()))  # type: ignore[assignment]
    try:
        job.run()
    finally:
        job.storage = inner
    assert happened


@pytest.mark.parametrize("nth", [1, 2])
def test_what_was_given_up_goes_beside_a_session_at_work(
    job: Job, tmp_path: Path, nth: int
) -> None:
    job.remove(*job.points()[:2])
    planned = {one.object for one in job.plan_prune().removals}
    pruned: list[PruneResult] = []
    care = copy(job)
    write_tree(tmp_path / "tree", {"same": b"same" * 90_000, "new": random.token(9_000)})

    run_while(job, lambda: pruned.append(care.prune()), nth)

    (result,) = pruned
    assert result.left is None
    assert result.beside is not None
    assert "job run" in result.beside
    assert result.removed > 4
    assert {one.split("/")[0] for one in planned & {*kinds(job)}} <= {"keys"}
    assert job.contents()[job.points()[-1].id] == look_at(tmp_path / "tree")
    assert len(job.contents()) == 3
    assert job.scrub().ok
    assert job.prune().left is None
    assert job.scrub().ok


def test_beside_a_session_nothing_goes_that_no_entry_leads_to(job: Job, tmp_path: Path) -> None:
    left = die_before_publishing(job, tmp_path)
    job.prune(DAY)  # condemns it, too
    care = copy(job)
    late = TurnedClock(job.clock.now())
    late.advance(2 * DAY)

    run_while(job, lambda: care.prune(DAY, late))

    assert {*left} & {*job.keys_of("packs")}
    assert job.contents()[job.points()[-1].id] == look_at(tmp_path / "tree")
    assert job.scrub().ok


def test_an_expired_chain_stays_whole_beside_a_session_of_its_job(job: Job, tmp_path: Path) -> None:
    job.retire(*job.points())
    assert job.plan_prune().whole_chain
    lock = layout.job_lock(job.chain().header.job_id)
    points = [entry.number for entry in map(job.chain().entry, job.chain().listing)]

    with locks.acquire(job.storage, lock, "session", job.clock, command=locks.RUNNING):
        job.prune()

    assert job.chain().newest_session is not None
    assert job.chain().listing[-2] in points


def test_one_prune_beside_a_session_is_enough(job: Job) -> None:
    job.remove(job.points()[0])
    lock, care = layout.job_lock(job.chain().header.job_id), layout.care_lock(job.chain_id)

    with (
        locks.acquire(job.storage, lock, "session", job.clock, command=locks.RUNNING),
        locks.acquire(job.storage, care, "other", job.clock, command=locks.PRUNING),
    ):
        result = job.prune()

    assert result.left is not None
    assert "other" in result.left
    assert result.removed == 0


def test_a_session_that_lost_its_lock_finds_its_packs_condemned(job: Job) -> None:
    """Prune while another session publishes: the journal decides, whatever the locks said."""
    chain = job.chain()
    session_id = random.token(16)
    writer = SessionWriter(chain, session_id, SealedKeys(), job.signer, job.clock)
    pack_id = random.token(32)
    writer.put_pack(pack_id, 0, b"", b"a pack")

    job.prune()

    assert not job.storage.exists(layout.pack(job.chain_id, pack_id))
    with pytest.raises(FencedError, match="condemned"):
        writer.publish([], BlockUsage(), give_up=(), counter=9, previous=None, next_due=0)


def test_a_session_published_since_the_plan_was_made_is_taken_into_account(
    job: Job, tmp_path: Path
) -> None:
    left = die_before_publishing(job, tmp_path)
    plan = job.plan_prune()
    assert {layout.chain(job.chain_id) + one.object for one in plan.removals} >= {*left}
    job.run()
    moment = look_at(tmp_path / "tree")

    carry_out(plan)

    assert {*left} & {*job.keys_of("packs")}
    assert job.contents()[job.points()[-1].id] == moment


def test_what_an_entry_leads_to_is_not_taken_over_again(job: Job, tmp_path: Path) -> None:
    """The note of a dead session can outlive its taking over; care may be at its packs by then."""
    notes = tmp_path / "cache" / "packs"
    die_before_publishing(job, tmp_path)
    saved = {path: path.read_bytes() for path in notes.glob("*.packs")}
    job.run()
    assert job.taken_over() == 1
    for path, content in saved.items():
        path.write_bytes(content)

    job.run()

    assert job.taken_over() == 1
    assert not [*notes.glob("*.packs")]
    assert job.contents()[job.points()[-1].id] == look_at(tmp_path / "tree")
    assert job.scrub().ok


# --- strangers -------------------------------------------------------------------------------


def condemn(job: Job, entries: list[int], objects: list[str], signer: SigningKey | None) -> None:
    body = CondemnationBody(entries, objects, 0)
    append_entry(job.chain(), body, signer, job.clock)


def test_nothing_goes_because_an_entry_says_so(job: Job) -> None:
    before = job.contents()
    everything = kinds(job)
    condemn(job, [1, 2, 3, 4], everything, None)

    job.prune()

    assert job.contents() == before
    assert {*everything} - {*kinds(job)} == {key for key in everything if key.startswith("keys/")}


def test_a_condemnation_far_in_the_future_keeps_nothing(job: Job) -> None:
    job.remove(job.points()[0])
    plan = job.plan_prune()
    names = [one.object for one in plan.removals]
    append_entry(job.chain(), CondemnationBody([], names, 1 << 62), None, job.clock)

    assert job.prune().removed >= len(names)
    assert job.plan_prune().nothing


def test_a_signer_whom_the_chain_does_not_know_signs_nothing(job: Job) -> None:
    job.remove(job.points()[0])
    job.prune(signer=SigningKey.from_seed(random.seed()))
    assert job.scrub().ok

    job.remove(job.points()[0])
    job.prune(signer=job.signer)
    chain = job.chain()
    assert chain.entry(chain.numbers()[-1]).raw.signer == job.signer.public.id
    assert job.head().number == chain.numbers()[-1]


def test_a_chain_of_which_something_is_withheld_is_left_alone(
    job: Job, storage: AdversaryStorage
) -> None:
    job.remove(job.points()[3])
    storage.hide(layout.entry(job.chain_id, 2))
    before = kinds(job)

    with pytest.raises(PointWithheldError):
        job.prune()

    assert kinds(job) == before


def test_a_chain_with_a_damaged_page_is_left_alone(job: Job, storage: AdversaryStorage) -> None:
    job.remove(job.points()[3])
    page = job.points()[1].body.sets.page
    assert page is not None
    storage.flip(layout.tables(job.chain_id, page.object_id), page.offset + 3)
    before = kinds(job)

    with pytest.raises(IntegrityError):
        job.prune()

    assert kinds(job) == before


# --- whole chains ----------------------------------------------------------------------------


def a_newer_chain(job: Job, *, names_older: bool = False) -> Job:
    """Let the job go on in a chain of its own, as after a detach."""
    newer = next_chain(job)
    head = job.head()
    older = (EntryRef(job.chain_id, head.number, head.entry_hash),) if names_older else ()
    newer.run(replace(newer.plan(), older=older))
    return newer


def taken_over(job: Job) -> None:
    """Let another server sign the chain from now on."""
    chain = job.chain()
    job.signer = SigningKey.from_seed(random.seed())
    body = SuccessionBody(job.signer.public.raw, chain.root_hash, 0)
    append_entry(chain, body, job.signer, job.clock)


def test_a_chain_that_a_session_died_in_at_once_goes_when_the_job_went_on_in_the_one_before(
    job: Job, tmp_path: Path
) -> None:
    empty = next_chain(job)
    assert empty.plan_prune().nothing, "a session may be about to publish in it"
    publish(job, tmp_path)

    empty.prune()

    assert job.repository.chain_ids() == [job.chain_id]
    assert len(job.points()) == 5


def test_a_chain_without_points_goes_once_the_job_went_on_elsewhere(
    job: Job, tmp_path: Path
) -> None:
    newer = a_newer_chain(job)
    assert not job.plan_prune().whole_chain, "its points are promised"
    job.remove(*job.points())

    plan = job.plan_prune()
    assert plan.whole_chain
    result = carry_out(plan)

    assert result.waiting == 0
    assert [*job.storage.list(layout.chain(job.chain_id))] == []
    assert job.repository.chain_ids() == [newer.chain_id]
    assert newer.scrub().ok
    assert newer.contents() == {newer.points()[0].id: look_at(tmp_path / "tree")}


def test_the_newest_chain_of_a_job_stays_even_without_points(job: Job, tmp_path: Path) -> None:
    other = a_job(job.storage, *job.sources)  # another job's
    other.run()
    job.remove(*job.points())

    assert not job.plan_prune().whole_chain
    job.prune()
    assert job.chain().newest_session is not None


def test_a_chain_goes_whole_once_its_owner_has_ended_it(job: Job) -> None:
    first, *others = job.points()
    job.retire(first)
    assert not job.chain().ended
    job.retire(*others)
    assert job.chain().ended

    assert job.plan_prune().whole_chain
    job.prune()

    assert [*job.storage.list(layout.chain(job.chain_id))] == []
    assert job.repository.chain_ids() == []


def test_a_chain_emptied_by_hand_can_be_ended_all_the_same(job: Job) -> None:
    job.remove(*job.points())
    assert not job.plan_prune().whole_chain
    job.retire()
    assert job.plan_prune().whole_chain


def test_a_session_after_the_end_goes_on_in_the_chain(job: Job, tmp_path: Path) -> None:
    job.retire(*job.points())
    job.run()

    assert not job.chain().ended
    job.prune()
    assert job.contents() == {job.points()[0].id: look_at(tmp_path / "tree")}


def test_an_ended_chain_still_keeps_those_that_it_names(job: Job) -> None:
    """Readers of what is left of it would call them withheld."""
    newer = a_newer_chain(job, names_older=True)
    job.retire(*job.points())
    newer.retire(*newer.points())
    newer.prune(DAY)  # condemned, and there

    plan = job.plan_prune()

    assert not plan.whole_chain
    assert "until chain" in plan.text()
    newer.prune()
    assert job.plan_prune().whole_chain


def test_header_and_journal_stay_as_long_as_the_newer_chain_names_them(
    job: Job, tmp_path: Path
) -> None:
    newer = a_newer_chain(job, names_older=True)
    job.remove(*job.points())

    job.prune()

    assert job.keys_of("packs") == []
    assert job.storage.exists(layout.header(job.chain_id))
    assert newer.scrub().ok
    newer.run()
    assert job.plan_prune().whole_chain
    job.prune()
    assert newer.scrub().ok
    assert job.repository.chain_ids() == [newer.chain_id]


def test_a_chain_that_cannot_be_read_is_no_reason_for_anything(
    job: Job, storage: AdversaryStorage
) -> None:
    newer = a_newer_chain(job)
    job.remove(*job.points())
    storage.flip(layout.entry(newer.chain_id, 1), 400)

    plan = job.plan_prune()

    assert not plan.whole_chain
    assert "cannot be read" in plan.text()


def test_an_expired_chain_waits_for_the_quarantine_as_one(job: Job, tmp_path: Path) -> None:
    clock = TurnedClock(job.clock.now())
    a_newer_chain(job)
    job.remove(*job.points())

    assert job.prune(DAY, clock).removed == 0
    assert job.storage.exists(layout.header(job.chain_id))
    clock.advance(DAY)
    job.prune(DAY, clock)

    assert not job.storage.exists(layout.header(job.chain_id))
    assert [*job.storage.list(layout.chain(job.chain_id))] == []


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("goes_on", [True, False], ids=["elsewhere", "ended"])
def test_an_expired_chain_goes_wholly_whenever_prune_is_interrupted(
    sealed: bool, goes_on: bool, tmp_path: Path
) -> None:
    nth = 0
    while True:
        nth += 1
        memory = MemoryStorage()
        job = with_points(memory, tmp_path, 1, sealed=sealed)
        newer = a_newer_chain(job) if goes_on else with_points(memory, tmp_path, 1)
        if not goes_on:
            taken_over(job)
        (job.remove if goes_on else job.retire)(*job.points())
        faulty = FaultyStorage(memory)
        faulty.kill_after(nth)
        job.repository.storage = job.storage = faulty
        try:
            job.prune()
        except StorageUnavailableError:
            pass
        else:
            break
        job.repository.storage = job.storage = memory
        if memory.exists(layout.header(job.chain_id)):
            job.prune()
        job.remove_remainders()
        assert job.repository.chain_ids() == [newer.chain_id]
        assert [*memory.list(layout.chain(job.chain_id))] == []
        assert newer.scrub().ok
    assert nth > 5


def test_what_belongs_to_a_chain_about_to_begin_is_no_leftover(job: Job) -> None:
    unborn = random.token(16)
    job.storage.put(layout.envelope(unborn, bytes(32), 1, "a"), b"an envelope")

    assert job.remove_remainders() == 0


def test_a_chain_whose_header_is_hidden_is_no_leftover(job: Job, storage: AdversaryStorage) -> None:
    storage.hide(layout.header(job.chain_id))

    assert job.remove_remainders() == 0
