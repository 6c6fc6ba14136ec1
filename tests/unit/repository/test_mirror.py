"""A chain copied without keys: what travels, what is refused, and what a reader sees meanwhile."""

from __future__ import annotations

from copy import copy
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from strongroom.crypto import random
from strongroom.crypto.recipients import make_recovery_recipient
from strongroom.crypto.signing import SigningKey
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.errors import (
    CancelledError,
    ConflictError,
    ForkedError,
    IntegrityError,
    NotFoundError,
    RolledBackError,
    StorageUnavailableError,
    UnvouchedError,
)
from strongroom.format.block import BlockClass
from strongroom.format.journal import PromiseBody
from strongroom.format.paging import Table, TableRoot
from strongroom.format.tables import HISTORY_SPAN, HistoryRecord
from strongroom.model.floor import Floor
from strongroom.repository import copy_marks, layout, rekey
from strongroom.repository.append import append_entry
from strongroom.repository.chain import Chain, Trust
from strongroom.repository.compaction import compact, plan_compaction
from strongroom.repository.mirror import CopiedChain, carry_out, plan_mirror
from strongroom.repository.pages import PageCollector
from strongroom.repository.prune import carry_out as carry_out_prune
from strongroom.repository.prune import plan_prune
from strongroom.repository.repository import Repository
from strongroom.storage.base import ObjectInfo
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import AheadClock, look_at, source
from tests.support.fickle_storage import FickleStorage
from tests.support.jobs import Job, a_job, next_chain, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from strongroom.repository.chain import Head
    from strongroom.storage.base import Storage


@pytest.fixture
def storage() -> AdversaryStorage:
    return AdversaryStorage(MemoryStorage())


@pytest.fixture
def target() -> AdversaryStorage:
    storage = AdversaryStorage(MemoryStorage())
    Repository.create(storage, AheadClock())
    return storage


@pytest.fixture
def job(storage: AdversaryStorage, tmp_path: Path) -> Job:
    """A job with three points, each with content of its own."""
    job = a_job(storage, source("files", tmp_path / "tree"), cache=tmp_path / "cache")
    for _ in range(3):
        publish(job, tmp_path)
    return job


def publish(job: Job, folder: Path) -> None:
    own = {f"own{n}": random.token(4_000) for n in range(2)}
    write_tree(folder / "tree", {"same": b"same" * 20_000, **own})
    job.run()


def mirror(
    job: Job,
    target: Storage,
    *,
    trust: Trust | None = None,
    known: Head | None = None,
    named: bool = False,
    check: bool = False,
    declare: bool = True,
    keeps_ways: bool = False,
    cancel: Cancellation | None = None,
) -> CopiedChain | None:
    """Copy the job's chain as a machine does that knows the signer's fingerprint alone."""
    trust = trust or Trust(pinned=frozenset({job.signer.public.fingerprint}))
    progress, cancel = NullProgress(), cancel or Cancellation()
    plan = plan_mirror(
        job.chain(),
        Repository.open(target),
        trust,
        known=known,
        named=named,
        check=check,
        keeps_ways=keeps_ways,
        progress=progress,
        cancel=cancel,
    )
    if plan is None:
        return None
    return carry_out(plan, trust, job.clock, declare=declare, progress=progress, cancel=cancel)


def copied(job: Job, target: Storage) -> Job:
    """Return the job as it is read where its chain was copied to."""
    there = copy(job)
    there.storage = target
    there.repository = Repository.open(target)
    there.cache = None
    return there


def objects(storage: Storage, prefix: str) -> dict[str, bytes]:
    return {info.key: storage.get(info.key) for info in storage.list(prefix)}


def holding(snapshot: Mapping[str, bytes]) -> MemoryStorage:
    storage = MemoryStorage()
    for key, data in snapshot.items():
        storage.put(key, data)
    return storage


# --- what travels ----------------------------------------------------------------------------


def test_a_copy_restores_with_the_sources_secret_and_scrubs_clean(
    job: Job, target: AdversaryStorage
) -> None:
    result = mirror(job, target)

    assert result is not None
    assert result.points == tuple(point.id.hex() for point in job.points())
    there = copied(job, target)
    assert there.contents() == job.contents()
    assert there.scrub().ok
    assert there.scrub().notes == ()
    assert there.repository.repository_id != job.repository.repository_id


