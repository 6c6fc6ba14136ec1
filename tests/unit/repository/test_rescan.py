"""What a repository tells of itself to somebody who has nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from strongroom.clock import to_microseconds
from strongroom.crypto import random
from strongroom.crypto.recipients import make_recovery_recipient
from strongroom.crypto.signing import SigningKey
from strongroom.errors import MalformedError, PointWithheldError, StorageUnavailableError
from strongroom.format.journal import IdentityBody, PointKind
from strongroom.repository import layout, rekey
from strongroom.repository.append import append_entry
from strongroom.repository.rescan import FoundChain, rescan
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import source
from tests.support.jobs import Job, a_job, next_chain, write_tree

if TYPE_CHECKING:
    from pathlib import Path

DUE = datetime(2026, 12, 1, 3, tzinfo=UTC)


@pytest.fixture
def storage() -> AdversaryStorage:
    return AdversaryStorage(MemoryStorage())


@pytest.fixture(params=[True, False], ids=["sealed", "plain"])
def job(request: pytest.FixtureRequest, storage: AdversaryStorage, tmp_path: Path) -> Job:
    write_tree(tmp_path / "tree", {"a": b"a"})
    job = a_job(storage, source("files", tmp_path / "tree"), sealed=request.param)
    job.run()
    job.run(replace(job.plan(), next_due=to_microseconds(DUE)))
    return job


def look(job: Job) -> FoundChain:
    (chain,) = rescan(job.repository).chains
    return chain


def test_a_chain_tells_everything_public(job: Job) -> None:
    chain = look(job)

    assert (chain.chain_id, chain.sealed) == (job.chain_id, job.sealed)
    assert chain.job_id == job.chain().header.job_id
    assert chain.signers == (job.signer.public.fingerprint,)
    assert chain.head == job.head()
    assert (chain.counter, chain.next_due) == (2, DUE)
    assert chain.problem is None
    assert [(point.point_id, point.entry, point.kind) for point in chain.points] == [
        (job.points()[0].id, 1, PointKind.FULL),
        (job.points()[1].id, 2, PointKind.INCREMENTAL),
    ]
    assert {point.source_id for point in chain.points} == {job.sources[0].source_id}


def test_held_and_given_up_points_are_told_apart(job: Job) -> None:
    first, second = job.points()
    job.hold(second)
    job.remove(first)

    assert [(point.point_id, point.held) for point in look(job).points] == [(second.id, True)]


def test_recipients_are_told_with_their_hints(job: Job) -> None:
    chain = look(job)
    if not job.sealed:
        assert chain.recipients == ()
        return
    assert [(one.kind, one.hint) for one in chain.recipients] == [("recovery", "kit")]

    assert job.chain_key is not None
    newer = make_recovery_recipient(random.seed(), "newer kit", job.signer.public)
    job.chain_key = rekey.change_recipients(job.chain(), job.chain_key, [newer], job.signer)
    assert [one.hint for one in look(job).recipients] == ["kit"], "no session has sealed to it yet"
    job.run()

    assert [one.hint for one in look(job).recipients] == ["newer kit"]
    assert [one.hint for one in look(job).older_recipients] == ["kit"]


def test_introduced_signers_are_told(job: Job) -> None:
    other = SigningKey.from_seed(random.seed()).public
    append_entry(job.chain(), IdentityBody(other.raw), job.signer, job.clock)

    assert look(job).signers == (job.signer.public.fingerprint, other.fingerprint)


def test_every_chain_is_told_oldest_first(job: Job) -> None:
    newer = next_chain(job)

    found = rescan(job.repository)

    assert found.repository_id == job.repository.repository_id
    assert [chain.chain_id for chain in found.chains] == [job.chain_id, newer.chain_id]
    empty = found.chains[1]
    assert (empty.points, empty.head, empty.counter, empty.next_due) == ((), None, 0, None)
    assert len(empty.recipients) == job.sealed


def test_one_bad_chain_hides_no_other(job: Job, storage: AdversaryStorage) -> None:
    newer = next_chain(job)
    storage.flip(layout.header(newer.chain_id), 50)

    found = rescan(job.repository)

    assert [chain.chain_id for chain in found.chains] == [job.chain_id]
    (unreadable,) = found.unreadable
    assert unreadable.chain_id == newer.chain_id
    assert isinstance(unreadable.problem, MalformedError)


def test_what_is_withheld_is_told_with_what_is_there(job: Job, storage: AdversaryStorage) -> None:
    storage.hide(layout.entry(job.chain_id, 1))

    chain = look(job)

    assert isinstance(chain.problem, PointWithheldError)
    assert chain.head == job.head()
    assert len(chain.recipients) == job.sealed


def test_a_storage_that_does_not_answer_is_no_problem_of_a_chain(job: Job) -> None:
    job.repository.storage = FaultyStorage(job.storage)
    job.repository.storage.fail("get", 2, StorageUnavailableError("unplugged"))

    with pytest.raises(StorageUnavailableError):
        rescan(job.repository)
