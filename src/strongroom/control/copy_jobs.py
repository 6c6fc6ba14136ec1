"""Copy jobs: made, listed, run, removed; run by themselves behind their jobs' sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import copy_jobs as rows
from strongroom.catalog import jobs, repositories
from strongroom.control import audit, keys, vaults
from strongroom.control.traffic import Traffic
from strongroom.control.views.jobs import CopyJobView
from strongroom.crypto import random
from strongroom.errors import (
    CancelledError,
    ConflictError,
    InvalidInputError,
    RefusedError,
    SecretRequiredError,
    StrongroomError,
)
from strongroom.model.copy_job import CopyJob
from strongroom.model.job import KmsEncryption, NoEncryption, parse_encryption

if TYPE_CHECKING:
    from strongroom.catalog.repositories import RepositoryRow
    from strongroom.control.access import Access
    from strongroom.control.context import Context
    from strongroom.control.copies import CopyResult
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.progress import Progress
    from strongroom.model.job import Job


def create(
    ctx: Context,
    name: str,
    job: str,
    repository: str,
    *,
    after_run: bool,
    encrypt: str | None = None,
    local_half: bool = False,
    recovery: bool = True,
    force: bool = False,
    given: Access | None = None,
) -> CopyJobView:
    """Make a copy job.

    Args:
        ctx: Surroundings.
        name: What it is called.
        job: Whose points are copied.
        repository: Where to.
        after_run: Copy behind every session of the job.
        encrypt: Whom a key of the copy's own is sealed for; `none` for a copy that anybody can
            read; None copies what is stored as it is.
        local_half: Whether a KMS's key needs a local half beside it.
        recovery: Whether the recovery key opens a copy with its own key.
        force: The operator insists on a plain copy.
        given: Secrets that open the job's points: who asks for a plain copy of a guarded job
            shows that they could read it.

    Raises:
        ConflictError: the name is taken.
        NotFoundError: there is no such job, repository, password or KMS.
        InvalidInputError: the job writes to that repository itself, or it is plain and a key
            of the copy's own was asked for.
        RefusedError: a plain copy of sealed backups was asked for, and not insisted on.
        EncryptionRequiredError: likewise, into a vault; or the job is plain, and that is one.
        UnlockError: likewise, of a guarded job whose secret was not given.
    """
    if rows.find(ctx.database, name) is not None:
        raise ConflictError(
            f"there is a copy job {name} already",
            hint=f"'strongroom job copy show {name}' shows it",
        )
    of = jobs.get(ctx.database, job)
    to = repositories.get(ctx.database, repository)
    _check_target(ctx, of, to)
    sealed = None if encrypt is None else parse_encryption(encrypt, local_half=local_half)
    if isinstance(sealed, NoEncryption) and not _seals(ctx, of):
        sealed = None  # what is stored is plain as it is
    elif isinstance(sealed, NoEncryption):
        _refuse_plain(ctx, of, to, force, given)
    elif sealed is not None and not of.encrypted:
        raise InvalidInputError(
            f"job {job} is not encrypted: a copy under a key of its own is made of sealed points",
            hint=f"'job edit {job} --encrypt {encrypt}' encrypts what comes",
        )
    copy = CopyJob(
        copy_id=random.token(16),
        name=name,
        job=of.name,
        repository=to.name,
        after_run=after_run,
        encryption=sealed,
        recovery=recovery,
    )
    if sealed is not None and not copy.plain:
        _check_recipients(ctx, copy, of)
    with ctx.database.transaction():
        rows.insert(ctx.database, copy, ctx.clock.now())
        if copy.plain:
            what = f"copy {name} of the sealed points of job {job} is not encrypted"
            audit.weakened(ctx, [what], copy_job=name, job=job, repository=repository)
        audit.record(
            ctx,
            "copy-job.created",
            copy_job=name,
            job=job,
            repository=repository,
            encrypt=None if sealed is None else str(sealed),
        )
    return show(ctx, name)


def _check_target(ctx: Context, job: Job, to: RepositoryRow) -> None:
    if job.repository == to.name:
        raise InvalidInputError(
            f"job {job.name} writes to repository {to.name} itself",
            hint="a copy is of use somewhere else: on another disk, at another place",
        )
    if not job.encrypted:
        vaults.refuse_plain(ctx, to, f"job {job.name}")


def _refuse_plain(
    ctx: Context, job: Job, to: RepositoryRow, force: bool, given: Access | None
) -> None:
    """Go on if a plain copy of a job's sealed points is meant, and whoever asks may read them."""
    if not force:
        raise RefusedError(
            f"the points of job {job.name} are encrypted, and a copy that is not would give them "
            "to whoever finds it",
            hint="without --encrypt the copy stays sealed as it is; --encrypt password:NAME gives "
            f"it a key of its own; --force stores every point of {job.name} in {to.name} for "
            "anybody to read",
        )
    vaults.refuse_plain(ctx, to, f"a plain copy of job {job.name}")
    if not job.secret_to_read:
        return
    # Not at the top: jobs without a guard have no use for these.
    from strongroom.control import guarded
    from strongroom.control.access import unlockers_of

    unlockers = unlockers_of(ctx, given) if given is not None else []
    if not unlockers:
        raise SecretRequiredError(
            f"job {job.name} is guarded: who asks for a plain copy of it gives its secret"
        )
    for unlocker in unlockers:
        guarded.prove(ctx, job, unlocker)


