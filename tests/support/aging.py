"""A job that is run, pruned and changed day after day, on storage that counts.

By hand, for as long as one likes: what is protected (`disk` or `tree`), how it is written
(`uniform` or `hot`), and how often.

    python -m tests.support.aging disk hot 1000
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from strongroom.clock import SystemClock
from strongroom.engine.backup import NewPoint, SessionOutcome
from strongroom.format.journal import SessionBody
from strongroom.storage.observing import ObservingStorage, Traffic
from strongroom.testing.memory_storage import MemoryStorage
from strongroom.testing.turned_clock import TurnedClock
from tests.support.engine_job import look_at, source
from tests.support.jobs import Job, a_job
from tests.support.reading import bring_back, views_of

CLUSTER = 64 << 10
KEPT_POINTS = 14
DAY = timedelta(days=1)
QUARANTINE = timedelta(hours=24)
SHARE = 50
"""One unit in so many changes between two sessions."""

Draw = Callable[[random.Random, int], Collection[int]]


def uniform(rng: random.Random, units: int) -> Collection[int]:
    return rng.sample(range(units), units // SHARE)


def hot(rng: random.Random, units: int) -> Collection[int]:
    """Nine of ten writes go to a tenth of all, scattered and always the same."""
    spots = random.Random(7).sample(range(units), units // 10)  # noqa: S311 - a test's
    return {
        rng.choice(spots) if rng.random() < 0.9 else rng.randrange(units)
        for _ in range(units // SHARE)
    }


class Disk:
    """An image of 12 MiB without holes."""

    units = 192
    kind = "image"

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.path = path
        self._rng = rng
        path.write_bytes(rng.randbytes(self.units * CLUSTER))

    def change(self, unit: int) -> None:
        with self.path.open("r+b") as file:
            os.pwrite(file.fileno(), self._rng.randbytes(CLUSTER), unit * CLUSTER)

    def live_bytes(self) -> int:
        return self.units * CLUSTER

    @staticmethod
    def look(path: Path) -> object:
        return path.read_bytes()


class Tree:
    """400 files of up to 20 kB in ten folders."""

    units = 400
    kind = "files"

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.path = path
        self._rng = rng
        for folder in range(10):
            (path / f"{folder}").mkdir(parents=True)
        for unit in range(self.units):
            self.change(unit)

    def change(self, unit: int) -> None:
        content = self._rng.randbytes(self._rng.randrange(100, 20_000))
        (self.path / f"{unit % 10}" / f"{unit:03}").write_bytes(content)

    def live_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.path.glob("*/*"))

    @staticmethod
    def look(path: Path) -> object:
        return look_at(path)


@dataclass(frozen=True)
class Cost:
    """What one session asked of the storage."""

    outcome: SessionOutcome
    gets: Traffic
    puts: Traffic
    listed: int
    """Objects that listings went through."""


@dataclass(frozen=True)
class Age:
    """How a repository has aged, in bytes."""

    restored: int
    """All that a restore of the newest point asked of the storage."""
    live: int
    """What that point holds."""
    dead: int
    """Of what is held: blocks that no kept point uses, those in quarantine included."""
    held: int
    """All packs."""
    sessions: int
    """How many sessions' blocks the newest state uses."""
    history_pages: int
    """That remember every entry there ever was."""

    @property
    def read_share(self) -> float:
        return self.restored / self.live

    @property
    def dead_share(self) -> float:
        return self.dead / self.held


