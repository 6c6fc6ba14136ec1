"""Care of repositories: scrub and prune without keys, verify with them.

Scrub and prune run on machines that never had a key: they believe the signers that were
pinned on the command, accepted before, or are this installation's own.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import copied_clones, heads, reencryptions, synthetic_fulls
from strongroom.catalog import copies as copy_rows
from strongroom.catalog import points as point_rows
from strongroom.control import (
    audit,
    clock_guard,
    copies,
    damage,
    guarded,
    keys,
    known_chains,
    orphans,
    unfinished,
    vaults,
)
from strongroom.control.access import Access, open_reading, storage_of
from strongroom.control.traffic import Traffic
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.errors import (
    ClockJumpedError,
    IntegrityError,
    NotFoundError,
    StrongroomError,
    UnlockError,
    UnsupportedVersionError,
)
from strongroom.keystore import ChainRecord
from strongroom.model.phrases import counted
from strongroom.repository import headless
from strongroom.repository.chain import Head
from strongroom.repository.compaction import (
    CompactionPlan,
    CompactionResult,
    plan_compaction,
)
from strongroom.repository.compaction import compact as compact_chain
from strongroom.repository.page_memory import PageMemory
from strongroom.repository.prune import PrunePlan, carry_out, plan_prune
from strongroom.repository.prune import PruneResult as Pruned
from strongroom.repository.repository import Repository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.control.context import Context
    from strongroom.control.views.points import RemovedPoint
    from strongroom.control.views.repositories import Unfinished
    from strongroom.engine.points import PointView
    from strongroom.engine.progress import Progress
    from strongroom.engine.verify import VerifyReport
    from strongroom.model.floor import Floor, FloorChange
    from strongroom.repository.chain import Chain, Head, Trust
    from strongroom.repository.scrub_report import ScrubReport


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneResult:
    """What a prune did, or would do."""

    repository: str
    done: bool
    """False after a dry run."""
    plans: tuple[PrunePlan, ...]
    """One for each chain."""
    outcomes: tuple[Pruned, ...] = ()
    """What became of each plan; empty after a dry run."""
    compaction: tuple[CompactionPlan, ...] = ()
    """What there is to compact, by what the chains are now; of a dry run, before anything went."""
    compacted: tuple[CompactionResult, ...] = ()
    """What was compacted; empty after a dry run."""
    expired: tuple[RemovedPoint, ...] = ()
    """Points of removed jobs that their last rules let go, or would: plans of a dry run count
    them as kept."""
    ended: tuple[str, ...] = ()
    """Ids of chains of removed jobs that have no point any more, or would have none: all of them
    goes."""
    unfinished: tuple[Unfinished, ...] = ()
    """Chains that somebody began and did not finish, as far as they are no removal's remainder."""
    warnings: tuple[str, ...] = ()


def scrub(
    ctx: Context,
    where: str,
    *,
    signers: tuple[str, ...] = (),
    limit: str | None = None,
    every: timedelta | None = None,
    progress: Progress,
    cancel: Cancellation,
) -> ScrubReport:
    """Compare every stored byte of a repository with what was recorded of it.

    Args:
        ctx: Surroundings.
        where: Name or location of the repository.
        signers: Fingerprints to believe and no others.
        limit: How fast to read, or `none`, in place of what the repository says.
        every: Read so many packs only that each is read once in so long; all by default.
        progress: Is told how it goes.
        cancel: Stops it.

    Raises:
        InvalidInputError: limit or span is none.
        NotARepositoryError: there is none.
        CancelledError: on request.
    """
    from strongroom.control.scrub_rounds import Round
    from strongroom.repository.scrub import scrub as look_through

    ctx.traffic = Traffic.of_command(limit, cancel)
    repository = Repository.open(storage_of(ctx, where))
    remembered = every is not None or ctx.has_catalog
    part = Round(ctx, repository.repository_id, every) if remembered else None
    try:
        report = look_through(
            repository,
            keys.readers_trust(ctx, signers),
            known_heads(ctx, repository),
            unfinished=unfinished_chains(ctx, repository),
            known_points=_known_points(ctx, repository),
            sample=part,
            progress=progress,
            cancel=cancel,
        )
    except StrongroomError:
        if part is not None:
            part.keep()
        raise
    if part is not None:
        part.finish()
        report = replace(report, coverage=part.coverage())
    vaults.warn_of_hidden(ctx, where)
    damage.note_scrub(ctx, repository, report)
    audit.record(ctx, "repository.scrubbed", needed=False, repository=where)
    return report


