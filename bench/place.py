"""A home and a repository of this process, on storage that counts."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from strongroom import settings
from strongroom.clock import SystemClock
from strongroom.control import jobs, passwords, repositories, sessions
from strongroom.control.context import Context
from strongroom.control.secrets import SecretSource
from strongroom.control.sessions import SessionResult
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.storage.base import Storage
from strongroom.storage.location import open_storage
from strongroom.storage.observing import ObservingStorage
from strongroom.testing.turned_clock import LaterClock

REPOSITORY = JOB = "bench"


@dataclass
class Cost:
    """What a piece of work asked of the storage."""

    seconds: float = 0.0
    cpu: float = 0.0
    read_bytes: int = 0
    reads: int = 0
    written_bytes: int = 0
    """What was put, and of composed objects what was not cloned."""
    writes: int = 0
    listed: int = 0
    """Objects that listings went through."""
    deletes: int = 0

    @property
    def calls(self) -> int:
        return self.reads + self.writes + self.deletes


class Place:
    """One job of one source."""

    def __init__(self, folder: Path, repository: Path | None = None) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.repository = repository if repository is not None else folder / "repository"
        self.source = folder / "source"
        self._environment = {
            **os.environ,
            "STRONGROOM_HOME": str(folder / "home"),
            "STRONGROOM_KEY_FILE": str(folder / "key"),
        }
        self._storages: dict[str, ObservingStorage] = {}

    def create(self, source: str, keep_last: int) -> None:
        secret = SecretSource(environment="SECRET", variables={"SECRET": "mauve-otters-juggle-7"})
        request = jobs.JobRequest(
            name=JOB,
            repository=REPOSITORY,
            sources=(source,),
            encrypt=f"password:{JOB}",
            keep_last=keep_last,
        )
        with self.context() as ctx:
            repositories.add(ctx, REPOSITORY, str(self.repository))
            passwords.add(ctx, JOB, secret)
            jobs.create(ctx, request)

    @contextmanager
    def context(self, passed: timedelta = timedelta()) -> Iterator[Context]:
        """Yield what a command has; its clock has run on for so long."""
        chosen = settings.load(self._environment)
        with Context(chosen, LaterClock(passed), open_storage=self._opened) as ctx:
            yield ctx

    def run(self, ctx: Context, *, synthetic: bool = False) -> SessionResult:
        return sessions.run(
            ctx,
            JOB,
            full=False,
            synthetic=synthetic,
            progress=NullProgress(),
            cancel=Cancellation(),
        )

    @contextmanager
    def cost(self, where: Path | None = None) -> Iterator[Cost]:
        """Find out what the block asks of the storage at a location, the repository's by default.

        The figures are there when the block has ended.
        """
        storage = self._opened(str(where or self.repository), create=True)
        storage.reset()
        found = Cost()
        started, busy = time.perf_counter(), time.process_time()
        yield found
        found.seconds = time.perf_counter() - started
        found.cpu = time.process_time() - busy
        traffic = storage.all_traffic()
        for verb, one in traffic.items():
            if verb in ("get", "size", "exists"):
                found.reads += one.calls
                found.read_bytes += one.bytes
            elif verb in ("put", "compose"):
                found.writes += one.calls
                found.written_bytes += one.bytes
            elif verb == "list":
                found.reads += one.calls
                found.listed += one.objects
            elif verb == "delete":
                found.deletes += one.calls

    def stored(self) -> dict[str, tuple[int, int]]:
        """Return objects and bytes of the repository by kind, as the second folder says it."""
        found: dict[str, tuple[int, int]] = {}
        for path in self.repository.rglob("*"):
            if path.is_file():
                parts = path.relative_to(self.repository).parts
                kind = parts[2] if parts[0] == "chains" else parts[0]
                objects, size = found.get(kind, (0, 0))
                found[kind] = (objects + 1, size + path.stat().st_size)
        return found

    def _opened(self, location: str, create: bool) -> ObservingStorage:
        if location not in self._storages:
            storage: Storage = open_storage(location, create=create)
            self._storages[location] = ObservingStorage(storage, SystemClock())
        return self._storages[location]
