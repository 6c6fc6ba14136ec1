"""Copy jobs: made, listed, run, removed; run by themselves behind their jobs' sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import copy_jobs as rows
from strongroom.catalog import jobs, repositories
from strongroom.control import audit
from strongroom.control.views import CopyJobView
from strongroom.crypto import random
from strongroom.errors import (
    CancelledError,
    ConflictError,
    InvalidInputError,
    RefusedError,
    StrongroomError,
)
from strongroom.model.copy_job import CopyJob

if TYPE_CHECKING:
    from strongroom.control.context import Context
    from strongroom.control.copies import CopyResult
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.progress import Progress


def create(
    ctx: Context, name: str, job: str, repository: str, *, after_run: bool, plain: bool = False
) -> CopyJobView:
    """Make a copy job.

    Raises:
        ConflictError: the name is taken.
        NotFoundError: there is no such job or repository.
        InvalidInputError: the job writes to that repository itself.
        RefusedError: a plain copy of sealed backups was asked for.
    """
    if rows.find(ctx.database, name) is not None:
        raise ConflictError(
            f"there is a copy job {name} already",
            hint=f"'strongroom job copy show {name}' shows it",
        )
    of = jobs.get(ctx.database, job)
    to = repositories.get(ctx.database, repository)
    if of.repository == to.name:
        raise InvalidInputError(
            f"job {job} writes to repository {repository} itself",
            hint="a copy is of use somewhere else: on another disk, at another place",
        )
    if plain and (of.encrypted or _has_sealed(ctx, of.job_id)):
        raise RefusedError(
            f"the points of job {job} are encrypted, and no copy of them is made that is not",
            hint="without --no-encryption the copy stays sealed, and the same secrets open it",
        )
    copy = CopyJob(
        copy_id=random.token(16), name=name, job=of.name, repository=to.name, after_run=after_run
    )
    with ctx.database.transaction():
        rows.insert(ctx.database, copy, ctx.clock.now())
        audit.record(ctx, "copy-job.created", copy_job=name, job=job, repository=repository)
    return show(ctx, name)


def _has_sealed(ctx: Context, job_id: bytes) -> bool:
    return any(row.sealed for row in chain_rows.of_job(ctx.database, job_id))


def list_all(ctx: Context) -> tuple[CopyJobView, ...]:
    """Return every copy job, by name."""
    return tuple(map(_view, rows.all_rows(ctx.database)))


def show(ctx: Context, name: str) -> CopyJobView:
    """Return one copy job.

    Raises:
        NotFoundError: there is none of this name.
    """
    return _view(rows.get(ctx.database, name))


def remove(ctx: Context, name: str) -> CopyJobView:
    """Forget a copy job; what it copied stays."""
    row = rows.get(ctx.database, name)
    with ctx.database.transaction():
        rows.remove(ctx.database, row.copy.copy_id)
        audit.record(ctx, "copy-job.removed", copy_job=name)
    return _view(row)


def run(
    ctx: Context, name: str, *, check: bool = False, progress: Progress, cancel: Cancellation
) -> CopyResult:
    """Copy now what a copy job is for.

    Raises:
        StrongroomError: what kept it from copying; the catalog remembers it.
    """
    # Not at the top: sessions of jobs without copies have no use for it.
    from strongroom.control import copies

    row = rows.get(ctx.database, name)
    job = jobs.get(ctx.database, row.copy.job)
    try:
        result = copies.copy(
            ctx,
            job.repository,
            row.copy.repository,
            jobs_named=(job.job_id.hex(),),
            check=check,
            progress=progress,
            cancel=cancel,
        )
    except StrongroomError as error:
        rows.ran(ctx.database, row.copy.copy_id, ctx.clock.now(), str(error))
        raise
    problem = str(result.error) if result.error is not None else None
    rows.ran(ctx.database, row.copy.copy_id, ctx.clock.now(), problem)
    return result


def after_session(
    ctx: Context, job: str, progress: Progress, cancel: Cancellation
) -> tuple[str, ...]:
    """Run the copies that follow a job's sessions; return what went wrong, in words.

    The points are made: a copy that fails takes nothing from them.
    """
    problems: list[str] = []
    for row in rows.of_job(ctx.database, job):
        if not row.copy.after_run:
            continue
        try:
            result = run(ctx, row.copy.name, progress=progress, cancel=cancel)
        except CancelledError:
            problems.append(f"copy {row.copy.name} was stopped on request; the next goes on")
            break
        except StrongroomError as error:
            problems.append(f"copy {row.copy.name} failed: {error}")
        else:
            problems += [f"copy {row.copy.name}: {one}" for one in result.warnings]
            if result.error is not None:
                problems.append(f"copy {row.copy.name}: {result.error}")
    return tuple(problems)


def users_of(ctx: Context, repository: str) -> list[str]:
    """Return the copy jobs that copy to a repository, in words."""
    return [f"copy job {row.copy.name}" for row in rows.of_repository(ctx.database, repository)]


def _view(row: rows.CopyJobRow) -> CopyJobView:
    copy = row.copy
    return CopyJobView(
        name=copy.name,
        job=copy.job,
        repository=copy.repository,
        after_run=copy.after_run,
        ran_at=row.ran_at,
        problem=row.problem,
    )