def verify(
    ctx: Context,
    access: Access,
    *,
    which: tuple[str, ...] = (),
    limit: str | None = None,
    progress: Progress,
    cancel: Cancellation,
) -> VerifyReport:
    """Open every block that points use.

    Args:
        ctx: Surroundings.
        access: Where they are, and what opens them.
        which: Points; all that can be opened by default.
        limit: How fast to read, or `none`, in place of what the repository says.
        progress: Is told how it goes.
        cancel: Stops it.

    Raises:
        UnlockError: nothing at hand opens any of them.
        DowngradedError: one is plain, and a secret was given.
        StrongroomError: a chain is damaged or not to be believed.
    """
    from strongroom.engine.verify import verify as open_all

    ctx.traffic = Traffic.of_command(limit, cancel)
    reading = open_reading(ctx, access, unseen=True)
    views: list[PointView]
    if which:
        views = list({view.point_id: view for view in map(reading.select, which)}.values())
        for view in views:
            reading.check_whole(view)
    else:
        reading.check()
        views = [
            view for view in reading.points if view.details is not None and not reading.needs(view)
        ]
        if reading.points and not views:
            raise UnlockError(
                f"none of {counted(len(reading.points), 'point')} opens whole with what is at hand",
                hint="give each secret with --password-file, --kms or --recovery-key; 'point list' "
                "says which are needed",
            )
        reading.refuse_plain(views)
    for warning in reading.warnings:
        ctx.report(warning)
    report = open_all(views, progress=progress, cancel=cancel)
    damage.note_verify(ctx, views, report)
    if not access.expects_sealed:
        _withhold_names(ctx, views, report)
    audit.record(
        ctx, "points.verified", needed=False, points=[view.id for view in views], ok=report.ok
    )
    return report


def _withhold_names(ctx: Context, views: list[PointView], report: VerifyReport) -> None:
    """Take the paths of guarded jobs out of a report that nobody gave a secret for."""
    closed = {view.id for view in views if guarded.is_guarded(ctx, view.chain)}
    for one in report.damaged:
        if not closed.isdisjoint(one.points):
            one.paths.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactResult:
    """What a compaction did, or would do."""

    repository: str
    done: bool
    """False after a dry run."""
    plans: tuple[CompactionPlan, ...]
    """One for each chain."""
    outcomes: tuple[CompactionResult, ...] = ()
    """What became of each plan; empty after a dry run."""
    warnings: tuple[str, ...] = ()


def compact(
    ctx: Context,
    where: str,
    *,
    dead_share: float | None = None,
    dry_run: bool = False,
    signers: tuple[str, ...] = (),
    progress: Progress,
    cancel: Cancellation,
) -> CompactResult:
    """Give back the space of dead blocks in packs that live, by moving what is sealed.

    Chains whose signer is not believed are left alone.

    Args:
        ctx: Surroundings.
        where: The repository.
        dead_share: How much of a pack has to be dead for it to be rewritten, from 0 to 1; a
            third where nothing is said.
        dry_run: Only say what would be done.
        signers: Whose chains to believe, where that is not known here.
        progress: Is told how it goes.
        cancel: Stops it between two packs.
    """
    vaults.refuse_compaction(ctx, where)
    repository = Repository.open(storage_of(ctx, where))
    warnings: list[str] = []
    plans: list[CompactionPlan] = []
    outcomes: list[CompactionResult] = []
    for chain in _cared_for(ctx, repository, signers, warnings):
        with _left_alone(chain.name, warnings):
            plan = plan_compaction(chain, dead_share)
            plans.append(plan)
            if not dry_run:
                outcomes.append(_compacted(ctx, chain, plan, progress, cancel, warnings))
    if not dry_run:
        audit.record(
            ctx,
            "repository.compacted",
            needed=False,
            repository=where,
            packs=sum(one.packs for one in outcomes),
            freed_bytes=sum(one.freed_bytes for one in outcomes),
        )
    return CompactResult(
        repository=where,
        done=not dry_run,
        plans=tuple(plans),
        outcomes=tuple(outcomes),
        warnings=tuple(warnings),
    )


def _compacted(
    ctx: Context,
    chain: Chain,
    plan: CompactionPlan,
    progress: Progress,
    cancel: Cancellation,
    warnings: list[str],
) -> CompactionResult:
    done = compact_chain(chain, plan, ctx.clock, progress, cancel)
    warnings.extend(done.problems)
    if done.left is not None:
        warnings.append(f"chain {chain.name} is left alone: {done.left}")
    return done


