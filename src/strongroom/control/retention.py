"""Which points of a job stay, and why: for its sessions, for what lowers it, for a dry run.

The rules judge the points in the job's repository, of all its chains there. What an earlier
repository of the job holds stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from strongroom.catalog import chains, jobs, repositories
from strongroom.catalog import points as point_rows
from strongroom.control import vaults
from strongroom.control.views import JudgedPoint, RemovedPoint, RetentionPlan
from strongroom.model.retention import PointFacts, Verdict, decide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.control.context import Context
    from strongroom.model.job import Job, RetentionRules


@dataclass(frozen=True, slots=True)
class Judged:
    """A point of the catalog, and what becomes of it."""

    row: point_rows.PointRow
    verdict: Verdict


def judge(
    ctx: Context, job: Job, rules: RetentionRules, fresh: Sequence[PointFacts] = ()
) -> list[Judged]:
    """Judge what the catalog knows of a job's points, oldest first.

    Args:
        ctx: Surroundings.
        job: Whose.
        rules: What to judge by.
        fresh: Points that are about to be published: newer than all others, and counted.
    """
    repository = repositories.get(ctx.database, job.repository)
    here = {
        chain.chain_id
        for chain in chains.of_job(ctx.database, job.job_id)
        if chain.repository_id == repository.repository_id
    }
    rows = [row for row in point_rows.of_job(ctx.database, job.job_id) if row.chain_id in here]
    kept = vaults.immutability_of(ctx, repository.repository_id)
    facts = [
        PointFacts(
            row.point_id,
            row.source_id,
            row.taken_at,
            row.held,
            kept.kept_until(row.taken_at) if kept is not None else None,
        )
        for row in rows
    ]
    verdicts = decide([*facts, *fresh], rules, ctx.clock.now())
    return [Judged(row, verdict) for row, verdict in zip(rows, verdicts, strict=False)]


def plan(
    ctx: Context, name: str, rules: Mapping[str, int | None] = MappingProxyType({})
) -> RetentionPlan:
    """Return what retention says of every point of a job at this moment; nothing is changed.

    Args:
        ctx: Surroundings.
        name: The job.
        rules: By name, `keep_last` or `keep_days`: what is to count in place of the job's
            own; None takes one back.

    Raises:
        NotFoundError: there is no such job.
        InvalidInputError: the rules cannot be like that.
    """
    job = jobs.get(ctx.database, name)
    chosen = replace(job.retention, **rules)
    sources = _source_names(job)
    return RetentionPlan(
        job=job.name,
        keep_last=chosen.keep_last,
        keep_days=chosen.keep_days,
        points=tuple(
            JudgedPoint(
                id=one.row.point_id.hex(),
                source=sources.get(one.row.source_id),
                taken_at=one.row.taken_at,
                stays=one.verdict.stays,
                reasons=one.verdict.reasons or one.verdict.lapsed,
                held=one.row.held,
            )
            for one in judge(ctx, job, chosen)
        ),
    )


def removed(job: Job, one: Judged) -> RemovedPoint:
    """Return a point that retention lets go, with the reason."""
    return RemovedPoint(
        id=one.row.point_id.hex(),
        job=job.name,
        source=_source_names(job).get(one.row.source_id),
        taken_at=one.row.taken_at,
        reason="; ".join(one.verdict.lapsed),
    )


def _source_names(job: Job) -> dict[bytes, str]:
    """Return the sources' names by id. The points of a source that was taken out have none."""
    return {source.source_id: str(source) for source in job.sources}
