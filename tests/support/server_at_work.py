"""A server with three jobs in one repository and a copy of it elsewhere, both in memory.

server = ServerAtWork(folder)
server.run("papers")
server.copy()
assert server.contents(MAIN) == {...}

Everything goes through the calls that the command line makes. Commands of another process have
a context of their own; a process that died is followed by one that knows what the home says.
"""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import blake3

from strongroom.catalog import points as point_rows
from strongroom.clock import SystemClock
from strongroom.control import (
    care,
    copies,
    jobs,
    passwords,
    points,
    recovery,
    repositories,
    sessions,
)
from strongroom.control.access import Access, open_reading
from strongroom.control.context import Context
from strongroom.crypto.kdf import MINIMUM
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.format.point import StreamRoot, TreeRoot
from strongroom.repository import layout
from strongroom.repository.prune import plan_prune
from strongroom.repository.repository import Repository
from strongroom.settings import Settings
from strongroom.testing.memory_storage import MemoryStorage
from strongroom.testing.turned_clock import TurnedClock
from tests.support.engine_job import look_at, read_disk, read_stream, read_tree
from tests.support.installation import secret
from tests.support.interrupting_storage import InterruptingStorage
from tests.support.jobs import write_tree

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from strongroom.control.sessions import SessionResult
    from strongroom.engine.points import PointView
    from strongroom.repository.prune import PrunePlan
    from strongroom.storage.base import Storage

MAIN: Final = "main"
COPY: Final = "copy"
JOBS: Final = ("papers", "disk", "words")
"""A sealed tree; a sealed image; a plain job of a tree and of what a command prints."""
PASSWORDS: Final = ("lantern", "bucket")
KEPT: Final = {"papers": 3, "disk": 2, "words": 2}
"""How many points of each source retention keeps."""
QUARANTINE: Final = timedelta(hours=24)
DAY: Final = timedelta(days=1)
CLUSTER: Final = 64 << 10
CLUSTERS: Final = 8
BLOCK: Final = 256 << 10


def filler(seed: int, length: int) -> bytes:
    """Return bytes that do not compress, the same for one seed."""
    return blake3.blake3(seed.to_bytes(4, "big")).digest(length)


class TickingClock(TurnedClock):
    """A turned clock on which no two readings are alike."""

    def now(self) -> datetime:
        self.advance(timedelta(milliseconds=1))
        return super().now()


