"""`kill -9` of a copy that has stored its first packs."""

from __future__ import annotations

import signal
from copy import copy
from typing import TYPE_CHECKING

from strongroom.crypto import random
from strongroom.repository import layout
from strongroom.repository.repository import Repository
from strongroom.storage.local import LocalStorage
from tests.support.engine_job import AheadClock
from tests.support.jobs import write_tree
from tests.support.kept_job import KeptJob

if TYPE_CHECKING:
    from pathlib import Path


def test_a_copy_that_was_killed_goes_on_with_what_is_there(tmp_path: Path) -> None:
    kept = KeptJob.create(tmp_path)
    write_tree(kept.tree, {f"file{n}": random.token(150_000) for n in range(8)})
    kept.image.write_bytes(random.token(300_000))
    kept.start("run").communicate()
    job = kept.job()
    place = tmp_path / "copy"
    place.mkdir()
    target = LocalStorage(place)
    repository = Repository.create(target, AheadClock())

    process = kept.start("mirror_until_killed")
    process.communicate()

    assert process.returncode == -signal.SIGKILL
    assert repository.chain_ids() == []
    there = {info.key for info in target.list(layout.packs(job.chain_id))}
    assert len(there) >= 3
    result = job.mirror()
    packs = {info.key for info in target.list(layout.packs(job.chain_id))}
    assert packs == {info.key for info in job.storage.list(layout.packs(job.chain_id))}
    # Packs that had arrived are not among what travelled.
    assert result.objects < len(packs) + 6 - len(there) + 1
    copied = copy(job)
    copied.storage, copied.repository = target, repository
    assert copied.contents() == job.contents()
    assert copied.scrub().ok
