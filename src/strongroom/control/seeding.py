"""A job that goes on in a copy of its chain: carried on a disk, or copied over the network.

A repository that holds the job's chain up to its very newest entry is as good as the one that the
job wrote to before. So a job that was given another repository does not begin with a full where
somebody copied its chain there first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import copies, heads, repositories
from strongroom.catalog import points as point_rows
from strongroom.control import audit
from strongroom.errors import ConflictError, NotFoundError, RolledBackError
from strongroom.repository import copy_marks
from strongroom.repository.chain import Head

if TYPE_CHECKING:
    from strongroom.control.context import Context
    from strongroom.model.job import Job
    from strongroom.repository.chain import Chain
    from strongroom.repository.repository import Repository


def go_on_in_copies(
    ctx: Context, job: Job, repository: Repository, *, full: bool
) -> frozenset[bytes]:
    """Let the job's chains be at home in this repository where it has all of them.

    Returns:
        Copies of the job's chains here that are behind: a session has no use for them.

    Raises:
        ConflictError: the job's present chain is here, and behind; no full was asked for.
        ForkedError: what is here has another history.
    """
    database = ctx.database
    elsewhere = [
        row
        for row in chain_rows.of_job(database, job.job_id)
        if row.repository_id != repository.repository_id
    ]
    if not elsewhere:
        return frozenset()
    present = set(repository.chain_ids())
    behind: set[bytes] = set()
    for row in elsewhere:
        seen = heads.get(database, row.chain_id)
        if row.chain_id not in present or seen is None:
            continue
        try:
            chain = repository.chain(row.chain_id)
            chain.check_head(Head(row.chain_id, *seen))
        except NotFoundError:
            continue  # removed since it was listed
        except RolledBackError as error:
            if row.current and not full:
                raise _behind(ctx, job, row, error) from error
            behind.add(row.chain_id)
            continue
        _move_in(ctx, job, row, chain, repository)
    return frozenset(behind)


def _behind(
    ctx: Context, job: Job, row: chain_rows.ChainRow, error: RolledBackError
) -> ConflictError:
    before = repositories.by_id(ctx.database, row.repository_id)
    old = before.name if before is not None else "OLD"
    return ConflictError(
        f"repository {job.repository} has a copy of job {job.name}'s chain that is behind: {error}",
        hint=f"'strongroom repository copy {old} {job.repository}' brings what lacks; 'job run "
        f"{job.name} --full' begins a new chain beside it",
        chain=row.chain_id.hex(),
    )


def _move_in(
    ctx: Context, job: Job, row: chain_rows.ChainRow, chain: Chain, repository: Repository
) -> None:
    """Let a chain be at home here; where it was before is a copy from now on."""
    database = ctx.database
    chain.live_points()
    before = repositories.by_id(database, row.repository_id)
    head = chain.head()
    copy_marks.refuse_unfinished(repository.storage, row.chain_id)
    copy_marks.end(repository.storage, row.chain_id)
    with database.transaction():
        chain_rows.move(database, row.chain_id, repository.repository_id)
        copies.forget(database, repository.repository_id, row.chain_id)
        if before is not None and head is not None:
            points = [one.point_id for one in point_rows.of_chain(database, row.chain_id)]
            left = copies.CopyRow(
                repository_id=before.repository_id,
                chain_id=row.chain_id,
                location=before.location,
                number=head.number,
                entry_hash=head.entry_hash,
                copied_at=ctx.clock.now(),
            )
            copies.remember(database, left, points)
        audit.record(
            ctx, "chain.moved", job=job.name, chain=row.chain_id.hex(), repository=job.repository
        )
    ctx.report(f"job {job.name} goes on in the copy of chain {chain.name} in {job.repository}")