def test_a_plain_chain_stays_plain(target: AdversaryStorage, tmp_path: Path) -> None:
    job = a_job(MemoryStorage(), source("files", tmp_path / "tree"), sealed=False)
    publish(job, tmp_path)

    result = mirror(job, target)

    assert result is not None
    assert not result.sealed
    assert copied(job, target).contents() == job.contents()


def test_only_what_is_missing_travels(job: Job, target: AdversaryStorage, tmp_path: Path) -> None:
    first = mirror(job, target)
    again = mirror(job, target)
    publish(job, tmp_path)
    third = mirror(job, target)

    assert first is not None
    assert again is not None
    assert third is not None
    assert again.nothing
    # Data, index, pages and the entry of the one new session.
    assert third.objects == 4
    assert third.stored_bytes < first.stored_bytes / 2
    assert copied(job, target).contents() == job.contents()


def test_what_no_entry_leads_to_stays_where_it_is(job: Job, target: AdversaryStorage) -> None:
    stray = layout.pack(job.chain_id, random.token(32))
    job.storage.put(stray, b"of a session that runs")

    mirror(job, target)

    assert not target.exists(stray)
    assert objects(target, f"{layout.chain(job.chain_id)}keys/") == {}


def test_points_given_up_do_not_travel(job: Job, target: AdversaryStorage) -> None:
    job.remove(job.points()[0])

    result = mirror(job, target)

    assert result is not None
    assert len(result.points) == 2
    there = copied(job, target)
    assert there.contents() == job.contents()
    assert there.scrub().ok
    assert not target.exists(layout.entry(job.chain_id, 1))


def test_a_chain_without_points_is_not_begun(job: Job, target: AdversaryStorage) -> None:
    job.remove(*job.points())

    assert mirror(job, target) is None
    assert objects(target, "chains/") == {}


def test_of_a_chain_without_points_that_a_newer_one_names_the_journal_travels(
    job: Job, target: AdversaryStorage
) -> None:
    job.remove(*job.points())
    job.prune()

    result = mirror(job, target, named=True)

    assert result is not None
    assert result.damaged == ()
    assert not any("/packs/" in key for key in objects(target, "chains/"))
    assert Chain(target, job.chain_id).head() == job.head()


# --- who is believed -------------------------------------------------------------------------


def test_a_signer_that_is_not_pinned_is_refused(job: Job, target: AdversaryStorage) -> None:
    stranger = SigningKey.from_seed(random.seed()).public.fingerprint

    with pytest.raises(UnvouchedError):
        mirror(job, target, trust=Trust(pinned=frozenset({stranger})))
    with pytest.raises(UnvouchedError):
        mirror(job, target, trust=Trust())
    assert objects(target, "chains/") == {}


def test_a_source_behind_its_copy_is_refused(
    job: Job, storage: AdversaryStorage, target: AdversaryStorage, tmp_path: Path
) -> None:
    before = storage.snapshot()
    publish(job, tmp_path)
    mirror(job, target)
    was = objects(target, "")
    storage.replay(before)

    with pytest.raises(RolledBackError):
        mirror(job, target)
    assert objects(target, "") == was


def test_a_source_behind_what_was_seen_of_it_is_refused(
    job: Job, storage: AdversaryStorage, target: AdversaryStorage, tmp_path: Path
) -> None:
    before = storage.snapshot()
    publish(job, tmp_path)
    head = job.head()
    storage.replay(before)

    with pytest.raises(RolledBackError):
        mirror(job, target, known=head)
    assert objects(target, "chains/") == {}


def test_a_source_with_another_history_is_refused(
    job: Job, storage: AdversaryStorage, target: AdversaryStorage, tmp_path: Path
) -> None:
    before = storage.snapshot()
    publish(job, tmp_path)
    mirror(job, target)
    was = objects(target, "")
    storage.replay(before)
    publish(job, tmp_path)
    publish(job, tmp_path)

    with pytest.raises(ForkedError):
        mirror(job, target)
    assert objects(target, "") == was


def test_a_source_that_withholds_a_point_is_refused(
    job: Job, storage: AdversaryStorage, target: AdversaryStorage
) -> None:
    storage.hide(layout.entry(job.chain_id, 2))

    with pytest.raises(IntegrityError):
        mirror(job, target)
    assert objects(target, "chains/") == {}


# --- damage ----------------------------------------------------------------------------------