class AgingJob:
    """The job, what it protects, and what every kept point has to bring back."""

    def __init__(self, folder: Path, what: type[Disk | Tree], draw: Draw, seed: int = 1) -> None:
        self._folder = folder
        self._rng = random.Random(seed)  # noqa: S311 - a test's
        self._draw = draw
        self.protected = what(folder / "protected", self._rng)
        self.memory = MemoryStorage()
        self.storage = ObservingStorage(self.memory, SystemClock())
        self.job: Job = a_job(
            self.storage,
            source(self.protected.kind, self.protected.path),
            cache=folder / "cache",
        )
        self.job.compression = None
        # Days ahead of the file system: what was just written counts as settled.
        self.clock = TurnedClock(SystemClock().now() + DAY)
        self.job.clock = self.clock  # type: ignore[assignment]
        self.moments: dict[bytes, object] = {}
        """What was protected when each kept point was taken."""
        self._kept: deque[bytes] = deque()
        self.changed_bytes = self.stored_bytes = 0

    def session(self) -> Cost:
        """Let a day pass with its changes, and back up; the first session changes nothing."""
        if self.moments:
            for unit in self._draw(self._rng, self.protected.units):
                self.protected.change(unit)
        self.clock.advance(DAY)
        self.storage.reset()
        outcome = self.job.run(give_up=self._give_up)
        traffic = self.storage.all_traffic()
        self.moments[self._kept[-1]] = self.protected.look(self.protected.path)
        self.changed_bytes += outcome.changed_bytes
        self.stored_bytes += outcome.stored_bytes
        return Cost(outcome, traffic["get"], traffic["put"], traffic["list"].objects)

    def _give_up(self, fresh: Sequence[NewPoint]) -> list[bytes]:
        self._kept.extend(point.point_id for point in fresh)
        gone = [self._kept.popleft() for _ in range(len(self._kept) - KEPT_POINTS)]
        for point_id in gone:
            del self.moments[point_id]
        return gone

    def prune(self) -> None:
        self.job.prune(QUARANTINE)

    def age(self) -> Age:
        """Restore the newest point, and look at what is held."""
        self.storage.reset()
        restored = self._restore(-1)
        read = self.storage.traffic("get").bytes
        assert restored == self.moments[self._kept[-1]]
        held = sum(len(data) for key, data in self.memory.snapshot().items() if "/packs/" in key)
        dead = held - self.job.plan_prune(QUARANTINE).live_bytes
        chain = self.job.chain()
        newest = chain.newest_session
        assert newest is not None
        assert isinstance(newest.body, SessionBody)
        return Age(
            read,
            self.protected.live_bytes(),
            dead,
            held,
            len(dict(chain.sets(newest.body).items())),
            len(list(chain.history(newest).pages())),
        )

    def check_every_point(self) -> None:
        """Every kept point brings back its own moment, and nothing else is promised."""
        views = views_of(self.job)
        assert [view.point_id for view in views] == list(self._kept)
        for index, view in enumerate(views):
            assert self._restore(index) == self.moments[view.point_id]

    def _restore(self, index: int) -> object:
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            target = Path(folder) / "restored"
            bring_back(views_of(self.job)[index], target, strip=self.protected.kind == "files")
            return self.protected.look(target)


def main(what: str, pattern: str, sessions: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        aging = AgingJob(
            Path(folder),
            {"disk": Disk, "tree": Tree}[what],
            {"uniform": uniform, "hot": hot}[pattern],
        )
        reads, deads = [], []
        for number in range(1, sessions + 1):
            cost = aging.session()
            aging.prune()
            if number % 25 == 0 or number == sessions:
                age = aging.age()
                reads.append(age.read_share)
                deads.append(age.dead_share)
                print(  # noqa: T201 - this is what it is for
                    f"{number}: read {age.read_share:.2f}, dead {age.dead_share:.2f} of "
                    f"{age.held:,}; gets {cost.gets.calls} of {cost.gets.bytes:,}, puts "
                    f"{cost.puts.calls} of {cost.puts.bytes:,}, listed {cost.listed}, "
                    f"{age.sessions} sessions, {age.history_pages} pages of history",
                    flush=True,
                )
        aging.check_every_point()
        stored = aging.stored_bytes / aging.changed_bytes
        print(  # noqa: T201 - likewise
            f"worst: read {max(reads):.2f}, dead {max(deads):.2f}; stored {stored:.2f} of changed"
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
