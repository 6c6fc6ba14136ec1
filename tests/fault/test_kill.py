"""`kill -9` at random instants of sessions and prunes on a folder.

The instants differ from run to run; what holds does not. Every point that was ever there and
not given up restores byte for byte, and whatever comes next succeeds.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from strongroom.clock import SystemClock
from strongroom.crypto import random
from tests.support.engine_job import look_at
from tests.support.jobs import Job, write_tree
from tests.support.kept_job import KeptJob

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 12
CLOCK = SystemClock()


def killed(kept: KeptJob, verb: str, within_seconds: float) -> bool:
    """Let another process do it and kill it at a random instant; return whether it was hit."""
    process = kept.start(verb)
    CLOCK.sleep(within_seconds * random.number(0, 1_000_000) / 1_000_000)
    process.kill()
    process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


def seconds(kept: KeptJob, verb: str) -> float:
    """Return how long it takes if nobody kills it."""
    process = kept.start(verb)
    begun = CLOCK.monotonic()
    process.communicate()
    assert process.returncode == 0
    return CLOCK.monotonic() - begun


def change(kept: KeptJob) -> None:
    fresh = {f"d{n}/fresh": random.token(200_000) for n in range(8)}
    write_tree(kept.tree, {"same": b"same" * 50_000, **fresh})


def learn(job: Job, kept: KeptJob, model: dict[bytes, object]) -> None:
    """Compare every known point, and take over what was published since."""
    contents = job.contents()
    for point_id, content in contents.items():
        assert content == model.setdefault(point_id, look_at(kept.tree))
    assert contents.keys() == model.keys()


@pytest.fixture
def kept(tmp_path: Path) -> KeptJob:
    return KeptJob.create(tmp_path)


def test_sessions_killed_at_any_instant_lose_nothing(kept: KeptJob) -> None:
    model: dict[bytes, object] = {}
    change(kept)
    length = seconds(kept, "run")
    learn(kept.job(), kept, model)
    hits = 0
    for _ in range(KILLS):
        change(kept)
        hits += killed(kept, "run", length)
        learn(kept.job(), kept, model)
    assert hits, "no kill ever came in time"

    kept.job().run()

    learn(kept.job(), kept, model)
    kept.job().prune()
    report = kept.job().scrub()
    assert report.ok
    assert report.notes == ()


def test_prunes_killed_at_any_instant_lose_nothing(kept: KeptJob) -> None:
    model: dict[bytes, object] = {}
    for _ in range(KILLS + 2):
        change(kept)
        kept.job().run()
        learn(kept.job(), kept, model)

    def give_up_the_oldest() -> None:
        job = kept.job()
        oldest = job.points()[0]
        job.remove(oldest)
        del model[oldest.id]

    give_up_the_oldest()
    length = seconds(kept, "prune")
    hits = 0
    for _ in range(KILLS):
        give_up_the_oldest()
        hits += killed(kept, "prune", length)
        learn(kept.job(), kept, model)
        assert kept.job().scrub().ok
    assert hits, "no kill ever came in time"

    kept.job().prune()

    learn(kept.job(), kept, model)
    assert kept.job().plan_prune().nothing
    assert kept.job().scrub().notes == ()
    kept.job().run()
    learn(kept.job(), kept, model)