def test_a_damaged_pack_is_not_copied_and_its_points_are_named(
    job: Job, storage: AdversaryStorage, target: AdversaryStorage
) -> None:
    newest = job.points()[-1]
    key = job.packs_of(newest, BlockClass.DATA)[0]
    storage.flip(key, 5_000)

    result = mirror(job, target)

    assert result is not None
    assert [one.object for one in result.damaged] == [key]
    assert result.damaged[0].points == (newest.id.hex(),)
    assert not target.exists(key)
    there = copied(job, target)
    whole = job.points()[0]
    assert there.restore(whole) == job.restore(whole)

    storage.flip(key, 5_000)
    mended = mirror(job, target)
    assert mended is not None
    assert mended.damaged == ()
    assert there.contents() == job.contents()


def test_a_pack_damaged_at_the_target_is_replaced_where_that_is_looked_for(
    job: Job, target: AdversaryStorage
) -> None:
    mirror(job, target)
    key = job.packs_of(job.points()[0], BlockClass.DATA)[0]
    entry = layout.entry(job.chain_id, 1)
    target.flip(key, 5_000)
    target.flip(entry, 100)

    result = mirror(job, target, check=True)

    assert result is not None
    assert set(result.replaced) == {key, entry}
    assert copied(job, target).scrub().ok


def test_what_travels_is_what_was_judged_whatever_the_source_says_when_asked_again(
    job: Job, target: AdversaryStorage
) -> None:
    honest = job.storage
    job.storage = fickle = FickleStorage(honest, 99)
    progress, cancel = NullProgress(), Cancellation()
    plan = plan_mirror(
        job.chain(), Repository.open(target), job.trust, progress=progress, cancel=cancel
    )
    assert plan is not None
    plan.pages = {}  # compared page by page when they travel
    fickle.honest_reads = 0

    carry_out(plan, job.trust, job.clock, progress=progress, cancel=cancel)

    brought = {
        **objects(target, f"headers/{job.chain_id.hex()}"),
        **objects(target, layout.journal(job.chain_id)),
        **objects(target, layout.envelopes(job.chain_id)),
    }
    assert brought == {key: honest.get(key) for key in brought}
    assert {key.split("/")[-2] for key in brought} == {"headers", "journal", "envelopes"}


def test_an_object_larger_than_any_of_its_kind_is_not_read(
    job: Job, target: AdversaryStorage
) -> None:
    """A file of holes takes no room, and more memory than there is."""

    class Vast(AdversaryStorage):
        def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
            for info in super().list(prefix):
                vast = "/packs/" in info.key
                yield ObjectInfo(info.key, 1 << 40) if vast else info

        def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
            assert "/packs/" not in key
            return super().get(key, offset, length)

    points = job.points()
    job.storage = Vast(job.storage)

    copy = mirror(job, target)

    assert copy is not None
    assert {point for one in copy.damaged for point in one.points} == {
        point.id.hex() for point in points
    }


def test_a_damaged_source_does_not_take_the_place_of_what_is_right(
    job: Job, storage: AdversaryStorage, target: AdversaryStorage
) -> None:
    mirror(job, target)
    was = objects(target, "")
    for key in job.keys_of("packs"):
        storage.truncate(key, -10)

    result = mirror(job, target)

    assert result is not None
    assert len(result.damaged) == len(job.keys_of("packs"))
    assert {key: data for key, data in objects(target, "").items() if "locks" not in key} == {
        key: data for key, data in was.items() if "locks" not in key
    }


def test_a_pack_that_is_missing_at_both_ends_is_named(
    job: Job, storage: AdversaryStorage, target: AdversaryStorage
) -> None:
    newest = job.points()[-1]
    key = job.packs_of(newest, BlockClass.DATA)[0]
    storage.hide(key)

    result = mirror(job, target)

    assert result is not None
    assert [(one.object, one.what) for one in result.damaged] == [(key, "is missing")]


def test_a_planted_entry_at_the_target_gives_way(
    job: Job, target: AdversaryStorage, tmp_path: Path
) -> None:
    mirror(job, target)
    number = job.head().number + 1
    target.plant(layout.entry(job.chain_id, number), b"planted")
    publish(job, tmp_path)

    result = mirror(job, target)

    assert result is not None
    assert result.replaced == (layout.entry(job.chain_id, number),)
    assert copied(job, target).contents() == job.contents()


