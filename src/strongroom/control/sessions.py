"""Running a job: decide what the session is, run it, publish, remember, report.

The order of `SessionRun.run` is what operators rely on: the lock before anything is read, the
catalog's record before the first script, the session's metakey in the keystore before its
first pack, retention with the publication, the post script whatever happened.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import copy_jobs as copy_job_rows
from strongroom.catalog import damage, heads, jobs, repositories
from strongroom.catalog import points as point_rows
from strongroom.catalog import sessions as session_rows
from strongroom.clock import from_microseconds, to_microseconds
from strongroom.control import audit, clock_guard, job_lock, retention, scripts, vaults
from strongroom.control.audit import Outcome, Severity
from strongroom.control.chain_choice import ChainChoice, is_damage
from strongroom.control.traffic import Traffic
from strongroom.crypto import random
from strongroom.crypto.envelope import SessionSecrets
from strongroom.engine import backup
from strongroom.engine.pipeline import Compression
from strongroom.errors import (
    CancelledError,
    ClockJumpedError,
    IntegrityError,
    LockedError,
    NotARepositoryError,
    RefusedError,
    StorageFullError,
    StrongroomError,
    UnavailableError,
)
from strongroom.format.journal import PointKind
from strongroom.model.job import Compression as Level
from strongroom.model.job import Job, KmsEncryption
from strongroom.model.phrases import counted
from strongroom.model.retention import PointFacts
from strongroom.model.session import (
    SessionCounters,
    SessionError,
    SessionRecord,
    SessionState,
)
from strongroom.model.transition import FullReason
from strongroom.repository import layout, locks, promises, writer
from strongroom.repository.chain import Chain
from strongroom.repository.repository import Repository
from strongroom.storage.reading import AskedAhead
from strongroom.storage.reserving import KEPT_FREE, ReservingStorage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from strongroom.control.chain_choice import Target
    from strongroom.control.context import Context
    from strongroom.control.secrets import SecretSource
    from strongroom.control.views.points import RemovedPoint
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.progress import Progress
    from strongroom.format.journal import SessionBody
    from strongroom.format.point import PointDetails
    from strongroom.model.gfs import Flagged

_LEVELS = {Level.NONE: None, Level.FAST: 1, Level.BALANCED: 3, Level.HIGH: 9}
_PATIENCE_SECONDS = 600
"""A prune is over in less; a session of the same job is not waited for."""
_LEAST_FREE = 32 << 20
"""With less room than this a session does not begin: its journal entry has to fit at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResult:
    """What `job run` tells; the field names are those of its JSON."""

    job: str
    session: str
    state: str
    kind: str
    reason: str
    read_bytes: int
    changed_bytes: int
    stored_bytes: int
    files: int
    seconds: float
    warnings: tuple[str, ...]
    points: tuple[str, ...]
    bottleneck: str = ""
    cloned_bytes: int = 0
    """Of a synthetic full: blocks that it shares with the points before."""
    copied_bytes: int = 0
    """Of a synthetic full: blocks that had to be copied."""
    copied_there_bytes: int = 0
    """Of a synthetic full: blocks that the storage copied itself, so that nothing travelled."""
    given_up: tuple[RemovedPoint, ...] = ()
    """Points that retention let go with this session, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRun:
    """A job of `run --all` that made no point; the others ran all the same."""

    job: str
    error: StrongroomError


def run(
    ctx: Context,
    name: str,
    *,
    full: bool,
    synthetic: bool = False,
    progress: Progress,
    cancel: Cancellation,
    old: SecretSource | None = None,
    break_lock: bool = False,
) -> SessionResult:
    """Run one job now.

    Args:
        ctx: The command's surroundings.
        name: The job.
        full: Whether to begin a new chain with an active full.
        synthetic: Whether to begin one with a full made from the points before.
        progress: Is told how it goes.
        cancel: Stops it between two pieces of work.
        old: The secret of the chain before, where the catalog cannot open it.
        break_lock: Take the job's lock from a holder that may live; it cannot publish then.

    Raises:
        LockedError: another session of the job is running.
        StrongroomError: whatever ended the session; it is recorded in the catalog.
    """
    job = jobs.get(ctx.database, name)
    run_of: type[SessionRun] = SessionRun
    if synthetic:
        # Not at the top: what it imports, hardly a session needs.
        from strongroom.control.synthetic import SyntheticRun

        run_of = SyntheticRun
    return run_of(ctx, job, full, progress, cancel, old, break_lock).run()


def run_all(
    ctx: Context, *, progress: Progress, cancel: Cancellation
) -> list[SessionResult | FailedRun]:
    """Run every job, one after the other; one that fails does not stop the others."""
    results: list[SessionResult | FailedRun] = []
    for job in jobs.all_jobs(ctx.database):
        try:
            results.append(run(ctx, job.name, full=False, progress=progress, cancel=cancel))
        except CancelledError:
            raise
        except StrongroomError as error:
            results.append(FailedRun(job=job.name, error=error))
    return results


class SessionRun:
    """One run of one job."""

    reads_sources = True
    """Whether the job's scripts have anything to prepare."""

    def __init__(
        self,
        ctx: Context,
        job: Job,
        full: bool,
        progress: Progress,
        cancel: Cancellation,
        old: SecretSource | None,
        break_lock: bool,
    ) -> None:
        self.ctx = ctx
        self.job = job
        self.full = full
        self.progress = progress
        self.cancel = cancel
        self.old = old
        self.break_lock = break_lock
        self.damaged = False
        """The present chain turned out too damaged to build on."""
        self.session_id = random.token(16)
        self.warnings: list[str] = []
        self.started_at = ctx.clock.now()
        self._begun = ctx.clock.monotonic()
        self._lock: locks.Lock | None = None
        self._given_up: dict[bytes, retention.Judged] = {}
        """Points that retention lets go."""
        self._flagged: dict[bytes, Flagged | None] = {}
        """New points with their flags."""

    def run(self) -> SessionResult:
        """Run the job from its lock to its post script."""
        ctx, job = self.ctx, self.job
        record = SessionRecord(
            session_id=self.session_id,
            job_id=job.job_id,
            job=job.name,
            state=SessionState.RUNNING,
            started_at=self.started_at,
        )
        row = repositories.get(ctx.database, job.repository)
        started = to_microseconds(self.started_at)
        ctx.traffic = Traffic(job=job.limit, check=self.cancel.check)
        try:
            if not job.encrypted:
                vaults.refuse_plain(ctx, row, f"job {job.name}")
            repository = _open(ctx, job, row)
        except StrongroomError as error:
            # An unmounted disk is a failed session like any other: status shows it.
            self._record_start(record)
            self._record_failure(record, error)
            raise
        with self._acquired(repository) as self._lock:
            self._close_dead_sessions()
            self._record_start(record)
            try:
                if self.reads_sources:
                    self._ask_kms()
                    scripts.pre(job, self.session_id)
                outcome, target = self._back_up_whatever_is_damaged(repository, row.location)
            except BaseException as error:
                if isinstance(error, CancelledError):
                    error.hint = "the next run goes on from here: what was stored whole is used"
                self._record_failure(record, error)
                raise
            self.warnings += vaults.after_session(
                ctx, row, target.chain, begun=target.chain.header.created_at >= started
            )
            result = self._result(outcome, target)
            state = SessionState(result.state)
            if self.reads_sources:
                failed_scripts = scripts.post(job, self.session_id, state, None)
                result = replace(result, warnings=(*result.warnings, *failed_scripts))
            if result.warnings and state is SessionState.SUCCESS:
                result = replace(result, state=SessionState.WARNING.value)
            self._record_success(record, result, target, outcome)
        # The job is free again: what is copied is what was published.
        return self._with_copies(result)

    def _with_copies(self, result: SessionResult) -> SessionResult:
        """Run the copies that follow; one that fails is a warning, for the points are made."""
        if not copy_job_rows.of_job(self.ctx.database, self.job.name):
            return result
        # Not at the top: what it imports, other sessions have no use for.
        from strongroom.control import copy_jobs

        problems = copy_jobs.after_session(self.ctx, self.job.name, self.progress, self.cancel)
        if not problems:
            return result
        result = replace(
            result,
            warnings=(*result.warnings, *problems),
            state=SessionState.WARNING.value,
        )
        record = session_rows.find(self.ctx.database, self.session_id)
        assert record is not None, "it was recorded"
        session_rows.update(
            self.ctx.database,
            replace(record, state=SessionState.WARNING, warnings=result.warnings),
        )
        return result

    def _ask_kms(self) -> None:
        """See what the KMS has to say that the job is sealed for, if it is."""
        if isinstance(self.job.encryption, KmsEncryption):
            # Not at the top: what it imports, no other session needs.
            from strongroom.control import kms_keys

            self.warnings += kms_keys.before_session(self.ctx, self.job)

    def _acquired(self, repository: Repository) -> locks.Lock:
        """Return the job's lock; a prune that has it is waited for.

        Raises:
            LockedError: another session has it, or a prune for long.
            CancelledError: on request.
        """
        clock = self.ctx.clock
        until = clock.monotonic() + _PATIENCE_SECONDS
        told = False
        while True:
            try:
                return job_lock.acquire(
                    self.ctx,
                    self.job,
                    repository,
                    holder=self.session_id,
                    command=locks.RUNNING,
                    hint="wait for it to end; if nothing runs there, 'strongroom job run "
                    f"{self.job.name} --break-lock' takes the lock away from it",
                    break_lock=self.break_lock,
                )
            except LockedError as error:
                if error.fields.get("command") != locks.PRUNING or clock.monotonic() >= until:
                    raise
            if not told:
                self.ctx.report(f"job {self.job.name} waits for '{locks.PRUNING}' to end")
                told = True
            self.cancel.check()
            clock.sleep(1)

    # --- deciding ----------------------------------------------------------------------------

    def _back_up_whatever_is_damaged(
        self, repository: Repository, location: str
    ) -> tuple[backup.SessionOutcome, Target]:
        """Back up; where nothing can be built on the present chain, in a new one."""
        try:
            return self._back_up(repository, location)
        except IntegrityError as error:
            if self.damaged or not is_damage(error):
                raise
            self.warnings.append(f"a new chain begins, for the one before is damaged: {error}")
            self.damaged = True
            return self._back_up(repository, location)

    def _back_up(
        self, repository: Repository, location: str
    ) -> tuple[backup.SessionOutcome, Target]:
        ctx, job = self.ctx, self.job
        free = repository.storage.free_bytes()
        if free is not None and free < _LEAST_FREE:
            raise StorageFullError(
                f"{location} has {free >> 20} MiB free; a session needs at least "
                f"{_LEAST_FREE >> 20} MiB",
                location=location,
                free_bytes=free,
                needed_bytes=_LEAST_FREE,
            )
        choice = ChainChoice(
            ctx,
            job,
            repository,
            full=self.full,
            old=self.old,
            warnings=self.warnings,
            damaged=self.damaged,
        )
        known = chain_rows.of_job(ctx.database, job.job_id)
        here = [row for row in known if row.repository_id == repository.repository_id]
        here.sort(key=lambda row: row.current)
        with repository.asked_for_session([row.chain_id for row in here]):
            previous = choice.newest_of_job()
            target = choice.target(previous)
        secrets: SessionSecrets | None = None
        sealed = writer.SealedKeys()
        if target.record is not None:
            secrets = SessionSecrets.generate(target.record.dedup_key, target.record.chunker_seed)
            sealed = writer.seal_keys(
                secrets, target.record.chain_key_public, target.chain.origin_id, self.session_id
            )
            # Before the first pack: whoever takes over what this session leaves needs it.
            ctx.keystore.put_metakey(target.chain.chain_id, self.session_id, secrets.metakey)
        plan = backup.SessionPlan(
            session_id=self.session_id,
            job=job.name,
            machine=socket.gethostname(),
            sources=tuple(
                backup.SourcePlan(
                    source_id=source.source_id,
                    kind=source.kind.value,
                    value=source.value,
                    arguments=source.arguments(),
                )
                for source in job.sources
            ),
            compression=Compression(_LEVELS[job.compression]),
            block_size=job.block_size,
            reason=target.text,
            secrets=secrets,
            keys=sealed,
            counter=self._next_counter(previous[1] if previous else None),
            previous=previous[0] if previous else None,
            next_due=self._next_due(),
            older=tuple(
                ref for chain_id, ref in choice.older.items() if chain_id != target.chain.chain_id
            ),
            exclude=job.exclude,
            one_file_system=job.one_file_system,
            exclude_caches=job.exclude_caches,
            own_paths=self._own_paths(location),
            damaged=damage.of_chain(ctx.database, target.chain.chain_id).blocks,
            environment={
                **os.environ,
                "STRONGROOM_JOB": job.name,
                "STRONGROOM_SESSION": self.session_id.hex(),
            },
        )
        outcome = backup.run_session(
            plan,
            target.chain,
            target.keyring,
            signer=ctx.identity,
            clock=ctx.clock,
            cache=ctx.settings.cache / target.chain.chain_id.hex(),
            give_up=lambda fresh: self._retention(target.chain.chain_id, fresh),
            confirm=self._confirm_lock,
            progress=job_lock.Beating(self.progress, self._lock),
            cancel=self.cancel,
        )
        return outcome, target

    # --- retention ---------------------------------------------------------------------------

    def _retention(self, chain_id: bytes, fresh: Sequence[backup.NewPoint]) -> frozenset[bytes]:
        """Return the points of this chain that the job's rules let go; remember the others'."""
        facts = retention.flag(
            self.ctx,
            self.job,
            [
                PointFacts(point.point_id, point.source_id, from_microseconds(point.taken_at))
                for point in fresh
            ],
        )
        self._flagged = {one.point_id: one.flagged for one in facts}
        blocked = clock_guard.removals_blocked(
            self.ctx, strict=vaults.is_immutable(self.ctx, self.job.repository)
        )
        if blocked is not None:
            self.warnings.append(f"{blocked}; {ClockJumpedError.hint}")
            return frozenset()
        self._given_up = {
            one.row.point_id: one
            for one in retention.judge(self.ctx, self.job, self.job.retention, facts)
            if not one.verdict.stays
        }
        return frozenset(
            point_id for point_id, one in self._given_up.items() if one.row.chain_id == chain_id
        )

    def _confirm_lock(self) -> None:
        """Go on if nobody has taken the job's lock away meanwhile."""
        if self._lock is not None:
            self._lock.confirm()

    def _retire_elsewhere(self, repository_chain: Chain) -> None:
        """Take promises back in the job's other chains, which expire alone."""
        by_chain: dict[bytes, list[bytes]] = {}
        for point_id, one in self._given_up.items():
            if one.row.chain_id != repository_chain.chain_id:
                by_chain.setdefault(one.row.chain_id, []).append(point_id)
        for chain_id, point_ids in by_chain.items():
            try:
                chain = Chain(repository_chain.storage, chain_id)
                if chain.signs_as(self.ctx.identity.public) is None:
                    # Of before the keystore was lost: nobody is left who could take it back.
                    for point_id in point_ids:
                        del self._given_up[point_id]
                    continue
                entry = promises.take_back(
                    chain, point_ids, self.ctx.identity, self.ctx.clock, "retention"
                )
            except StrongroomError as error:
                self.warnings.append(f"retention could not let points go: {error}")
                for point_id in point_ids:
                    del self._given_up[point_id]
                continue
            heads.remember(
                self.ctx.database, chain_id, entry.number, entry.hash, self.ctx.clock.now()
            )

    def _next_counter(self, newest: SessionBody | None) -> int:
        """Return the session's number, above every other that the job has had.

        The storage may hide a chain and show it again later: what is made meanwhile has to be
        newer than what comes back, for any reader.
        """
        known = jobs.counter(self.ctx.database, self.job.job_id)
        return max(known, newest.counter if newest else 0) + 1

    # --- remembering -------------------------------------------------------------------------

    def _result(self, outcome: backup.SessionOutcome, target: Target) -> SessionResult:
        self._retire_elsewhere(target.chain)
        warnings = [
            f"{os.fsencode(problem.path).decode(errors='backslashreplace')} {problem.message}"
            for problem in outcome.warnings
        ]
        warnings += [
            f"{one.source}: {one.error}" for one in outcome.results if one.error is not None
        ]
        warnings = [*self.warnings, *warnings, *self._note_damage(outcome, target)]
        return SessionResult(
            job=self.job.name,
            session=self.session_id.hex(),
            state=(SessionState.WARNING if warnings else SessionState.SUCCESS).value,
            kind="full" if target.reason else outcome.kind.name.lower(),
            reason=target.reason or (FullReason.DAMAGED.value if outcome.damage_met else ""),
            read_bytes=outcome.read_bytes,
            changed_bytes=outcome.changed_bytes,
            stored_bytes=outcome.stored_bytes,
            files=outcome.files,
            seconds=self._seconds(),
            warnings=tuple(warnings),
            points=tuple(point.hex() for point in backup.points_of(outcome.results)),
            bottleneck=self._bottleneck(outcome),
            given_up=tuple(retention.removed(self.job, one) for one in self._given_up.values()),
        )

    def _bottleneck(self, outcome: backup.SessionOutcome) -> str:
        """Return what the session waited for: storing that is limited is not a slow place."""
        waited = self.ctx.traffic.waited_seconds
        return "limit" if outcome.bottleneck == "store" and waited > 0.1 else outcome.bottleneck

    def _note_damage(self, outcome: backup.SessionOutcome, target: Target) -> list[str]:
        """Remember damage that the session met, and what it mended; return what stays."""
        database, chain_id = self.ctx.database, target.chain.chain_id
        met = {
            (slot, number)
            for error in outcome.damage_met
            if isinstance(slot := error.fields.get("slot"), int)
            and isinstance(number := error.fields.get("number"), int)
        }
        before = damage.of_chain(database, chain_id).blocks | met
        damage.add(database, chain_id, met - outcome.mended, self.ctx.clock.now())
        damage.forget(database, chain_id, outcome.mended)
        if outcome.mended:
            self.ctx.report(
                f"{counted(len(outcome.mended), 'damaged block')} of older points repaired "
                "from the source"
            )
        left = before - outcome.mended
        if not left or not outcome.gave_up_damage:
            return []
        return [
            f"{counted(len(left), 'block')} of older points stay damaged: the new point does "
            "without them, 'point list' shows who does not"
        ]

    def _seconds(self) -> float:
        return round(self.ctx.clock.monotonic() - self._begun, 3)

    def _record_start(self, record: SessionRecord) -> None:
        session_rows.insert(self.ctx.database, record)
        audit.record(
            self.ctx,
            "session.started",
            severity=Severity.INFO,
            needed=False,
            job=record.job,
            session=record.session_id.hex(),
            encrypt=str(self.job.encryption),
        )

    def _record_success(
        self,
        record: SessionRecord,
        result: SessionResult,
        target: Target,
        outcome: backup.SessionOutcome,
    ) -> None:
        ctx, job = self.ctx, self.job
        entry = outcome.entry
        finished = record.finish(
            SessionState(result.state),
            ctx.clock.now(),
            warnings=result.warnings,
            counters=SessionCounters(
                result.read_bytes,
                result.changed_bytes,
                result.stored_bytes,
                result.files,
                result.seconds,
            ),
            points=tuple(bytes.fromhex(point) for point in result.points),
        )
        with ctx.database.transaction():
            point_rows.remove_many(ctx.database, self._given_up.keys())
            point_rows.insert_many(
                ctx.database,
                [
                    point_rows.PointRow(
                        point_id=one.point_id,
                        chain_id=target.chain.chain_id,
                        job_id=job.job_id,
                        source_id=one.source.source_id,
                        session_id=self.session_id,
                        entry=entry.number,
                        kind=_kind(outcome.kind, one.details),
                        taken_at=from_microseconds(one.details.taken_at),
                        size_bytes=one.details.size_bytes,
                        stored_bytes=one.details.stored_bytes,
                        files=one.details.files,
                        held=False,
                        flagged=self._flagged.get(one.point_id),
                    )
                    for one in outcome.results
                    if one.point_id is not None and one.details is not None
                ],
            )
            heads.remember(
                ctx.database, target.chain.chain_id, entry.number, entry.hash, ctx.clock.now()
            )
            jobs.remember_counter(ctx.database, job.job_id, outcome.counter)
            session_rows.update(
                ctx.database,
                replace(
                    finished,
                    chain_id=target.chain.chain_id,
                    kind=result.kind,
                    reason=result.reason,
                ),
            )
        audit.record(
            ctx,
            "session.finished",
            severity=Severity.INFO,
            needed=False,
            job=result.job,
            session=result.session,
            state=result.state,
            kind=result.kind,
            reason=result.reason,
            given_up=[one.id for one in result.given_up],
            seconds=result.seconds,
            stored_bytes=result.stored_bytes,
            warnings=len(result.warnings),
        )

    def _record_failure(self, record: SessionRecord, error: BaseException) -> None:
        """Record why the session ended, and run the scripts that are for that."""
        cancelled = isinstance(error, CancelledError | KeyboardInterrupt)
        state = SessionState.CANCELLED if cancelled else SessionState.FAILED
        message = str(error) or type(error).__name__
        failed_scripts = [
            *(
                scripts.post(self.job, self.session_id, state, message)
                if self.reads_sources
                else ()
            ),
            *scripts.on_failure(self.job, self.session_id, state, message),
        ]
        for problem in failed_scripts:
            # The error that ended the session is what the command ends with; this it cannot carry.
            self.ctx.warn(problem)
        warnings = (*self.warnings, *failed_scripts)
        if isinstance(error, StrongroomError):
            fields = {key: str(value) for key, value in error.fields.items()}
            cause = SessionError(error.code, message, error.hint, fields)
        else:
            cause = SessionError("bug", message)
        finished = record.finish(state, self.ctx.clock.now(), error=cause, warnings=warnings)
        session_rows.update(self.ctx.database, finished)
        _record_failed(self.ctx, finished, self._seconds())

    def _close_dead_sessions(self) -> None:
        """Record sessions that ended without a word; the lock says that they do not run."""
        for dead in session_rows.running(self.ctx.database, self.job.job_id):
            finished = dead.finish(
                SessionState.FAILED,
                self.ctx.clock.now(),
                error=SessionError(
                    "session-died", "the session's process ended without saying how"
                ),
            )
            session_rows.update(self.ctx.database, finished)
            _record_failed(self.ctx, finished, None)

    def _next_due(self) -> int:
        hours = self.job.expect_every_hours
        if hours is None:
            return 0
        due: datetime = self.started_at + timedelta(hours=hours)
        return to_microseconds(due)

    def _own_paths(self, location: str) -> tuple[bytes, ...]:
        from strongroom.storage.location import local_path

        settings = self.ctx.settings
        own: list[Path] = [settings.home, settings.key_file]
        path = local_path(location)
        if path is not None:
            own.append(path)
        return tuple(os.fsencode(one) for one in own)


