"""Which points of a job stay, and why: for its sessions, for what lowers it, for a dry run.

The rules judge the points in the job's repository, of all its chains there. What an earlier
repository of the job holds stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from strongroom.catalog import chains, jobs, removed_jobs, repositories
from strongroom.catalog import points as point_rows
from strongroom.clock import local
from strongroom.control import vaults
from strongroom.control.views.points import JudgedPoint, PointFlag, RemovedPoint, RetentionPlan
from strongroom.model.gfs import Flagged, assign, replay
from strongroom.model.job import RULES, Job
from strongroom.model.retention import Future, PointFacts, Verdict, decide, foresee

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from strongroom.control.context import Context
    from strongroom.model.immutability import Immutability
    from strongroom.model.job import RetentionRules


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
    rows = _rows_here(ctx, job)
    verdicts = decide([*_facts(ctx, rows), *fresh], rules, local(ctx.clock.now()))
    return [Judged(row, verdict) for row, verdict in zip(rows, verdicts, strict=False)]


def judge_left(
    ctx: Context, left: removed_jobs.RemovedJob, chain_ids: Collection[bytes]
) -> list[Judged]:
    """Judge the points that a removed job has left in these chains, by its last rules.

    None of them stays because it is one of the last: nobody waits for the next.
    """
    rows = [
        row for row in point_rows.of_job(ctx.database, left.job_id) if row.chain_id in chain_ids
    ]
    now = local(ctx.clock.now())
    verdicts = decide(_facts(ctx, rows), left.retention, now, minimum=0)
    return [Judged(row, verdict) for row, verdict in zip(rows, verdicts, strict=True)]


def foreseen(ctx: Context, job: Job) -> Future:
    """Return what becomes of a job's points, in all repositories, if the job is removed."""
    rows = point_rows.of_job(ctx.database, job.job_id)
    return foresee(_facts(ctx, rows), job.retention, local)


def _facts(ctx: Context, rows: Sequence[point_rows.PointRow]) -> list[PointFacts]:
    """Return what retention needs to know of points; a vault has its word on those in it."""
    kept = {chain_id: _immutability(ctx, chain_id) for chain_id in {row.chain_id for row in rows}}
    return [
        PointFacts(
            row.point_id,
            row.source_id,
            row.taken_at,
            row.held,
            row.flagged,
            vault.kept_until(row.taken_at) if vault is not None else None,
        )
        for row in rows
        for vault in [kept[row.chain_id]]
    ]


def _immutability(ctx: Context, chain_id: bytes) -> Immutability | None:
    chain = chains.find(ctx.database, chain_id)
    return vaults.immutability_of(ctx, chain.repository_id) if chain is not None else None


def _rows_here(ctx: Context, job: Job) -> list[point_rows.PointRow]:
    """Return a job's points in its repository, oldest first."""
    repository = repositories.get(ctx.database, job.repository)
    here = {
        chain.chain_id
        for chain in chains.of_job(ctx.database, job.job_id)
        if chain.repository_id == repository.repository_id
    }
    return [row for row in point_rows.of_job(ctx.database, job.job_id) if row.chain_id in here]


# --- flags ------------------------------------------------------------------------------------


def flag(ctx: Context, job: Job, fresh: Sequence[PointFacts]) -> list[PointFacts]:
    """Return points that are about to be published with the flags that they get."""
    if not job.retention.has_flags:
        return list(fresh)
    before: dict[bytes, list[Flagged]] = {}
    for row in _rows_here(ctx, job):
        if row.flagged is not None:
            before.setdefault(row.source_id, []).append(row.flagged)
    found = []
    for facts in fresh:
        day = local(facts.taken_at).date()
        flags = assign(day, job.retention, before.get(facts.source_id, ()))
        found.append(replace(facts, flagged=Flagged(day, flags) if flags else None))
    return found


def flag_anew(ctx: Context, job: Job, unknown: Collection[bytes]) -> None:
    """Give points that come from the repository alone the flags that they would have.

    Which they were given, nobody knows any more: the catalog that knew it is lost. They get what
    the job's rules of today would have given them.
    """
    if not unknown or not job.retention.has_flags:
        return
    rows = _rows_here(ctx, job)
    days = [(row.source_id, local(row.taken_at).date()) for row in rows]
    flags = replay(days, job.retention)
    point_rows.flag_many(
        ctx.database,
        {
            row.point_id: Flagged(day, given)
            for row, (_, day), given in zip(rows, days, flags, strict=True)
            if given and row.point_id in unknown
        },
    )


def shown_flags(row: point_rows.PointRow, rules: RetentionRules) -> tuple[PointFlag, ...]:
    """Return a point's flags that the rules know, as doors show them."""
    if row.flagged is None:
        return ()
    return tuple(PointFlag(kind=one, until=end) for one, end in row.flagged.ends(rules))


def known_flags(ctx: Context, point_ids: Iterable[bytes]) -> dict[str, tuple[PointFlag, ...]]:
    """Return the flags of points, by id, as far as the catalog knows any."""
    found: dict[str, tuple[PointFlag, ...]] = {}
    rules: dict[bytes, RetentionRules | None] = {}
    for point_id in point_ids:
        row = point_rows.find(ctx.database, point_id)
        if row is None or row.flagged is None:
            continue
        if row.job_id not in rules:
            job = jobs.by_id(ctx.database, row.job_id) or removed_jobs.find(
                ctx.database, row.job_id
            )
            rules[row.job_id] = job.retention if job else None
        known = rules[row.job_id]
        if known is not None:
            found[point_id.hex()] = shown_flags(row, known)
    return found


# --- plans ------------------------------------------------------------------------------------


def plan(
    ctx: Context, name: str, rules: Mapping[str, int | str | None] = MappingProxyType({})
) -> RetentionPlan:
    """Return what retention says of every point of a job at this moment; nothing is changed.

    Args:
        ctx: Surroundings.
        name: The job.
        rules: By name, as `keep_last`: what is to count in place of the job's own; None takes
            one back.

    Raises:
        NotFoundError: there is no such job.
        InvalidInputError: the rules cannot be like that.
    """
    job = jobs.get(ctx.database, name)
    chosen = job.retention.changed(rules)
    sources = _source_names(job)
    return RetentionPlan(
        job=job.name,
        **told(chosen),
        points=tuple(
            JudgedPoint(
                id=one.row.point_id.hex(),
                source=sources.get(one.row.source_id),
                taken_at=one.row.taken_at,
                stays=one.verdict.stays,
                reasons=one.verdict.reasons or one.verdict.lapsed,
                held=one.row.held,
                flags=shown_flags(one.row, chosen),
            )
            for one in judge(ctx, job, chosen)
        ),
    )


def told(rules: RetentionRules) -> dict[str, Any]:
    """Return rules under the names that views have for them."""
    return {rule: getattr(rules, rule) for rule in RULES}


def removed(job: Job | removed_jobs.RemovedJob, one: Judged) -> RemovedPoint:
    """Return a point that retention lets go, with the reason."""
    sources = _source_names(job) if isinstance(job, Job) else {}
    return RemovedPoint(
        id=one.row.point_id.hex(),
        job=job.name,
        source=sources.get(one.row.source_id),
        taken_at=one.row.taken_at,
        reason="; ".join(one.verdict.lapsed),
    )


def _source_names(job: Job) -> dict[bytes, str]:
    """Return the sources' names by id. The points of a source that was taken out have none."""
    return {source.source_id: str(source) for source in job.sources}