# --- interrupted -----------------------------------------------------------------------------


def churn(job: Job, folder: Path) -> None:
    """Let points come and go so that histories in between promise what is gone by now."""
    publish(job, folder)
    passing = job.points()[-1]
    publish(job, folder)
    job.remove(passing)
    publish(job, folder)
    job.prune()
    job.prune()


def test_a_reader_of_a_copy_sees_a_whole_state_whenever_it_stops(
    job: Job, target: AdversaryStorage, tmp_path: Path
) -> None:
    mirror(job, target)
    before = copied(job, target).contents()
    churn(job, tmp_path)
    after = job.contents()
    assert before != after
    start = target.snapshot()

    writes, finished = 0, False
    seen: set[bool] = set()
    while not finished:
        half = holding(start)
        faulty = FaultyStorage(half)
        faulty.kill_after(writes)
        try:
            mirror(job, faulty)
        except StorageUnavailableError:
            writes += 1
        else:
            finished = True
        there = copied(job, half)
        found = there.contents()
        assert found in (before, after)
        assert there.scrub().ok
        seen.add(found == after)
        mirror(job, half)
        assert there.contents() == after
        assert copy_marks.unfinished(half, job.chain_id) == []
    assert seen == {False, True}
    assert writes > 8


def test_a_new_copy_is_seen_whole_or_not_at_all_whenever_it_stops(job: Job, tmp_path: Path) -> None:
    churn(job, tmp_path)
    contents = job.contents()
    writes, finished = 0, False
    while not finished:
        storage = MemoryStorage()
        Repository.create(storage, job.clock)
        faulty = FaultyStorage(storage)
        faulty.kill_after(writes)
        try:
            mirror(job, faulty)
        except StorageUnavailableError:
            writes += 1
        else:
            finished = True
        there = copied(job, storage)
        if there.repository.chain_ids():
            assert there.contents() == contents
        mirror(job, storage)
        assert there.contents() == contents
        assert there.scrub().ok
    assert writes > 12


def test_what_arrived_before_an_interruption_is_not_sent_again(
    job: Job, target: AdversaryStorage
) -> None:
    faulty = FaultyStorage(target)
    faulty.fail("put", 9, StorageUnavailableError("cut"))
    with pytest.raises(StorageUnavailableError):
        mirror(job, faulty)
    there = set(objects(target, "chains/"))
    assert any("/packs/" in key for key in there)

    result = mirror(job, target)

    assert result is not None
    came = {key for key in objects(target, "") if not key.startswith("locks/")}
    assert result.objects == len(came - there - {layout.MARKER})
    assert copied(job, target).scrub().ok


def test_it_stops_on_request_and_goes_on(job: Job, target: AdversaryStorage) -> None:
    cancel = Cancellation()
    cancel.cancel()

    with pytest.raises(CancelledError):
        mirror(job, target, cancel=cancel)
    with pytest.raises(NotFoundError):
        copied(job, target).chain()
    mirror(job, target)
    assert copied(job, target).contents() == job.contents()


# --- a copy is a copy ------------------------------------------------------------------------


def test_nobody_adds_to_a_copy(job: Job, target: AdversaryStorage) -> None:
    mirror(job, target)

    with pytest.raises(ConflictError, match="is a copy"):
        copied(job, target).hold(job.points()[0])


def test_a_copy_that_a_job_goes_on_in_is_one_no_longer(
    job: Job, target: AdversaryStorage, tmp_path: Path
) -> None:
    mirror(job, target)
    copy_marks.end(target, job.chain_id)
    there = copied(job, target)

    publish(there, tmp_path)

    assert len(there.points()) == 4
    assert there.points()[-1].details.parent == job.points()[-1].id
    assert there.scrub().ok


def test_a_copy_that_mends_the_original_leaves_it_one(
    job: Job, storage: AdversaryStorage, target: AdversaryStorage, tmp_path: Path
) -> None:
    mirror(job, target)
    key = job.packs_of(job.points()[0], BlockClass.DATA)[0]
    storage.flip(key, 5_000)

    back = mirror(copied(job, target), storage, check=True, declare=False)

    assert back is not None
    assert back.replaced == (key,)
    assert job.scrub().ok
    publish(job, tmp_path)
    assert look_at(tmp_path / "tree") == job.restore(job.points()[-1])


