"""`kill -9` at random instants of sessions, prunes and restores on a folder.

The instants differ from run to run; what holds does not. Every point that was ever there and
not given up restores byte for byte, and whatever comes next succeeds.
"""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from strongroom.clock import SystemClock
from strongroom.crypto import random
from strongroom.format.index import CLUSTER
from tests.support.engine_job import Seen, look_at
from tests.support.jobs import Job, write_tree
from tests.support.kept_job import KeptJob

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 10
CLOCK = SystemClock()


def killed(kept: KeptJob, verb: str, within_seconds: float) -> bool:
    """Let another process do it and kill it at a random instant; return whether it was hit."""
    process = kept.start(verb)
    CLOCK.sleep(within_seconds * random.number(0, 1_000_000) / 1_000_000)
    process.kill()
    process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


def killed_with_packs(kept: KeptJob) -> bool:
    """Kill a session that has whole packs and noted them; return whether that was in time."""
    points, before = kept.job().points(), noted(kept)
    process = kept.start("run")
    while process.poll() is None and noted(kept) <= before:
        CLOCK.sleep(0.001)
    process.kill()
    process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)
    return len(kept.job().points()) == len(points)


def killed_when_stored(kept: KeptJob, verb: str, objects: int) -> bool:
    """Kill another process when it has stored so many objects; return whether it was hit."""
    before = len(stored_names(kept))
    process = kept.start(verb)
    while process.poll() is None and len(stored_names(kept)) < before + objects:
        CLOCK.sleep(0.001)
    process.kill()
    process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


def noted(kept: KeptJob) -> set[str]:
    """Return the packs that sessions which did not end have left for the next one."""
    notes = (kept.folder / "cache" / "packs").glob("*.packs")
    return {line for note in notes for line in note.read_text().splitlines(keepends=True)}


def seconds(kept: KeptJob, verb: str) -> float:
    """Return how long it takes if nobody kills it."""
    process = kept.start(verb)
    begun = CLOCK.monotonic()
    process.communicate()
    assert process.returncode == 0
    return CLOCK.monotonic() - begun


def change(kept: KeptJob) -> None:
    fresh = {f"d{n}/fresh": random.token(200_000) for n in range(6)}
    write_tree(kept.tree, {"same": b"same" * 50_000, **fresh})
    with kept.image.open("r+b" if kept.image.exists() else "wb") as file:
        file.truncate(32 * CLUSTER)
        for cluster in range(0, 32, 4):
            file.seek(cluster * CLUSTER)
            file.write(random.token(CLUSTER))


def learn(job: Job, kept: KeptJob, model: dict[bytes, object]) -> None:
    """Compare every known point, and take over what was published since."""
    contents = job.contents()
    now = look_at(kept.tree), kept.image.read_bytes()
    for point_id, content in contents.items():
        assert content == model.setdefault(point_id, now[isinstance(content, bytes)])
    assert contents.keys() == model.keys()


def restored_files(kept: KeptJob) -> dict[tuple[bytes, ...], Seen]:
    root = kept.restored / "tree"
    found = look_at(root) if root.exists() else {}
    return {path: seen for path, seen in found.items() if seen.kind == "FILE"}


def stored_names(kept: KeptJob) -> list[str]:
    return [info.key for info in kept.job().storage.list()]


@pytest.fixture
def kept(tmp_path: Path) -> KeptJob:
    return KeptJob.create(tmp_path)


def test_sessions_killed_at_any_instant_lose_nothing(kept: KeptJob) -> None:
    model: dict[bytes, object] = {}
    change(kept)
    length = seconds(kept, "run")
    learn(kept.job(), kept, model)
    hits = 0
    for number in range(KILLS + 4):
        if number % 4 == 0:
            # Otherwise what the dead one stored is what the next one finds.
            change(kept)
        hits += killed(kept, "run", length)
        learn(kept.job(), kept, model)
    assert hits, "no kill ever came in time"
    # At random it may never have been between a whole pack and the end.
    change(kept)
    while not killed_with_packs(kept):
        learn(kept.job(), kept, model)
        change(kept)

    kept.job().run()

    learn(kept.job(), kept, model)
    assert kept.job().taken_over()
    kept.job().prune()
    kept.job().check_nothing_leaks()
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
        oldest = job.points()[:2]
        job.remove(*oldest)
        for point in oldest:
            del model[point.id]

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
    kept.job().check_nothing_leaks()
    assert kept.job().scrub().notes == ()
    kept.job().run()
    learn(kept.job(), kept, model)


def test_restores_killed_at_any_instant_leave_nothing_that_only_looks_whole_and_can_be_repeated(
    kept: KeptJob,
) -> None:
    change(kept)
    kept.job().run()
    tree, image = look_at(kept.tree), kept.image.read_bytes()
    before = stored_names(kept)
    length = seconds(kept, "restore_newest")
    hits = 0
    for _ in range(KILLS):
        shutil.rmtree(kept.restored, ignore_errors=True)
        hits += killed(kept, "restore_newest", length)
        for path, found in restored_files(kept).items():
            # In a new directory files are written in place, and get their times when whole.
            assert path not in tree or found.mtime_ns != tree[path].mtime_ns or found == tree[path]
        restored = kept.restored / "image"
        assert not restored.exists() or restored.read_bytes() == image

        kept.job().restore_newest()

        assert restored.read_bytes() == image
        assert {**look_at(kept.restored / "tree")}.items() >= tree.items()
    assert hits, "no kill ever came in time"
    assert stored_names(kept) == before


def test_a_re_encryption_killed_at_any_instant_goes_on_and_nobody_sees_it_before(
    kept: KeptJob,
) -> None:
    for _ in range(2):
        change(kept)
        kept.job().run()
    contents = kept.job().contents()
    kept.job().clone()
    hits = 0
    # At random it may be over before each of them: the instants go from its first object on.
    for instant in range(KILLS):
        hits += killed_when_stored(kept, "reencrypt", 1 + 3 * instant)
        assert kept.job().repository.chain_ids() == [kept.job().chain_id]
        if hits == KILLS // 3:
            break
    assert hits, "no kill ever came in time"

    clone = kept.job().clone()
    clone.fill()
    newer = clone.publish()

    assert newer.contents() == contents
    assert newer.scrub().ok
    assert newer.plan_prune().dead_bytes == 0
