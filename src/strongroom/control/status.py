"""What ran, what is overdue, what failed: one answer to "is all well?"."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.catalog import copy_jobs, jobs, points, recovery_keys, sessions, vaults
from strongroom.control import clock_guard, config_backup, damage_notices
from strongroom.control.views.jobs import JobStatus, StatusReport
from strongroom.errors import ClockJumpedError
from strongroom.model.session import SessionRecord, SessionState

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.control.context import Context
    from strongroom.model.job import Job

MAX_AGE = timedelta(hours=26)
"""How old the points of a job may be that does not say: a night, and a late end of the next."""


def report(ctx: Context, max_age: timedelta | None = None) -> StatusReport:
    """Return how every job stands.

    A job is well if its newest session made points, and they are not too old. All is well where
    also every copy job did its work, nothing is known to be damaged, and the clock is believed.

    Args:
        ctx: Surroundings.
        max_age: How old a job's newest points may be; by default what the job itself says, or
            `MAX_AGE`.
    """
    if not ctx.has_catalog:
        return StatusReport(ok=True, jobs=(), notices=("there is no job yet",))
    protected = recovery_keys.active(ctx.database) is not None
    now = ctx.clock.now()
    stands = tuple(
        _status(ctx, job, max_age, now, protected=protected and job.recovery)
        for job in jobs.all_jobs(ctx.database)
    )
    notices = []
    if not stands:
        notices.append("there is no job yet")
    if not protected and any(status.encrypted for status in stands):
        notices.append(
            "there is no recovery key: a lost password means lost backups "
            "('strongroom recovery create FILE')"
        )
    if stands and not config_backup.is_set(ctx.database):
        notices.append(
            "the configuration is not backed up: a lost server takes its jobs and identity with it "
            "('strongroom config set --repository R --encrypt password:NAME')"
        )
    elif config_backup.is_due(ctx.database):
        notices.append("the configuration has changed since its newest backup")
    behind = [row for row in copy_jobs.all_rows(ctx.database) if row.problem is not None]
    notices += [f"copy job {row.copy.name} did not copy all: {row.problem}" for row in behind]
    blocked = clock_guard.removals_blocked(ctx, strict=vaults.any_locks(ctx.database))
    if blocked is not None:
        notices.append(f"{blocked}; {ClockJumpedError.hint}")
    damaged = damage_notices.told_of(ctx)
    notices.extend(damaged)
    well = all(status.ok for status in stands) and not (behind or blocked or damaged)
    return StatusReport(ok=well, jobs=stands, notices=tuple(notices))


def _status(
    ctx: Context, job: Job, max_age: timedelta | None, now: datetime, *, protected: bool
) -> JobStatus:
    newest = sessions.newest(ctx.database, job.job_id)
    success = sessions.last_success(ctx.database, job.job_id)
    if max_age is None:
        hours = job.expect_every_hours
        max_age = MAX_AGE if hours is None else timedelta(hours=hours)
    overdue = success is None or now - success.started_at > max_age
    # A session that runs says nothing yet: what counts is the one before it.
    failed = _failed(ctx, job, newest)
    message = _message(newest, success, max_age if overdue else None)
    return JobStatus(
        job=job.name,
        ok=not overdue and not failed,
        state=newest.state.value if newest else None,
        started_at=newest.started_at if newest else None,
        finished_at=newest.finished_at if newest else None,
        last_success_at=success.started_at if success else None,
        overdue=overdue,
        message=message,
        warnings=len(newest.warnings) if newest else 0,
        encrypted=job.encrypted,
        protected=job.encrypted and protected,
        points=len(points.of_job(ctx.database, job.job_id)),
    )


def _failed(ctx: Context, job: Job, newest: SessionRecord | None) -> bool:
    if newest is not None and newest.state is SessionState.RUNNING:
        earlier = sessions.of_job(ctx.database, job.job_id, 2)[1:]
        newest = earlier[0] if earlier else None
    return newest is not None and newest.state in (SessionState.FAILED, SessionState.CANCELLED)


def _message(
    newest: SessionRecord | None, success: SessionRecord | None, overdue_by: timedelta | None
) -> str | None:
    if newest is not None and newest.error is not None:
        return newest.error.message
    if overdue_by is not None:
        hours = overdue_by.total_seconds() / 3600
        if success is None:
            return f"no restore point yet, and one is due every {hours:g} h"
        return f"the newest restore point is older than {hours:g} h"
    if newest is not None and newest.warnings:
        return newest.warnings[0]
    return None