def _check_recipients(ctx: Context, copy: CopyJob, job: Job) -> None:
    """Go on if there is whom a copy's own key is sealed for; a KMS makes a key for it."""
    # Not at the top: copies of ciphertext have no use for it.
    from strongroom.control import cloned_copies

    copied_as = cloned_copies.as_job(copy, job)
    if isinstance(copied_as.encryption, KmsEncryption):
        from strongroom.control import kms_keys

        kms_keys.ensure(ctx, copied_as)
    keys.recipients(ctx, copied_as)


def _seals(ctx: Context, job: Job) -> bool:
    """Tell whether a job's points are sealed, be it those that it made once."""
    return job.encrypted or any(row.sealed for row in chain_rows.of_job(ctx.database, job.job_id))


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
    ctx: Context,
    name: str,
    *,
    check: bool = False,
    given: Access | None = None,
    limit: str | None = None,
    progress: Progress,
    cancel: Cancellation,
) -> CopyResult:
    """Copy now what a copy job is for.

    Args:
        ctx: Surroundings.
        name: The copy job's.
        check: Read what the copy has already, too.
        given: Secrets that open the job's points, for a copy with another key or none.
        limit: How fast to read and to write; by default as the repositories say.
        progress: Is told how it goes.
        cancel: Stops it; what arrived is not sent again.

    Raises:
        InvalidInputError: something was asked for that this copy has no use for.
        StrongroomError: what kept it from copying; the catalog remembers it.
    """
    ctx.traffic = Traffic.of_command(limit, cancel)
    row = rows.get(ctx.database, name)
    job = jobs.get(ctx.database, row.copy.job)
    cloned = row.copy.encryption is not None
    if cloned and check:
        raise InvalidInputError(
            f"copy {name} is not stored as its original is, which holds nothing to mend it with",
            hint=f"'strongroom repository scrub {row.copy.repository}' finds damage",
        )
    if not cloned and given is not None and given.expects_sealed:
        raise InvalidInputError(
            f"copy {name} copies what is stored as it is: no secret is needed",
            hint="say it without one",
        )
    return _run(ctx, row.copy, job, check, given, progress, cancel)


def _run(
    ctx: Context,
    copy: CopyJob,
    job: Job,
    check: bool,
    given: Access | None,
    progress: Progress,
    cancel: Cancellation,
) -> CopyResult:
    """Copy, and remember how that ended."""
    try:
        result = _copied(ctx, copy, job, check, given, progress, cancel)
    except StrongroomError as error:
        rows.ran(ctx.database, copy.copy_id, ctx.clock.now(), str(error))
        raise
    problem = str(result.error) if result.error is not None else None
    rows.ran(ctx.database, copy.copy_id, ctx.clock.now(), problem)
    return result


def _copied(
    ctx: Context,
    copy: CopyJob,
    job: Job,
    check: bool,
    given: Access | None,
    progress: Progress,
    cancel: Cancellation,
) -> CopyResult:
    # Not at the top: sessions of jobs without copies have no use for these.
    if copy.encryption is not None:
        from strongroom.control import cloned_copies

        return cloned_copies.run(ctx, copy, job, given=given, progress=progress, cancel=cancel)
    from strongroom.control import copies

    return copies.bring(
        ctx,
        job.repository,
        copy.repository,
        jobs_named=(job.job_id.hex(),),
        check=check,
        progress=progress,
        cancel=cancel,
    )


def after_session(
    ctx: Context, job: str, progress: Progress, cancel: Cancellation
) -> tuple[str, ...]:
    """Run the copies that follow a job's sessions; return what went wrong, in words.

    The points are made: a copy that fails takes nothing from them. The session's limits hold.
    """
    problems: list[str] = []
    of = jobs.get(ctx.database, job)
    for row in rows.of_job(ctx.database, job):
        if not row.copy.after_run:
            continue
        try:
            result = _run(ctx, row.copy, of, False, None, progress, cancel)
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


def sealed_for(ctx: Context, *, password: str = "", kms: str = "") -> list[str]:
    """Return the copy jobs whose own key is sealed for a password or a KMS, in words."""
    found = [
        *(rows.of_password(ctx.database, password) if password else []),
        *(rows.of_kms(ctx.database, kms) if kms else []),
    ]
    return [f"copy job {row.copy.name}" for row in found]


def _view(row: rows.CopyJobRow) -> CopyJobView:
    copy = row.copy
    return CopyJobView(
        name=copy.name,
        job=copy.job,
        repository=copy.repository,
        after_run=copy.after_run,
        encrypt=None if copy.encryption is None else str(copy.encryption),
        ran_at=row.ran_at,
        problem=row.problem,
    )
