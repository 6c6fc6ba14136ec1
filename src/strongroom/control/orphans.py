"""Chains of jobs that were removed: they expire by the job's last rules.

Nobody goes on in them, so no newest points stay because they are the last ones. What the rules
let go is taken back by an entry of this server, as sessions do for a job that runs; the entry
that takes the last promise back ends the chain, and prune removes all of it.

Asked by prune, which is what runs by itself where no session does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import heads, removed_jobs
from strongroom.catalog import points as point_rows
from strongroom.control import audit, keys, known_chains, retention
from strongroom.errors import NotFoundError, RefusedError, StrongroomError
from strongroom.repository.promises import retire

if TYPE_CHECKING:
    from strongroom.catalog.removed_jobs import RemovedJob
    from strongroom.control.context import Context
    from strongroom.control.views.points import RemovedPoint
    from strongroom.repository.repository import Repository


def expire(
    ctx: Context, repository: Repository, warnings: list[str], *, dry_run: bool
) -> tuple[tuple[RemovedPoint, ...], tuple[str, ...]]:
    """Give up what the last rules of removed jobs no longer keep in a repository.

    Args:
        ctx: Surroundings.
        repository: Where.
        warnings: Is told which chains are left as they are, and why.
        dry_run: Says what would go, and nothing more.

    Returns:
        The points that are given up, and the ids of the chains that end.
    """
    gone: list[RemovedPoint] = []
    ended: list[str] = []
    for left in removed_jobs.all_rows(ctx.database):
        here = {
            row.chain_id
            for row in chain_rows.of_job(ctx.database, left.job_id)
            if row.repository_id == repository.repository_id
        }
        judged = retention.judge_left(ctx, left, here)
        for chain_id in here:
            own = [one for one in judged if one.row.chain_id == chain_id]
            lapsed = [one for one in own if not one.verdict.stays]
            if own and not lapsed:
                continue
            try:
                if _give_up(ctx, repository, left, chain_id, lapsed, dry_run=dry_run):
                    ended.append(chain_id.hex())
            except NotFoundError:
                continue  # it is not there any longer
            except StrongroomError as error:
                warnings.append(
                    f"chain {chain_id.hex()[:12]} of removed job {left.name} does not expire: "
                    f"{error}"
                )
                continue
            gone += [retention.removed(left, one) for one in lapsed]
    return tuple(gone), tuple(ended)


def _give_up(
    ctx: Context,
    repository: Repository,
    left: RemovedJob,
    chain_id: bytes,
    lapsed: list[retention.Judged],
    *,
    dry_run: bool,
) -> bool:
    """Publish that points are given up, and that the chain has ended if they were the last.

    Returns:
        Whether the chain ends by it.

    Raises:
        NotFoundError: the chain is not there.
        RefusedError: another server signs it: its readers would not believe the entry.
        IntegrityError: it is not what this server has seen of it.
    """
    chain = repository.chain(chain_id)
    known_chains.compare_with_seen(ctx, chain)
    live = {one.point.point_id for one in chain.live_points()}
    ids = [one.row.point_id for one in lapsed]
    given_up = [one for one in ids if one in live]
    ends = bool(chain.listing) and not chain.ended and live <= {*given_up}
    if given_up or ends:
        own = keys.known_identity(ctx.database) if dry_run else ctx.identity.public
        if own is None or chain.signs_as(own) is None:
            raise RefusedError(
                f"it is signed by {chain.identity.fingerprint} and not by this server; 'job create "
                "--chain' takes it over"
            )
    if dry_run:
        return ends
    if given_up or ends:
        audit.require(ctx)
        entry = retire(chain, given_up, ctx.identity, ctx.clock, "retention")
        heads.remember(ctx.database, chain_id, entry.number, entry.hash, ctx.clock.now())
        audit.record(
            ctx,
            "points.expired",
            job=left.name,
            chain=chain_id.hex(),
            points=[one.hex() for one in given_up],
        )
    point_rows.remove_many(ctx.database, ids)
    return ends


def settle(ctx: Context, job_id: bytes) -> None:
    """Forget a removed job with its last chain."""
    if not chain_rows.of_job(ctx.database, job_id):
        removed_jobs.forget(ctx.database, job_id)
