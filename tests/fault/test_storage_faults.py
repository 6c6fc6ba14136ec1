"""The storage fails at every single call of a session and of a prune, before and after it.

Afterwards every committed point restores byte for byte, and the next run succeeds. A call whose
answer was lost has happened: a session may have failed and its points be there. The journal
says which is true.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from strongroom.crypto import random
from strongroom.engine import pipeline
from strongroom.errors import StorageUnavailableError
from strongroom.format.index import CLUSTER
from strongroom.testing.faulty_storage import FaultyStorage, Verb, When
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import look_at, source
from tests.support.jobs import Job, a_job, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from strongroom.testing.memory_storage import Snapshot

VERBS: tuple[Verb, ...] = ("put", "get", "exists", "list", "delete")
"""What sessions and prunes call; how large an object is they learn as they read it."""
SPREAD = 6
"""Of a verb that is called more often than this, so many calls are tried, the last included."""


class Stage:
    """A job in one state that every attempt begins from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self.image = folder / "image"
        self.taken_over = 0
        """Dead sessions whose packs were taken over, in all attempts."""
        self.memory = MemoryStorage()
        self.job: Job = a_job(
            self.memory,
            source("files", self.tree),
            source("command", "echo words"),
            source("image", self.image),
            cache=folder / "cache",
        )
        for turn in range(4):
            write_tree(self.tree, {"same": b"same" * 9_000, "own": random.token(4_000 + turn)})
            self._write_image()
            self.job.run()
        self.job.remove(*self.job.points()[:3])
        write_tree(self.tree, {"same": b"same" * 9_000, "new": random.token(5_000)})
        self._write_image()
        self.model = self.job.contents()
        self.moments = [look_at(self.tree), b"words\n", self.image.read_bytes()]
        self._snapshot: Snapshot = self.memory.snapshot()
        shutil.copytree(folder / "cache", folder / "kept")

    def _write_image(self) -> None:
        """Change two clusters of four."""
        with self.image.open("r+b" if self.image.exists() else "wb") as file:
            file.truncate(4 * CLUSTER)
            for cluster in (0, 2):
                file.seek(cluster * CLUSTER)
                file.write(random.token(CLUSTER))

    def again(self) -> FaultyStorage:
        """Go back to where every attempt begins; return the storage that will fail."""
        self.memory.restore(self._snapshot)
        shutil.rmtree(self.folder / "cache")
        shutil.copytree(self.folder / "kept", self.folder / "cache")
        return self.use(FaultyStorage(self.memory))

    def use(self, storage: FaultyStorage) -> FaultyStorage:
        self.job.storage = self.job.repository.storage = storage
        return storage

    def calls(self, act: Callable[[], object], verb: Verb) -> int:
        """Return how often the act calls the verb if all goes well."""
        faulty = self.again()
        act()
        return faulty.calls.get(verb, 0)

    def attempts(self, act: Callable[[], object], verb: Verb, when: When) -> int:
        """Let the act fail at one call after the other, and look at what is left each time."""
        count = self.calls(act, verb)
        step = max(1, count // SPREAD)
        tried = sorted({*range(1, count + 1, step), count} - {0})
        for nth in tried:
            faulty = self.again()
            faulty.fail(verb, nth, StorageUnavailableError(f"{when} {verb} number {nth}"), when)
            with suppress(StorageUnavailableError):
                act()
            faulty.assert_all_hit()
            self.look()
        return len(tried)

    def look(self) -> None:
        """Every committed point restores, and what comes next succeeds."""
        self.use(FaultyStorage(self.memory))
        for point_id, content in self.job.contents().items():
            assert content in ([self.model[point_id]] if point_id in self.model else self.moments)
        assert {*self.model} <= {*self.job.contents()}
        assert self.job.scrub().ok
        self.job.run()
        points = self.job.points()[-3:]
        assert [self.job.restore(point) for point in points] == self.moments
        self.taken_over += self.job.taken_over()
        self.job.prune()
        self.job.check_nothing_leaks()
        report = self.job.scrub()
        assert report.ok
        assert report.notes == ()
        assert {*self.model} <= {*self.job.contents()}


@pytest.fixture(autouse=True)
def _with_small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cluster of the image gets its own, so that a session which fails leaves whole ones."""
    monkeypatch.setattr(pipeline, "PACK_RAW_BYTES", CLUSTER)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_session_may_fail_at_any_call(verb: Verb, when: When, tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert stage.attempts(stage.job.run, verb, when) or verb in ("exists", "delete")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_prune_may_fail_at_any_call(verb: Verb, when: When, tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert stage.attempts(stage.job.prune, verb, when) or verb == "exists"


@pytest.mark.parametrize("act", ["run", "prune"])
def test_a_process_may_die_at_any_write(act: str, tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    nth = 0
    while True:
        faulty = stage.again()
        faulty.kill_after(nth)
        try:
            getattr(stage.job, act)()
        except StorageUnavailableError:
            stage.look()
            nth += 1
            continue
        break
    assert nth > 4
    assert stage.taken_over or act == "prune"