class Process(AbstractContextManager["Process"]):
    """Commands of one process."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx

    def __exit__(self, *_: object) -> None:
        self.ctx.close()

    def run(self, name: str, *, full: bool = False, synthetic: bool = False) -> SessionResult:
        return sessions.run(
            self.ctx,
            name,
            full=full,
            synthetic=synthetic,
            progress=NullProgress(),
            cancel=Cancellation(),
        )

    def copy(self) -> copies.CopyResult:
        return copies.copy(self.ctx, MAIN, COPY, progress=NullProgress(), cancel=Cancellation())

    def prune(self, where: str = MAIN) -> care.PruneResult:
        return care.prune(self.ctx, where)

    def compact(self, where: str = MAIN) -> care.CompactResult:
        return care.compact(
            self.ctx, where, dead_share=0.01, progress=NullProgress(), cancel=Cancellation()
        )

    def scrub(self, where: str = MAIN) -> care.ScrubReport:
        return care.scrub(self.ctx, where, progress=NullProgress(), cancel=Cancellation())

    def rescan(self) -> None:
        for where in (MAIN, COPY):
            repositories.rescan(self.ctx, where)

    def seal_for(self, name: str, password: str) -> None:
        changes = jobs.JobChanges(encrypt=f"password:{password}")
        jobs.edit(self.ctx, name, changes, yes_weaken=True)

    def take_back(self, *point_ids: bytes) -> None:
        points.remove(self.ctx, [one.hex() for one in point_ids], where=MAIN, yes=True)

    def hold(self, point_id: bytes) -> None:
        points.hold(self.ctx, [point_id.hex()], where=MAIN)

    def release(self, point_id: bytes) -> None:
        points.release(self.ctx, [point_id.hex()], where=MAIN)


class ServerAtWork:
    """The server, what it protects, and its two repositories.

    Deriving passwords' keys takes long, so it is set up once, and `begin` sets it back.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Ahead of the file system, so that what was just written counts as settled.
        self.clock = TickingClock(SystemClock().now() + DAY)
        self.places = {f"/{name}": MemoryStorage() for name in (MAIN, COPY)}
        self.interrupted = {
            where: InterruptingStorage(place) for where, place in self.places.items()
        }
        self.tree, self.image, self.words = (folder / name for name in ("tree", "image", "words"))
        self.ctx = self.context()
        with self.process() as process:
            for name in (MAIN, COPY):
                repositories.add(process.ctx, name, f"/{name}")
            recovery.create(process.ctx, self._kit)
            for name in PASSWORDS:
                passwords.add(process.ctx, name, secret(f"Mauve-otters-juggle-7-{name}s"))
            self._signer = process.ctx.identity.public.fingerprint
            for name in JOBS:
                self.create(process, name)
        shutil.copytree(self._home, folder / "set-up")
        self._empty = {where: place.snapshot() for where, place in self.places.items()}

    def begin(self) -> None:
        """Be as on the first day."""
        self.ctx.close()
        shutil.rmtree(self._home)
        shutil.copytree(self._folder / "set-up", self._home)
        for where, place in self.places.items():
            place.restore(self._empty[where])
        self.ctx = self.context()
        write_tree(self.tree, {})
        self.image.write_bytes(bytes(CLUSTERS * CLUSTER))
        self.words.write_bytes(b"words")

    @property
    def _home(self) -> Path:
        return self._folder / "home"

    @property
    def _kit(self) -> Path:
        return self._folder / "kit"

    def context(self, home: str = "home", *, interrupted: bool = False) -> Context:
        """Return what a new process begins with."""
        places: Mapping[str, Storage] = self.interrupted if interrupted else self.places
        return Context(
            Settings(self._folder / home, self._folder / f"{home}-key"),
            self.clock,
            open_storage=lambda location, _create: places[location],
            derivation=lambda: MINIMUM,
        )

    def process(self, *, interrupted: bool = False) -> Process:
        """Return another process on this server."""
        return Process(self.context(interrupted=interrupted))

    def renew(self) -> None:
        """Let what comes be done by a new process."""
        self.ctx.close()
        self.ctx = self.context()

    def create(self, process: Process, name: str) -> None:
        """Make a job."""
        sources = {
            "papers": (f"files:{self.tree}",),
            "disk": (f"image:{self.image}",),
            "words": (f"command:cat {self.words}", f"files:{self.tree}"),
        }
        request = jobs.JobRequest(
            name=name,
            repository=MAIN,
            encrypt="none" if name == "words" else f"password:{PASSWORDS[0]}",
            sources=sources[name],
            keep_last=KEPT[name],
            block_size=BLOCK,
        )
        jobs.create(process.ctx, request)

    def forget(self) -> None:
        """Set the catalog back to the first day, and look into the repositories."""
        self.ctx.close()
        for file in self._home.glob("catalog.db*"):
            file.unlink()
        shutil.copy(self._folder / "set-up" / "catalog.db", self._home)
        self.ctx = self.context()
        Process(self.ctx).rescan()

    # --- what is protected -------------------------------------------------------------------

    def write_tree(self, files: Mapping[str, bytes]) -> None:
        write_tree(self.tree, files)

    def write_cluster(self, number: int, seed: int) -> None:
        with self.image.open("r+b") as file:
            file.seek(number * CLUSTER)
            file.write(filler(seed, CLUSTER) if seed else bytes(CLUSTER))

    def now(self, source: str) -> object:
        """Return what a source holds at this moment."""
        kind = source.partition(":")[0]
        if kind == "files":
            return look_at(self.tree)
        return (self.image if kind == "image" else self.words).read_bytes()

    # --- what a bare machine sees ------------------------------------------------------------

    def views(self, where: str) -> list[PointView]:
        """Return every promised point, as who has the recovery kit and nothing else reads them."""
        with self.context("bare") as bare:
            access = Access(
                where=f"/{where}",
                recovery_keys=(self._kit,),
                signers=(self._signer,),
                allow_unencrypted=True,
            )
            reading = open_reading(bare, access)
            reading.check()
            return reading.points

    def catalogued(self) -> set[bytes]:
        """Return the points that the catalog knows."""
        return {
            row.point_id
            for name in JOBS
            for row in point_rows.of_job(
                self.ctx.database, bytes.fromhex(jobs.show(self.ctx, name).job_id)
            )
        }

    def plans(self, where: str) -> list[PrunePlan]:
        """Return what prune would do."""
        repository = Repository.open(self.places[f"/{where}"])
        return [
            plan_prune(repository, repository.chain(chain_id), self.clock, QUARANTINE)
            for chain_id in repository.chain_ids()
        ]

    def packs(self, where: str, chain: str) -> list[int]:
        """Return how many bytes each pack of a chain has."""
        prefix = layout.packs(bytes.fromhex(chain))
        return [info.size for info in self.places[f"/{where}"].list(prefix)]

    def stray_packs(self, where: str) -> list[str]:
        """Return packs of chains without a header that the catalog does not know to be begun."""
        repository = Repository.open(self.places[f"/{where}"])
        known = {*repository.chain_ids(), *care.unfinished_chains(self.ctx, repository)}
        return [
            key
            for key in self.keys(where)
            if "/packs/" in key and bytes.fromhex(key.split("/")[1]) not in known
        ]

    def keys(self, where: str) -> list[str]:
        return [info.key for info in self.places[f"/{where}"].list()]


def content(view: PointView) -> object:
    """Return what a point holds."""
    root = view.opened().root
    if isinstance(root, TreeRoot):
        return read_tree(view.reader(), root)
    if isinstance(root, StreamRoot):
        return read_stream(view.reader(), root)
    return read_disk(view.reader(), root)