def _cared_for(
    ctx: Context, repository: Repository, signers: tuple[str, ...], warnings: list[str]
) -> Iterator[Chain]:
    """Yield the chains whose signer is believed, compared with what is known of them.

    What tells that a chain is over goes after it: a newer chain of its job. Of those that have
    ended by themselves the newest comes first, for the others wait until it no longer names them.
    """
    believed = keys.readers_trust(ctx, signers)
    known = known_heads(ctx, repository)
    found: list[Chain] = []
    for chain_id in repository.chain_ids():
        with _left_alone(chain_id.hex()[:12], warnings):
            found.append(repository.chain(chain_id))
    ended: list[Chain] = []
    for chain in sorted(found, key=lambda one: (one.header.created_at, one.chain_id)):
        with _left_alone(chain.name, warnings):
            if not _may_prune(chain, believed, known, warnings):
                continue
            if not chain.ended:
                yield chain
                continue
            ended.append(chain)
    yield from reversed(ended)


def _prune_plans(
    ctx: Context,
    repository: Repository,
    signers: tuple[str, ...],
    least: Floor,
    warnings: list[str],
) -> Iterator[tuple[Chain, PrunePlan]]:
    """Yield what may go from each chain that is cared for."""
    quarantine = timedelta(hours=ctx.settings.quarantine_hours)
    for chain in _cared_for(ctx, repository, signers, warnings):
        with _left_alone(chain.name, warnings), _remembering(ctx, chain):
            yield chain, plan_prune(repository, chain, ctx.clock, quarantine, least)


@contextmanager
def _remembering(ctx: Context, chain: Chain) -> Iterator[None]:
    """Let a chain keep what is read of it, so that the next prune reads what is new."""
    if not ctx.has_catalog:
        yield
        return
    with PageMemory.at(ctx.settings.cache / chain.chain_id.hex() / "pages") as memory:
        chain.memory = memory
        try:
            yield
        finally:
            chain.memory = None


@contextmanager
def _left_alone(name: str, warnings: list[str]) -> Iterator[None]:
    """Go on with the others where one chain is damaged, or was removed since it was listed."""
    try:
        yield
    except NotFoundError:
        pass
    except (IntegrityError, UnsupportedVersionError) as error:
        warnings.append(f"chain {name} is left alone: {error}")


def prune(
    ctx: Context,
    where: str,
    *,
    dry_run: bool = False,
    signers: tuple[str, ...] = (),
    floor: FloorChange | None = None,
    keep_floor: bool = False,
    compacting: bool = True,
    drop_unfinished: bool = False,
    progress: Progress | None = None,
    cancel: Cancellation | None = None,
) -> PruneResult:
    """Remove what no promised point needs: condemn it first, delete it after the quarantine.

    Points of removed jobs are judged first. Chains whose signer is not believed are left alone.
    What is dead in packs that stay is given back as well.

    Args:
        ctx: Surroundings.
        where: Name or location of the repository.
        dry_run: Say what may go, and nothing more.
        signers: Fingerprints to believe, and nobody else.
        floor: What stays although it is given up; the one that is remembered by default.
        keep_floor: Remember it, where there is a catalog.
        compacting: Whether to give dead blocks back, too.
        drop_unfinished: Nothing is being written or copied there: what was begun and not
            finished goes at once.
        progress: Is told how compaction goes.
        cancel: Stops it.

    Raises:
        ClockJumpedError: everything that goes here goes by the clock.
    """
    progress = progress or NullProgress()
    cancel = cancel or Cancellation()
    repository = Repository.open(storage_of(ctx, where))
    least = copies.floor_of(ctx, repository)
    if floor is not None:
        least = floor.of(least)
        # Before anything is decided: it holds also where there is nothing to remove now.
        if keep_floor and ctx.has_catalog:
            copies.set_floor(ctx, repository, where, floor)
    # What a vault keeps would only be stored once more beside it.
    compacting = compacting and not vaults.is_immutable(ctx, where)
    plans: list[PrunePlan] = []
    outcomes: list[Pruned] = []
    compaction: list[CompactionPlan] = []
    compacted: list[CompactionResult] = []
    warnings: list[str] = []
    if floor is not None and not ctx.has_catalog:
        warnings.append(copies.FLEETING)
    expired: tuple[RemovedPoint, ...] = ()
    ended: tuple[str, ...] = ()
    if ctx.has_catalog:
        blocked = clock_guard.removals_blocked(ctx, strict=vaults.is_immutable(ctx, where))
        if blocked is not None and not dry_run:
            raise ClockJumpedError(blocked)
        if blocked is not None:
            warnings.append(blocked)
        expired, ended = orphans.expire(ctx, repository, warnings, dry_run=dry_run)
    for chain, plan in _prune_plans(ctx, repository, signers, least, warnings):
        chain_id = chain.chain_id
        plans.append(_shown(plan))
        if dry_run and compacting and not plan.whole_chain:
            compaction.append(plan_compaction(chain))
        if plan.spared_points:
            warnings.append(
                f"chain {chain.name}: its signer gave up "
                f"{counted(len(plan.spared_points), 'point')} that the floor keeps here; if "
                "nobody meant that, look at the server that signs. 'strongroom point list "
                f"--repository {where} --given-up' shows them"
            )
        if dry_run:
            continue
        outcome = carry_out(plan, ctx.identity if ctx.has_catalog else None)
        outcomes.append(outcome)
        if outcome.left is not None:
            warnings.append(f"chain {chain.name} is left alone: {outcome.left}")
        if plan.whole_chain and ctx.has_catalog and chain_id not in repository.chain_ids():
            copy_rows.forget(ctx.database, repository.repository_id, chain_id)
            row = chain_rows.find(ctx.database, chain_id)
            if row is not None and row.repository_id != repository.repository_id:
                continue  # a copy: the original is where it was, and needs its keys
            _forget(ctx, chain)
            continue
        if ctx.has_catalog and outcome.removed:
            damage.forget_unused(ctx, chain)
        if compacting and not plan.whole_chain:
            with _left_alone(chain.name, warnings):
                dead = plan_compaction(chain)
                compaction.append(dead)
                if dead.packs or dead.leftovers:
                    compacted.append(_compacted(ctx, chain, dead, progress, cancel, warnings))
    found = headless.find(repository)
    begun: list[Unfinished] = []
    if ctx.has_catalog:
        begun = unfinished.look(ctx, repository, found, drop=drop_unfinished)
    if not dry_run:
        unfinished.remove(repository, found, begun)
        audit.record(
            ctx,
            "repository.pruned",
            needed=False,
            repository=where,
            chains=len(plans),
            removed=sum(one.removed for one in outcomes),
            given_up=len(expired),
        )
    return PruneResult(
        repository=where,
        done=not dry_run,
        plans=tuple(plans),
        outcomes=tuple(outcomes),
        compaction=tuple(compaction),
        compacted=tuple(compacted),
        expired=expired,
        ended=ended,
        unfinished=tuple(begun),
        warnings=tuple(warnings),
    )