def _kind(session: PointKind, details: PointDetails) -> str:
    """Return what the catalog calls a point's kind."""
    if session is PointKind.SYNTHETIC_FULL:
        return "synthetic-full"
    return "incremental" if details.parent else "full"


def _record_failed(ctx: Context, record: SessionRecord, seconds: float | None) -> None:
    """Record a session that made no point; how long it took is None where nobody can say."""
    audit.record(
        ctx,
        "session.finished",
        severity=Severity.ERROR,
        outcome=Outcome.FAILED,
        needed=False,
        job=record.job,
        session=record.session_id.hex(),
        state=record.state.value,
        kind=None,
        seconds=seconds,
        stored_bytes=0,
        code=record.error.code if record.error is not None else None,
    )


def _open(ctx: Context, job: Job, row: repositories.RepositoryRow) -> Repository:
    """Return the job's repository; its lock is looked for on the way.

    Raises:
        NotARepositoryError: it is not there; a session never makes one.
        RefusedError: another one is in its place.
    """
    try:
        storage = AskedAhead(ReservingStorage(vaults.storage_of(ctx, row), KEPT_FREE))
        repository = Repository.open(storage, locks.folder(layout.job_lock(job.job_id)))
    except (NotARepositoryError, UnavailableError) as error:
        error.hint = (
            "is the disk mounted? If the repository was moved, 'strongroom repository add "
            f"{row.name} LOCATION' says where to"
        )
        raise
    if repository.repository_id != row.repository_id:
        raise RefusedError(
            f"{row.location} holds another repository than {row.name}: "
            f"{repository.repository_id.hex()[:12]} instead of {row.repository_id.hex()[:12]}",
            hint="is the right disk mounted?",
        )
    return repository