def test_retention_at_the_copy_follows_what_the_original_signed(
    job: Job, target: AdversaryStorage, tmp_path: Path
) -> None:
    mirror(job, target)
    job.remove(job.points()[0])
    publish(job, tmp_path)
    mirror(job, target)
    there = copied(job, target)
    entries = there.chain().numbers()

    there.prune()
    there.prune()

    assert 1 not in there.chain().numbers()
    assert set(there.chain().numbers()) <= set(entries)
    assert there.contents() == job.contents()
    assert there.scrub().ok
    assert there.plan_prune().nothing
    # The quarantine stood beside the journal: the original's next entry has its number free.
    publish(job, tmp_path)
    mirror(job, target)
    assert there.contents() == job.contents()
    assert [info.key for info in target.list(layout.mirror_notes(job.chain_id))] == [
        layout.mirror_note(job.chain_id, 1)
    ]


def forget(job: Job, changes: Mapping[int, HistoryRecord | None]) -> None:
    """Sign a history that has forgotten entries, or has others in their place."""
    chain = job.chain()
    newest = chain.promise_entry
    assert newest is not None
    pages = PageCollector(chain)
    records = dict(chain.history(newest).items())
    records[newest.number] = HistoryRecord(newest.hash, [], [])
    table = Table(HistoryRecord, HISTORY_SPAN, TableRoot(), pages.load)
    root = table.updated({**records, **changes}, pages.add)
    pages.store()
    append_entry(chain, PromiseBody(root, "nothing was ever here"), job.signer, job.clock)


@pytest.mark.parametrize("forgets", [True, False], ids=["forgets", "has others"])
def test_a_history_that_lets_the_past_be_forgotten_is_not_copied_and_takes_nothing_from_a_floor(
    job: Job, target: AdversaryStorage, forgets: bool
) -> None:
    mirror(job, target)
    points = job.points()
    contents = {point.id: job.restore(point) for point in points}
    another = None if forgets else HistoryRecord(random.token(32), [], [])
    forget(job, {point.entry.number: another for point in points[:2]})

    with pytest.raises(ForkedError):
        mirror(job, target)

    # Nor where it stands at the keeper already.
    for key, data in objects(job.storage, layout.chain(job.chain_id)).items():
        if not target.exists(key):
            target.plant(key, data)
    there = copied(job, target)
    floor = Floor(days=30)
    for _ in range(2):
        plan = plan_prune(there.repository, there.chain(), job.clock, timedelta(), floor)
        carry_out_prune(plan)
    assert plan.spared_points == tuple(point.id.hex() for point in points)
    assert {point.id: there.restore(point) for point in points} == contents


def test_a_keeper_with_a_floor_lets_nobody_who_signs_shut_others_out(
    job: Job, target: AdversaryStorage, tmp_path: Path
) -> None:
    """A server that was broken into could seal every chain key for nobody but its intruder."""
    mirror(job, target)
    before = objects(target, layout.envelopes(job.chain_id))
    intruder = make_recovery_recipient(random.seed(), "intruder", job.signer.public)
    assert job.chain_key is not None
    chain = job.chain()
    held = chain.wrapped.envelopes()[job.chain_key.id]
    rekey.replace_envelope(chain, job.chain_key, held, [intruder], job.signer)
    publish(job, tmp_path)

    kept = mirror(job, target, keeps_ways=True)

    assert kept is not None
    assert kept.newest_entry == job.head().number
    assert objects(target, layout.envelopes(job.chain_id)) == before
    # Nobody else loses what a re-wrap is for.
    mirror(job, target)
    assert objects(target, layout.envelopes(job.chain_id)) == objects(
        job.storage, layout.envelopes(job.chain_id)
    )


def test_chains_read_the_same_at_both_ends(job: Job, target: AdversaryStorage) -> None:
    mirror(job, target)

    assert Chain(target, job.chain_id).head() == job.head()


def test_a_note_planted_under_the_last_number_there_is_keeps_no_quarantine_from_ending(
    job: Job, target: AdversaryStorage, tmp_path: Path
) -> None:
    mirror(job, target)
    job.remove(job.points()[0])
    publish(job, tmp_path)
    mirror(job, target)
    there = copied(job, target)
    target.plant(layout.mirror_note(job.chain_id, 9_999_999_999), b"junk")

    there.prune()

    assert there.plan_prune().nothing


