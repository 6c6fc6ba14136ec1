"""A whole installation whose jobs really run, and bare machines that read what they stored.

    installation = Installation.create(folder)
    installation.job()
    session = installation.run()
    installation.bare().restore(session.points[0], target)

The storage belongs to the adversary. Everything goes through the calls that the command line
makes; passwords are derived at the least cost, and readers use a recovery kit, which costs none.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.control import jobs, passwords, recovery, repositories, sessions
from strongroom.control.access import Access, Reading, open_reading
from strongroom.control.context import Context
from strongroom.control.secrets import SecretSource
from strongroom.crypto.kdf import MINIMUM
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.engine.restore import RestoreRequest, restore
from strongroom.repository.repository import Repository
from strongroom.settings import Settings
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import AheadClock

if TYPE_CHECKING:
    from strongroom.control.sessions import SessionResult
    from strongroom.control.views.jobs import JobResult
    from strongroom.storage.base import Storage

LOCATION = "/main"
PASSWORD = "Mauve-otters-juggle-7-lanterns"


@dataclass
class Machine:
    """Something that reads the repository, with a catalog or without."""

    ctx: Context
    access: Access

    def reading(self) -> Reading:
        return open_reading(self.ctx, self.access)

    def restore(self, which: str, target: Path, reading: Reading | None = None) -> None:
        """Restore a point as the command does, of a reading that is open already if need be."""
        view = (reading or self.reading()).select(which)
        request = RestoreRequest(target=target, strip=True)
        restore(view, request, progress=NullProgress(), cancel=Cancellation())


@dataclass
class Installation:
    """A server with one repository, in the hands of an adversary."""

    ctx: Context
    folder: Path
    storage: AdversaryStorage

    @classmethod
    def create(cls, folder: Path, storage: AdversaryStorage | None = None) -> Installation:
        storage = storage or AdversaryStorage(MemoryStorage())
        installation = cls(_context(folder, "server", storage), folder, storage)
        ctx = installation.ctx
        repositories.add(ctx, "main", LOCATION)
        recovery.create(ctx, installation.kit)
        passwords.add(ctx, "office", secret(PASSWORD))
        return installation

    @classmethod
    def at_work(cls, folder: Path, **files: bytes) -> Installation:
        """Return a server that has made one point of a tree with these files."""
        installation = cls.create(folder)
        installation.tree.mkdir()
        for name, content in files.items():
            (installation.tree / name).write_bytes(content)
        installation.job()
        installation.run()
        return installation

    @classmethod
    def with_password_alone(cls, folder: Path) -> Installation:
        """Return a server with a job that no recovery kit opens, and an empty tree."""
        installation = cls.create(folder)
        installation.tree.mkdir()
        name = installation.job().job.name
        jobs.edit(installation.ctx, name, jobs.JobChanges(recovery=False), yes_weaken=True)
        return installation

    def another(self, password: str, *, write_only: bool = False) -> Installation:
        """Return a second server on the same storage, which has seen nothing of it."""
        other = Installation(
            _context(self.folder, "second", self.storage), self.folder, self.storage
        )
        repositories.add(other.ctx, "main", LOCATION)
        passwords.add(other.ctx, "theirs", secret(password), write_only=write_only)
        return other

    @property
    def kit(self) -> Path:
        return self.folder / "kit"

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    def job(self, name: str = "nightly", *, encrypt: bool = True) -> JobResult:
        request = jobs.JobRequest(
            name=name,
            repository="main",
            encrypt="password:office" if encrypt else "none",
            sources=(f"files:{self.tree}",),
            keep_last=50,
        )
        return jobs.create(self.ctx, request)

    def run(self, name: str = "nightly", *, full: bool = False) -> SessionResult:
        return sessions.run(
            self.ctx, name, full=full, progress=NullProgress(), cancel=Cancellation()
        )

    def point_of(self, content: str, *, full: bool = False) -> str:
        """Back up a tree with one file of this content; return the point."""
        (self.tree / "file").write_text(content)
        return self.run(full=full).points[0]

    def chain_ids(self) -> list[str]:
        """Return the ids of the chains that are there, oldest first."""
        chains = map(self.repository().chain, self.repository().chain_ids())
        return [one.chain_id.hex() for one in sorted(chains, key=lambda one: one.header.created_at)]

    def repository(self) -> Repository:
        return Repository.open(self.storage)

    def here(self) -> Machine:
        """Return the server itself as a reader: what it has seen it compares."""
        return Machine(self.ctx, Access())

    def bare(self, **access: object) -> Machine:
        """Return a machine that has nothing but the location and the recovery kit."""
        given = replace(Access(where=LOCATION, recovery_keys=(self.kit,)), **access)  # type: ignore[arg-type]
        return Machine(_context(self.folder, "bare", self.storage), given)

    def save(self) -> None:
        """Keep a copy of the server's home, as an image of the machine would."""
        self.ctx.close()
        shutil.copytree(self.folder / "server", self.folder / "saved")

    def set_back(self) -> None:
        """Put the copy back; the storage stays as it is."""
        self.ctx.close()
        shutil.rmtree(self.folder / "server")
        (self.folder / "saved").rename(self.folder / "server")


def secret(text: str) -> SecretSource:
    return SecretSource(environment="SECRET", variables={"SECRET": text})


def _context(folder: Path, name: str, storage: Storage) -> Context:
    return Context(
        Settings(folder / name, folder / f"{name}-key"),
        AheadClock(),
        open_storage=lambda location, create: storage,
        derivation=lambda: MINIMUM,
    )
