"""What a scrub finds, what it says of it, and what it leaves alone."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from strongroom.crypto import random
from strongroom.crypto.signing import SigningKey
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.errors import CancelledError, StorageUnavailableError
from strongroom.format.journal import SessionBody
from strongroom.repository import layout
from strongroom.repository.chain import Head, Trust
from strongroom.repository.scrub import scrub
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import source
from tests.support.jobs import Job, a_job, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.storage.base import Storage


@pytest.fixture
def storage() -> AdversaryStorage:
    return AdversaryStorage(MemoryStorage())


@pytest.fixture(params=[True, False], ids=["sealed", "plain"])
def job(request: pytest.FixtureRequest, storage: AdversaryStorage, tmp_path: Path) -> Job:
    """A job with three points of one tree, each with a large file of its own."""
    return three_points(storage, tmp_path, sealed=request.param)


def three_points(storage: Storage, folder: Path, *, sealed: bool = True) -> Job:
    job = a_job(storage, source("files", folder / "tree"), sealed=sealed)
    for turn in range(3):
        write_tree(folder / "tree", {"same": b"same" * 900, "large": random.token(9_000)})
        job.run()
    return job


def ids(job: Job) -> list[str]:
    return [point.id.hex() for point in job.points()]


def data_pack_of(job: Job, at: int) -> str:
    """Return the pack that a point's own data lies in."""
    point = job.points()[at]
    reader = job.reader(point.body)
    for ordinal in range(8):
        page = reader._ledger(point.body.slot)[1].get(ordinal)
        if page is not None:
            ...
    raise AssertionError
