"""Copies of chains in other repositories, made without any key.

What is copied is ciphertext as it is, under the same chain id: `repository.mirror` says how. So
any machine may do it that believes the signer. Where there is a catalog, it remembers what each
copy has, and a copy that lags behind its original is not taken for one that was set back.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import copies as copy_rows
from strongroom.catalog import jobs, repositories
from strongroom.control import audit, keys, known_chains, vaults
from strongroom.control.access import location_of, storage_of
from strongroom.control.traffic import Traffic
from strongroom.errors import (
    CancelledError,
    ConflictError,
    IntegrityError,
    InvalidInputError,
    LockedError,
    NotARepositoryError,
    NotFoundError,
    ObjectExistsError,
    PointWithheldError,
    StrongroomError,
    UnavailableError,
    UnsupportedVersionError,
)
from strongroom.format.journal import SessionBody
from strongroom.model.floor import Floor
from strongroom.model.phrases import counted
from strongroom.repository import configuration, layout
from strongroom.repository.mirror import CopiedChain, carry_out, plan_mirror
from strongroom.repository.repository import Repository
from strongroom.storage.location import is_location, normalise
from strongroom.storage.reserving import KEPT_FREE, ReservingStorage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from strongroom.control.context import Context
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.progress import Progress
    from strongroom.model.floor import FloorChange
    from strongroom.repository.chain import Chain


FLEETING: Final = (
    "nothing is set up here, so the floor holds for this command only: 'strongroom repository "
    "add' makes a home that remembers it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyProblem:
    """A chain that was not copied."""

    chain: str
    code: str
    message: str
    hint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    """What a copy did, or would do."""

    source: str
    target: str
    done: bool
    """False after a dry run."""
    created: bool
    """Whether the target was made a repository."""
    chains: tuple[CopiedChain, ...]
    problems: tuple[CopyProblem, ...]
    configurations: int
    """Configuration backups that travelled."""
    warnings: tuple[str, ...]

    @property
    def error(self) -> StrongroomError | None:
        """Return why not all is at the target now; None if it is."""
        damaged = sum(len(one.damaged) for one in self.chains)
        if not (damaged or self.problems):
            return None
        told = [
            *(
                [f"{counted(damaged, 'object')} at the source not what was signed"]
                if damaged
                else []
            ),
            *(one.message for one in self.problems),
        ]
        kind: type[StrongroomError] = IntegrityError
        if not damaged and all(one.code == LockedError.code for one in self.problems):
            kind = LockedError
        return kind(
            f"not all of {self.source} was copied to {self.target}: {'; '.join(told)}",
            hint=next((one.hint for one in self.problems if one.hint), None)
            or "what is whole was copied; 'strongroom repository scrub' says more of the source",
        )


def copy(
    ctx: Context,
    source: str,
    target: str,
    *,
    jobs_named: Sequence[str] = (),
    signers: tuple[str, ...] = (),
    create: bool = False,
    dry_run: bool = False,
    check: bool = False,
    with_config: bool = False,
    floor: FloorChange | None = None,
    limit: str | None = None,
    progress: Progress,
    cancel: Cancellation,
) -> CopyResult:
    """Bring to one repository what it lacks of another's chains.

    A chain that is not to be believed, or whose job somebody is at work on at the target, is left
    alone and told of; the others are copied.

    Args:
        ctx: Surroundings; a catalog is used where there is one.
        source: Name or location.
        target: Name or location.
        jobs_named: Names of jobs of the catalog, or ids of jobs or their beginnings; all by
            default.
        signers: Fingerprints to believe, and nobody else.
        create: Make the target a repository if it is an empty place.
        dry_run: Say what would travel, and nothing more.
        check: Read what the target has already, too, and replace what is damaged.
        with_config: Copy configuration backups as well.
        floor: What the keeper of the target never goes under from now on.
        limit: How fast to read and to write; by default as the repositories say.
        progress: Is told how it goes.
        cancel: Stops it; what arrived is not sent again.

    Raises:
        NotARepositoryError: there is none.
        InvalidInputError: the limit is none.
        ConflictError: both are the same place.
        NotFoundError: nothing of the jobs named is there.
        StorageUnavailableError, StorageFullError: one end did not answer, or is full.
        CancelledError: on request.
    """
    ctx.traffic = Traffic.of_command(limit, cancel)
    return bring(
        ctx,
        source,
        target,
        jobs_named=jobs_named,
        signers=signers,
        create=create,
        dry_run=dry_run,
        check=check,
        with_config=with_config,
        floor=floor,
        progress=progress,
        cancel=cancel,
    )


def bring(
    ctx: Context,
    source: str,
    target: str,
    *,
    jobs_named: Sequence[str] = (),
    signers: tuple[str, ...] = (),
    create: bool = False,
    dry_run: bool = False,
    check: bool = False,
    with_config: bool = False,
    floor: FloorChange | None = None,
    progress: Progress,
    cancel: Cancellation,
) -> CopyResult:
    """Do what `copy` does, under the limits that hold already."""
    if normalise(location_of(ctx, source)) == normalise(location_of(ctx, target)):
        raise ConflictError(f"{source} and {target} are the same place")
    origin = Repository.open(storage_of(ctx, source))
    destination, created = _destination(ctx, target, create=create, dry_run=dry_run)
    least = floor_of(ctx, destination)
    least = least if floor is None else floor.of(least)
    work = _Copying(ctx, origin, destination, source, target, signers, check, least)
    chains = list(work.chains(_job_ids(ctx, jobs_named)))
    if jobs_named and not chains and not work.problems:
        raise NotFoundError(
            f"{source} has no chain of {', '.join(jobs_named)}",
            hint="'strongroom repository show' lists what is there",
        )
    for chain in chains:
        cancel.check()
        work.copy(chain, dry_run=dry_run, progress=progress, cancel=cancel)
    configurations = work.copy_configurations(dry_run=dry_run) if with_config else 0
    if floor is not None and ctx.has_catalog and not dry_run:
        set_floor(ctx, destination, target, floor)
    elif floor is not None and not dry_run:
        work.warnings.append(FLEETING)
    result = CopyResult(
        source=source,
        target=target,
        done=not dry_run,
        created=created,
        chains=tuple(work.copied),
        problems=tuple(work.problems),
        configurations=configurations,
        warnings=tuple(work.warnings),
    )
    if not dry_run:
        audit.record(
            ctx,
            "repository.copied",
            needed=False,
            repository=source,
            target=target,
            chains=[one.chain for one in result.chains],
            objects=sum(one.objects for one in result.chains),
            problems=len(result.problems),
        )
    return result


def floor_of(ctx: Context, repository: Repository) -> Floor:
    """Return what the keeper of a repository said that it never goes under."""
    if not ctx.has_catalog:
        return Floor()
    return copy_rows.floor(ctx.database, repository.repository_id)


def set_floor(ctx: Context, repository: Repository, where: str, change: FloorChange) -> None:
    """Remember what the keeper of a repository never goes under."""
    floor = change.of(floor_of(ctx, repository))
    with ctx.database.transaction():
        copy_rows.set_floor(ctx.database, repository.repository_id, floor)
        audit.record(
            ctx, "repository.floor", repository=where, points=floor.points, days=floor.days
        )


def _destination(
    ctx: Context, target: str, *, create: bool, dry_run: bool
) -> tuple[Repository, bool]:
    """Return the repository to copy to, made if that was asked for."""
    location = location_of(ctx, target)
    try:
        return Repository.open(ReservingStorage(ctx.storage(location), KEPT_FREE)), False
    except (NotARepositoryError, UnavailableError) as error:
        if create and is_location(target) and not dry_run:
            storage = ReservingStorage(ctx.storage(location, create=True), KEPT_FREE)
            return Repository.create(storage, ctx.clock), True
        if not create:
            error.hint = "--create makes an empty place a repository; is the right disk mounted?"
        raise


def _job_ids(ctx: Context, named: Sequence[str]) -> list[str] | None:
    """Return the beginnings of the ids of the jobs named; None where all are meant."""
    if not named:
        return None
    found: list[str] = []
    for name in named:
        job = jobs.find(ctx.database, name) if ctx.has_catalog else None
        if job is not None:
            found.append(job.job_id.hex())
        elif len(name) >= 4 and not name.lower().strip("0123456789abcdef"):
            found.append(name.lower())
        else:
            raise InvalidInputError(
                f"{name!r} is no job of the catalog, and no id of one",
                hint="'strongroom repository show' shows the ids of the jobs in a repository",
            )
    return found


class _Copying:
    """One copy of a repository under way."""

    def __init__(
        self,
        ctx: Context,
        origin: Repository,
        destination: Repository,
        source: str,
        target: str,
        signers: tuple[str, ...],
        check: bool,
        floor: Floor,
    ) -> None:
        self._ctx = ctx
        self._origin = origin
        self._destination = destination
        self._source = source
        self._target = target
        self._check = check
        self._floor = floor
        self._trust = keys.readers_trust(ctx, signers)
        self._named: set[bytes] = set()
        """Chains that newer ones of their jobs name."""
        self.copied: list[CopiedChain] = []
        self.problems: list[CopyProblem] = []
        self.warnings: list[str] = []

    def chains(self, job_ids: Sequence[str] | None) -> Iterator[Chain]:
        """Yield the source's chains, oldest first: newer ones name older ones."""
        found: list[Chain] = []
        present = self._origin.chain_ids()
        for chain_id in present:
            try:
                chain = self._origin.chain(chain_id)
            except NotFoundError:
                continue  # removed since it was listed
            except (IntegrityError, UnsupportedVersionError) as error:
                self._problem(chain_id, error)
                continue
            job_id = chain.header.job_id.hex()
            if job_ids is None or any(job_id.startswith(one) for one in job_ids):
                found.append(chain)
        found.sort(key=lambda chain: (chain.header.created_at, chain.chain_id))
        counters = {chain.chain_id: _counter(chain) for chain in found}
        for chain in found:
            self._look_for_older(chain, counters, present)
        yield from found

    def _look_for_older(
        self, chain: Chain, counters: Mapping[bytes, int], present: Sequence[bytes]
    ) -> None:
        """See which chains the newest session names, and tell of those that are kept back."""
        if not self._trust.knows(chain.founder) and not self._is_believed(chain):
            return
        with suppress(IntegrityError, UnsupportedVersionError):
            newest = chain.newest_session
            body = newest.body if newest is not None else None
            for ref in body.older if isinstance(body, SessionBody) else ():
                if counters.get(ref.chain_id, 0) < counters[chain.chain_id]:
                    self._named.add(ref.chain_id)
                if ref.chain_id not in present:
                    error = PointWithheldError(
                        f"chain {ref.chain_id.hex()[:12]}, which the newest session of chain "
                        f"{chain.name} says is there, is not",
                        hint="the source withholds or lost it; another copy may have it",
                    )
                    self._problem(ref.chain_id, error)

    def _is_believed(self, chain: Chain) -> bool:
        try:
            return self._trust.knows(chain.identity)
        except (IntegrityError, UnsupportedVersionError):
            return False

    def copy(
        self, chain: Chain, *, dry_run: bool, progress: Progress, cancel: Cancellation
    ) -> None:
        """Copy one chain; what is wrong with it is noted, and keeps nobody from the others."""
        ctx, trust = self._ctx, self._trust
        vaults.refuse_plain_copy(ctx, self._destination, chain)
        known = known_chains.seen_of(ctx, self._origin.repository_id, chain.chain_id)
        try:
            plan = plan_mirror(
                chain,
                self._destination,
                trust,
                known=known,
                named=chain.chain_id in self._named,
                check=self._check,
                keeps_ways=not self._floor.nothing,
                progress=progress,
                cancel=cancel,
            )
            if plan is None:
                return
            if plan.kept_ways:
                self.warnings.append(
                    f"chain {chain.name} was re-wrapped at the source, and stays open here to whom "
                    "it was: the floor keeps that, too. If it is meant that somebody is shut out, "
                    "copy once with --keep-at-least-points 0 --keep-at-least-days 0, and set the "
                    "floor again"
                )
            if dry_run:
                self.copied.append(plan.outcome(done=False))
                return
            result = carry_out(
                plan,
                trust,
                ctx.clock,
                declare=not self._is_home(chain),
                progress=progress,
                cancel=cancel,
            )
        except (CancelledError, ObjectExistsError):
            raise
        except (IntegrityError, UnsupportedVersionError, NotFoundError, LockedError) as error:
            self._problem(chain.chain_id, error)
            return
        self.copied.append(result)
        self._remember(chain, result)
        self.warnings += vaults.after_copy(ctx, self._destination, chain.chain_id)

    def _is_home(self, chain: Chain) -> bool:
        """Tell whether the target is where the catalog has this chain: a copy mends it then."""
        if not self._ctx.has_catalog:
            return False
        row = chain_rows.find(self._ctx.database, chain.chain_id)
        return row is not None and row.repository_id == self._destination.repository_id

    def _remember(self, chain: Chain, result: CopiedChain) -> None:
        ctx = self._ctx
        if not ctx.has_catalog:
            return
        copied = self._destination.chain(chain.chain_id)
        head = copied.head()
        known_chains.remember_head(ctx, copied)
        if head is None or self._is_home(chain):
            return
        location = normalise(location_of(ctx, self._target))
        row = copy_rows.CopyRow(
            repository_id=self._destination.repository_id,
            chain_id=chain.chain_id,
            location=location,
            number=head.number,
            entry_hash=head.entry_hash,
            copied_at=ctx.clock.now(),
        )
        hurt = {point for one in result.damaged for point in one.points}
        points = [bytes.fromhex(point) for point in result.points if point not in hurt]
        copy_rows.remember(ctx.database, row, points)

    def copy_configurations(self, *, dry_run: bool) -> int:
        """Copy the configuration backups that the target lacks; return how many."""
        count = 0
        for info in self._origin.storage.list(layout.CONFIGURATIONS):
            key = info.key
            if layout.configuration_of(key) is None or self._destination.storage.exists(key):
                continue
            try:
                data, problem = configuration.checked(self._origin.storage, key)
            except UnsupportedVersionError as error:
                data, problem = b"", str(error)
            if problem is not None:
                self.warnings.append(f"{key} is not copied: {problem}")
                continue
            count += 1
            if not dry_run:
                self._destination.storage.put(key, data)
        return count

    def _problem(self, chain_id: bytes, error: StrongroomError) -> None:
        self.problems.append(
            CopyProblem(chain=chain_id.hex(), code=error.code, message=str(error), hint=error.hint)
        )


def _counter(chain: Chain) -> int:
    """Return the number of a chain's newest session among all of its job; 0 if none can be read."""
    with suppress(IntegrityError, UnsupportedVersionError):
        newest = chain.newest_session
        if newest is not None and isinstance(newest.body, SessionBody):
            return newest.body.counter
    return 0


def repository_name(ctx: Context, row: copy_rows.CopyRow) -> str:
    """Return what a copy's repository is called here; its place where it has no name."""
    known = repositories.by_id(ctx.database, row.repository_id)
    return known.name if known is not None else row.location