def test_care_takes_nothing_by_what_a_mark_leaves_to_be_seen(
    job: Job, target: AdversaryStorage
) -> None:
    """Who may only add to a storage could have its keeper remove what newer points need."""
    mirror(job, target)
    there = copied(job, target)
    before = objects(target, layout.packs(job.chain_id))
    target.plant(layout.copied_up_to(job.chain_id, job.points()[0].entry.number), b"upto")

    for _ in range(2):
        pruned = there.prune()
        chain = there.chain()
        plan = plan_compaction(chain, 0.0)
        compacted = compact(chain, plan, job.clock, NullProgress(), Cancellation())

        assert pruned.left is not None
        assert compacted.left is not None
    assert objects(target, layout.packs(job.chain_id)) == before


def test_who_misses_entries_is_told_of_a_mark_that_hides_them(
    job: Job, storage: AdversaryStorage
) -> None:
    head = job.head()
    mark = layout.copied_up_to(job.chain_id, 1)
    storage.plant(mark, b"upto")

    with pytest.raises(RolledBackError) as caught:
        job.chain().check_head(head)

    assert mark in str(caught.value.hint)


def test_a_copy_whose_original_expired_goes_as_a_whole(
    job: Job, target: AdversaryStorage, tmp_path: Path
) -> None:
    mirror(job, target)
    newer = next_chain(job)
    publish(newer, tmp_path)
    mirror(newer, target)
    there = copied(job, target)

    kept = plan_prune(there.repository, there.chain(), job.clock, timedelta(), Floor(points=2))
    assert kept.nothing
    assert not kept.whole_chain
    assert there.plan_prune().whole_chain
    there.prune()

    assert there.repository.chain_ids() == [newer.chain_id]
    there.remove_remainders()
    assert objects(target, layout.chain(job.chain_id)) == {}
    assert copied(newer, target).contents() == newer.contents()


def test_a_copy_without_points_goes_though_nothing_else_is_left_of_its_job(
    job: Job, target: AdversaryStorage, tmp_path: Path
) -> None:
    mirror(job, target)
    there = copied(job, target)
    job.remove(*job.points())
    mirror(job, target)
    assert there.prune(timedelta(days=1)).removed == 0

    there.prune()

    assert there.repository.chain_ids() == []
    there.remove_remainders()
    assert objects(target, layout.chain(job.chain_id)) == {}
    publish(job, tmp_path)
    mirror(job, target)
    assert there.contents() == job.contents()
    assert there.scrub().ok


def test_what_a_job_published_in_another_place_says_nothing_of_a_copy(
    job: Job, target: AdversaryStorage, tmp_path: Path
) -> None:
    """It names the chains that are with it: so does an archive of one point, and a new home."""
    mirror(job, target)
    newer = next_chain(job, elsewhere=True)
    publish(newer, tmp_path)
    mirror(newer, target)
    beyond = next_chain(newer)
    publish(beyond, tmp_path)
    mirror(beyond, target)

    assert copied(job, target).plan_prune().nothing
    assert copied(newer, target).plan_prune().whole_chain


def test_nobody_else_can_say_that_an_original_expired(
    job: Job, target: AdversaryStorage, tmp_path: Path
) -> None:
    mirror(job, target)
    stranger = copy(job)
    stranger.signer = SigningKey.from_seed(random.seed())
    planted = next_chain(stranger)
    publish(planted, tmp_path)
    mirror(planted, target)

    assert copied(job, target).plan_prune().nothing


def test_a_floor_keeps_what_its_signer_gave_up(
    job: Job, target: AdversaryStorage, tmp_path: Path
) -> None:
    mirror(job, target)
    given_up = job.points()
    contents = {point.id: job.restore(point) for point in given_up}
    job.remove(*given_up)
    publish(job, tmp_path)
    mirror(job, target)
    there = copied(job, target)

    plan = plan_prune(there.repository, there.chain(), job.clock, timedelta(), Floor(points=3))
    carry_out_prune(plan)

    # The newest three of the source: two of those that were given up, and the one promised.
    assert plan.spared_points == tuple(point.id.hex() for point in given_up[1:])
    left = {live.point.point_id: live for live in there.chain().given_up_points()}
    assert list(left) == [point.id for point in given_up[1:]]
    assert all(there.restore(point) == contents[point.id] for point in given_up[1:])
    assert there.scrub().ok
    assert [point.id for point in there.points()] == [job.points()[-1].id]