def _forget(ctx: Context, chain: Chain) -> None:
    """Forget a chain that was removed on purpose.

    Nobody is to take it for withheld, and no key of it is of use.
    """
    ctx.keystore.delete(ChainRecord, chain.chain_id.hex())
    shutil.rmtree(ctx.settings.cache / chain.chain_id.hex(), ignore_errors=True)
    with ctx.database.transaction():
        chain_rows.remove(ctx.database, chain.chain_id)
        copied_clones.remove(ctx.database, chain.chain_id)
        heads.forget(ctx.database, chain.chain_id)
        orphans.settle(ctx, chain.header.job_id)


def _shown(plan: PrunePlan) -> PrunePlan:
    """Return what a plan says, without what it needs to be carried out."""
    return PrunePlan(**{field.name: getattr(plan, field.name) for field in fields(PrunePlan)})


def _may_prune(
    chain: Chain, believed: Trust, known: dict[bytes, Head], warnings: list[str]
) -> bool:
    if not believed.knows(chain.identity):
        warnings.append(
            f"chain {chain.name} is left alone: its signer {chain.identity.fingerprint} is not "
            "believed here; pin it with --signer, or accept it once with 'strongroom repository "
            "trust'"
        )
        return False
    head = known.get(chain.chain_id)
    if head is not None:
        # Deciding by an older state would remove what newer points need.
        chain.check_head(head)
    return True


def unfinished_chains(ctx: Context, repository: Repository) -> frozenset[bytes]:
    """Return the chains of a repository whose header is still to come: re-encryption makes them."""
    if not ctx.has_catalog:
        return frozenset()
    of = repository.repository_id
    reencrypted = {row.chain_id for row in reencryptions.of_repository(ctx.database, of)}
    made = {row.chain_id for row in synthetic_fulls.of_repository(ctx.database, of)}
    return frozenset(reencrypted | made)


def _known_points(ctx: Context, repository: Repository) -> dict[bytes, dict[int, list[str]]]:
    """Return the ids of points by chain and entry, as the catalog has them."""
    found: dict[bytes, dict[int, list[str]]] = {}
    for chain_id in repository.chain_ids() if ctx.has_catalog else ():
        entries = found.setdefault(chain_id, {})
        for row in point_rows.of_chain(ctx.database, chain_id):
            entries.setdefault(row.entry, []).append(row.point_id.hex())
    return found


def known_heads(ctx: Context, repository: Repository) -> dict[bytes, Head]:
    """Return the newest entry that this server has seen of each chain of a repository."""
    if not ctx.has_catalog:
        return {}
    found: dict[bytes, Head] = {}
    for chain_id in repository.chain_ids():
        head = known_chains.seen_of(ctx, repository.repository_id, chain_id)
        if head is not None:
            found[chain_id] = head
    return found
