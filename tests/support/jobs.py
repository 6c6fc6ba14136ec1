"""A job in a repository, with short words for what care does to it.

job = a_job(MemoryStorage(), source("files", tree))
job.run()
assert job.contents() == [look_at(tree)]
job.prune()
assert job.scrub().ok
"""

from __future__ import annotations

from copy import copy
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from strongroom.crypto import random
from strongroom.crypto.recipients import make_recovery_recipient
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.errors import NotARepositoryError
from strongroom.format.journal import DeathBody, EntryRef, SessionBody
from strongroom.format.pack import HEADER_LENGTH, read_header
from strongroom.format.point import StreamRoot, TreeRoot
from strongroom.repository import headless, layout, locks, promises
from strongroom.repository.chain import Head, Trust
from strongroom.repository.prune import PrunePlan, PruneResult, carry_out, plan_prune
from strongroom.repository.rekey import start_chain
from strongroom.repository.repository import Repository
from strongroom.repository.scrub import scrub
from strongroom.repository.scrub_report import ScrubReport
from tests.support.engine_job import AheadClock, EngineJob, Point, read_stream, read_tree, settle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from strongroom.clock import Clock
    from strongroom.crypto.signing import SigningKey
    from strongroom.engine.backup import SessionOutcome, SourcePlan
    from strongroom.format.block import BlockClass
    from strongroom.storage.base import Storage

NO_QUARANTINE = timedelta()


class Job(EngineJob):
    """A job whose repository is cared for; its sessions hold the job's lock, as real ones do."""

    repository: Repository

    def run(self, *arguments: Any, **options: Any) -> SessionOutcome:
        """Run a session to its end, under the job's lock."""
        with locks.acquire(
            self.storage,
            layout.job_lock(self.chain().header.job_id),
            random.token(16).hex(),
            self.clock,
            command=locks.RUNNING,
        ):
            return super().run(*arguments, **options)

    # --- points ------------------------------------------------------------------------------

    def restore(self, point: Point) -> object:
        """Return what a point holds, opened with the chain's secret alone."""
        root = point.details.root
        if isinstance(root, TreeRoot):
            return read_tree(self.reader(point.body), root)
        if isinstance(root, StreamRoot):
            return read_stream(self.reader(point.body), root)
        return self.read_image(point)

    def contents(self) -> dict[bytes, object]:
        """Return what every promised point holds, by its id, oldest first."""
        return {point.id: self.restore(point) for point in self.points()}

    def remove(self, *points: Point) -> None:
        ids = [point.id for point in points]
        promises.take_back(self.chain(), ids, self.signer, self.clock, "removed by hand")

    def retire(self, *points: Point) -> None:
        """Give points up as of a job that was removed: without the last one the chain ends."""
        ids = [point.id for point in points]
        promises.retire(self.chain(), ids, self.signer, self.clock, "retention")

    def hold(self, *points: Point) -> None:
        promises.hold(self.chain(), [point.id for point in points], self.signer, self.clock)

    def release(self, *points: Point) -> None:
        promises.release(self.chain(), [point.id for point in points], self.signer, self.clock)

    # --- care --------------------------------------------------------------------------------

    @property
    def trust(self) -> Trust:
        return Trust(identities=frozenset({self.signer.public.id}))

    def head(self) -> Head:
        head = self.chain().head()
        assert head is not None
        return head

    def scrub(
        self, trust: Trust | None = None, heads: Mapping[bytes, Head] | None = None
    ) -> ScrubReport:
        return scrub(
            self.repository,
            self.trust if trust is None else trust,
            heads or {},
            progress=NullProgress(),
            cancel=Cancellation(),
        )

    def plan_prune(
        self, quarantine: timedelta = NO_QUARANTINE, clock: Clock | None = None
    ) -> PrunePlan:
        return plan_prune(self.repository, self.chain(), clock or self.clock, quarantine)

    def prune(
        self,
        quarantine: timedelta = NO_QUARANTINE,
        clock: Clock | None = None,
        signer: SigningKey | None = None,
    ) -> PruneResult:
        return carry_out(self.plan_prune(quarantine, clock), signer)

    def remove_remainders(self) -> int:
        """Remove what prune left of chains whose headers it has removed."""
        found = headless.find(self.repository)
        return headless.remove(self.storage, found, lambda one: one.is_remainder)

    def keys_of(self, kind: str) -> list[str]:
        """Return the keys of one kind of the chain's objects."""
        prefix = f"{layout.chain(self.chain_id)}{kind}/"
        return [info.key for info in self.storage.list(prefix)]

    def taken_over(self) -> int:
        """Return how many dead sessions the newest state has packs of."""
        newest = self.chain().newest_session
        assert newest is not None
        assert isinstance(newest.body, SessionBody)
        published = {
            entry.body.session_id
            for entry in map(self.chain().entry, self.chain().listing)
            if isinstance(entry.body, SessionBody)
        }
        dead = [
            body.session_id
            for entry in map(self.chain().entry, self.chain().listing)
            if isinstance(body := entry.body, DeathBody)
        ]
        records = dict(self.chain().sessions(newest.body).items()).values()
        return sum(record.session_id in {*dead} - published for record in records)

    def check_nothing_leaks(self) -> None:
        """After a prune all that is held is led to by what is kept, and no note is left."""
        assert self.plan_prune().nothing
        assert self.sweep() == 0
        assert self.keys_of("keys") == []
        if self.cache is not None:
            assert list((self.cache / "packs").glob("*")) == []

    def packs_of(self, point: Point, block_class: BlockClass) -> list[str]:
        """Return the keys of the packs that a point's session wrote."""
        found = []
        for key in self.keys_of("packs"):
            header = read_header(self.storage.get(key, 0, HEADER_LENGTH), key)
            if (header.session_id, header.block_class) == (point.body.session_id, block_class):
                found.append(key)
        return found


def a_job(
    storage: Storage, *sources: SourcePlan, sealed: bool = True, cache: Path | None = None
) -> Job:
    """Return a job in the storage's repository, a new one if need be; it has no point yet."""
    try:
        repository = Repository.open(storage)
    except NotARepositoryError:
        repository = Repository.create(storage, AheadClock())
    job = Job(storage, sources, sealed=sealed, cache=cache)
    job.repository = repository
    return job


def next_chain(job: Job, *, elsewhere: bool = False) -> Job:
    """Return the same job, going on in a chain of its own as after a detach.

    Args:
        job: The job.
        elsewhere: In a repository, that is, where it has no session before.
    """
    header, head = job.chain().header, None if elsewhere else job.chain().head()
    newer = copy(job)
    recipients = [make_recovery_recipient(random.seed(), "kit", job.signer.public)]
    started, newer.chain_key = start_chain(
        job.storage,
        header.job_id,
        recipients if job.sealed else [],
        job.signer,
        job.clock,
        EntryRef(head.chain_id, head.number, head.entry_hash) if head else None,
    )
    newer.chain_id = started.chain_id
    newer.cache = None
    newer.metakeys = {}
    return newer


def write_tree(root: Path, files: Mapping[str, bytes]) -> None:
    """Make the files below `root` exactly these; times move on, so that changes are seen."""
    settle()
    root.mkdir(exist_ok=True)
    for path in sorted(root.rglob("*"), reverse=True):
        name = str(path.relative_to(root))
        if path.is_dir():
            if not any(other.startswith(f"{name}/") for other in files):
                path.rmdir()
        elif name not in files or path.read_bytes() != files[name]:
            path.unlink()
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(content)
