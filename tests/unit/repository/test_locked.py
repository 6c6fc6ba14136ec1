"""A repository whose storage locks its objects: what prune leaves, and what a point needs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from strongroom.repository import layout
from strongroom.repository.newest_state import objects_of_newest_state
from strongroom.testing.locking_memory import LockingMemory
from strongroom.testing.memory_storage import MemoryStorage
from strongroom.testing.turned_clock import TurnedClock
from tests.support.engine_job import source
from tests.support.jobs import Job, a_job

if TYPE_CHECKING:
    from pathlib import Path

DAY = timedelta(days=1)
HELD = 10 * DAY


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def job(tmp_path: Path, clock: TurnedClock) -> Job:
    """Two points of one tree, each with a file of its own and one that both share."""
    storage = LockingMemory(HELD, clock)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "both").write_bytes(bytes(range(256)) * 8000)
    job = a_job(storage, source("files", tmp_path / "tree"), cache=tmp_path / "cache")
    for name in ("one", "two"):
        (tmp_path / "tree" / "own").write_bytes(name.encode() * 500_000)
        job.run()
    return job


def test_prune_leaves_what_is_locked_and_says_until_when(job: Job, clock: TurnedClock) -> None:
    job.remove(job.points()[0])
    clock.advance(9 * DAY)
    job.prune()  # a session is over: its objects may be condemned
    before = job.prune(clock=clock)
    assert (before.removed, before.waiting) == (0, 0)
    assert before.locked > 0
    assert before.locked_until is not None
    assert before.locked_until > clock.now()
    assert len(job.contents()) == 1
    assert job.scrub().ok
    clock.advance(before.locked_until - clock.now())
    after = job.prune(clock=clock)
    assert after.removed >= before.locked
    assert len(job.contents()) == 1
    assert job.scrub().ok


def test_without_any_other_object_than_those_the_newest_point_restores(job: Job) -> None:
    """So that what is locked for it is enough: everything else is taken away."""
    newest = job.points()[-1]
    expected = job.restore(newest)
    needed = objects_of_newest_state(job.chain())
    assert len(needed) == len(set(needed))
    kept = MemoryStorage()
    for key in needed:
        kept.put(key, job.storage.get(key))
    assert layout.MARKER in needed
    job.storage = kept
    job.repository.storage = kept
    assert job.restore(job.points()[-1]) == expected


def test_what_only_an_older_point_needs_is_not_locked_for_the_newest(job: Job) -> None:
    packs = {key for key in objects_of_newest_state(job.chain()) if "/packs/" in key}
    assert packs
    assert packs < set(job.keys_of("packs"))
