"""The storage fails at every write of a re-encryption, and at calls of every other kind.

Nobody sees the new chain before it is whole, the old points stay what they are, and begun again
it goes on to the same end, with nothing left over.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from strongroom.crypto import random
from strongroom.engine.carried import carried
from strongroom.errors import StorageUnavailableError
from strongroom.repository import layout
from strongroom.testing.faulty_storage import FaultyStorage, Verb, When
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.cloning import Clone
from tests.support.engine_job import source
from tests.support.jobs import Job, a_job, write_tree

if TYPE_CHECKING:
    from pathlib import Path

SPREAD = 6


@pytest.fixture
def job(tmp_path: Path) -> Job:
    job = a_job(MemoryStorage(), source("files", tmp_path / "tree"))
    for turn in range(3):
        write_tree(tmp_path / "tree", {"same": b"same" * 9_000, "own": random.token(4_000 + turn)})
        job.run()
    job.remove(job.points()[1])
    return job


def look(job: Job, clone: Clone, contents: dict[bytes, object]) -> None:
    """See that nothing shows, then go on to the end."""
    assert job.repository.chain_ids() == [job.chain_id]
    assert job.contents() == contents
    clone.fill()
    newer = clone.publish()
    assert newer.contents() == contents
    assert len(newer.keys_of("packs")) == len(carried(newer.chain()).used)
    assert newer.scrub().ok


def test_a_process_may_die_at_any_write(job: Job) -> None:
    memory = job.storage
    assert isinstance(memory, MemoryStorage)
    contents, begun = job.contents(), memory.snapshot()
    nth = 0
    while True:
        memory.restore(begun)
        clone = Clone.begin(job)
        faulty = FaultyStorage(memory)
        faulty.kill_after(nth)
        try:
            clone.fill(faulty)
        except StorageUnavailableError:
            look(job, clone, contents)
            nth += 1
            continue
        break
    assert nth > 10


@pytest.mark.parametrize(
    ("verb", "when"),
    [("put", "after"), ("get", "before"), ("list", "before"), ("delete", "after")],
)
def test_any_call_may_fail(verb: Verb, when: When, job: Job) -> None:
    memory = job.storage
    assert isinstance(memory, MemoryStorage)
    contents = job.contents()
    clone = Clone.begin(job)
    clone.fill()
    # Begun a second time there are entries and tables to remove first.
    begun = memory.snapshot()
    counted = FaultyStorage(memory)
    clone.fill(counted)
    count = counted.calls.get(verb, 0)
    assert count
    for nth in sorted({*range(1, count + 1, max(1, count // SPREAD)), count}):
        memory.restore(begun)
        faulty = FaultyStorage(memory)
        faulty.fail(verb, nth, StorageUnavailableError(f"{when} {verb} number {nth}"), when)
        with suppress(StorageUnavailableError):
            clone.fill(faulty)
        faulty.assert_all_hit()
        look(job, clone, contents)


def test_an_answer_lost_by_a_pack_leaves_no_second_one(job: Job) -> None:
    clone = Clone.begin(job)
    faulty = FaultyStorage(job.storage)
    faulty.fail("put", 4, StorageUnavailableError("after the pack"), "after")
    with pytest.raises(StorageUnavailableError):
        clone.fill(faulty)
    packs = {info.key for info in job.storage.list(layout.packs(clone.chain_id))}
    assert packs
    clone.fill()
    newer = clone.publish()
    assert packs <= {*newer.keys_of("packs")}
    assert len(newer.keys_of("packs")) == len(carried(newer.chain()).used)
