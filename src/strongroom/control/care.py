"""Care of repositories: scrub and prune without keys, verify with them.

Scrub and prune run on machines that never had a key: they believe the signers that were
pinned on the command, accepted before, or are this installation's own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import heads, reencryptions
from strongroom.control import audit, damage, guarded, keys
from strongroom.control.access import Access, open_reading, storage_of
from strongroom.errors import IntegrityError, NotFoundError, UnlockError, UnsupportedVersionError
from strongroom.keystore import ChainRecord
from strongroom.model.phrases import counted
from strongroom.repository.chain import Head
from strongroom.repository.prune import PrunePlan, carry_out, plan_prune, remove_leftovers
from strongroom.repository.prune import PruneResult as Pruned
from strongroom.repository.repository import Repository

if TYPE_CHECKING:
    from strongroom.control.context import Context
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.points import PointView
    from strongroom.engine.progress import Progress
    from strongroom.engine.verify import VerifyReport
    from strongroom.repository.chain import Chain, Trust
    from strongroom.repository.scrub import ScrubReport


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
    warnings: tuple[str, ...] = ()


def scrub(
    ctx: Context,
    where: str,
    *,
    signers: tuple[str, ...] = (),
    progress: Progress,
    cancel: Cancellation,
) -> ScrubReport:
    """Compare every stored byte of a repository with what was recorded of it.

    Raises:
        NotARepositoryError: there is none.
        CancelledError: on request.
    """
    from strongroom.repository.scrub import scrub as look_through

    repository = Repository.open(storage_of(ctx, where))
    report = look_through(
        repository,
        keys.readers_trust(ctx, signers),
        known_heads(ctx, repository),
        unfinished=unfinished_chains(ctx, repository),
        progress=progress,
        cancel=cancel,
    )
    damage.note_scrub(ctx, repository, report)
    audit.record(ctx, "repository.scrubbed", needed=False, repository=where)
    return report


def verify(
    ctx: Context,
    access: Access,
    *,
    which: tuple[str, ...] = (),
    progress: Progress,
    cancel: Cancellation,
) -> VerifyReport:
    """Open every block that points use.

    Args:
        ctx: Surroundings.
        access: Where they are, and what opens them.
        which: Points; all that can be opened by default.
        progress: Is told how it goes.
        cancel: Stops it.

    Raises:
        UnlockError: nothing at hand opens any of them.
        DowngradedError: one is plain, and a secret was given.
        StrongroomError: a chain is damaged or not to be believed.
    """
    from strongroom.engine.verify import verify as open_all

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


def prune(
    ctx: Context, where: str, *, dry_run: bool = False, signers: tuple[str, ...] = ()
) -> PruneResult:
    """Remove what no promised point needs: condemn it first, delete it after the quarantine.

    Chains whose signer is not believed are left alone.
    """
    repository = Repository.open(storage_of(ctx, where))
    believed = keys.readers_trust(ctx, signers)
    known = known_heads(ctx, repository)
    quarantine = timedelta(hours=ctx.settings.quarantine_hours)
    plans: list[PrunePlan] = []
    outcomes: list[Pruned] = []
    warnings: list[str] = []
    for chain_id in repository.chain_ids():
        try:
            chain = repository.chain(chain_id)
            if not _may_prune(chain, believed, known, warnings):
                continue
            plan = plan_prune(repository, chain, ctx.clock, quarantine)
        except NotFoundError:
            continue  # removed since it was listed
        except (IntegrityError, UnsupportedVersionError) as error:
            # One chain that is damaged does not keep the others from being cared for.
            warnings.append(f"chain {chain_id.hex()[:12]} is left alone: {error}")
            continue
        plans.append(_shown(plan))
        if dry_run:
            continue
        outcome = carry_out(plan, ctx.identity if ctx.has_catalog else None)
        outcomes.append(outcome)
        if outcome.left is not None:
            warnings.append(f"chain {chain.name} is left alone: {outcome.left}")
        if plan.whole_chain and ctx.has_catalog and chain_id not in repository.chain_ids():
            # Removed on purpose: nobody is to take it for withheld, and no key of it is of use.
            ctx.keystore.delete(ChainRecord, chain_id.hex())
            chain_rows.remove(ctx.database, chain_id)
            heads.forget(ctx.database, chain_id)
        elif ctx.has_catalog and outcome.removed:
            damage.forget_unused(ctx, chain)
    if not dry_run:
        remove_leftovers(repository)
    if not dry_run:
        audit.record(
            ctx,
            "repository.pruned",
            needed=False,
            repository=where,
            chains=len(plans),
            removed=sum(one.removed for one in outcomes),
        )
    return PruneResult(
        repository=where,
        done=not dry_run,
        plans=tuple(plans),
        outcomes=tuple(outcomes),
        warnings=tuple(warnings),
    )


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
    rows = reencryptions.of_repository(ctx.database, repository.repository_id)
    return frozenset(row.chain_id for row in rows)


def known_heads(ctx: Context, repository: Repository) -> dict[bytes, Head]:
    """Return the newest entry that this server has seen of each chain of a repository."""
    if not ctx.has_catalog:
        return {}
    found: dict[bytes, Head] = {}
    for chain_id in repository.chain_ids():
        head = heads.get(ctx.database, chain_id)
        if head is not None:
            found[chain_id] = Head(chain_id, *head)
    return found
