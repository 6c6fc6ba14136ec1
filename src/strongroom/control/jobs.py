"""Jobs: created, changed, listed, split from their chain, removed.

What weakens is confirmed: encryption turned off, a recipient dropped, retention shortened. What
a change means for the next session is said with the answer, and decided by `model.transition`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from strongroom.catalog import (
    chains,
    copies,
    jobs,
    missing_links,
    passwords,
    recovery_keys,
    reencryptions,
    removed_jobs,
    repositories,
    sessions,
)
from strongroom.catalog import kms as kms_rows
from strongroom.catalog import points as point_rows
from strongroom.control import audit, keys, rekeying, retention, vaults
from strongroom.control.views.jobs import JobRemoved, JobResult, JobView
from strongroom.crypto import random
from strongroom.errors import (
    ConfirmationNeededError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    SecretNeededError,
    UnlockError,
)
from strongroom.model.ids import checked_name
from strongroom.model.job import (
    DEFAULT_BLOCK_SIZE,
    DEFAULT_RETENTION,
    NUMBERS,
    RULES,
    Compression,
    Encryption,
    Job,
    KmsEncryption,
    NoEncryption,
    PasswordEncryption,
    RetentionRules,
    SourceKind,
    SourceSpec,
    parse_encryption,
)
from strongroom.model.rate import standing_limit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.control.access import Access
    from strongroom.control.context import Context
    from strongroom.control.secrets import SecretSource
    from strongroom.model.retention import Future

T = TypeVar("T")


class Unset:
    """Stands for an option that was not given, where None means "none"."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()

UNPROTECTED: Final = (
    "no recovery key: if the {} of job {} is lost, its backups are lost with it, for "
    "nobody can open them. 'strongroom recovery create FILE' makes one"
)
PLAIN: Final = "job {} is not encrypted: whoever can read the repository can read everything in it"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A job as the operator asks for it."""

    name: str
    repository: str
    sources: tuple[str, ...]
    encrypt: str
    """`none`, `password:NAME` or `kms:NAME`; there is no default."""
    local_half: bool = False
    """A KMS's key is to need a local half beside it."""
    exclude: tuple[str, ...] = ()
    one_file_system: bool = False
    exclude_caches: bool = True
    compression: str = Compression.BALANCED.value
    block_size: int | None = None
    keep_last: int | None = None
    keep_days: int | None = None
    keep_weekly: int | None = None
    keep_monthly: int | None = None
    keep_yearly: int | None = None
    weekly_on: str | None = None
    monthly_on: str | None = None
    yearly_in: str | None = None
    full_every_points: int | None = None
    full_every_days: int | None = None
    expect_every_hours: int | None = None
    limit: str | None = None
    pre_script: str | None = None
    post_script: str | None = None
    on_failure: str | None = None
    recovery: bool = True
    secret_to_read: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChanges:
    """What is to be changed of a job; what is `UNSET` stays."""

    name: str | Unset = UNSET
    repository: str | Unset = UNSET
    sources: tuple[str, ...] | Unset = UNSET
    add_sources: tuple[str, ...] = ()
    remove_sources: tuple[str, ...] = ()
    encrypt: str | Unset = UNSET
    local_half: bool | Unset = UNSET
    exclude: tuple[str, ...] | Unset = UNSET
    one_file_system: bool | Unset = UNSET
    exclude_caches: bool | Unset = UNSET
    compression: str | Unset = UNSET
    block_size: int | Unset | None = UNSET
    keep_last: int | Unset | None = UNSET
    keep_days: int | Unset | None = UNSET
    keep_weekly: int | Unset | None = UNSET
    keep_monthly: int | Unset | None = UNSET
    keep_yearly: int | Unset | None = UNSET
    weekly_on: str | Unset = UNSET
    monthly_on: str | Unset = UNSET
    yearly_in: str | Unset = UNSET
    full_every_points: int | Unset | None = UNSET
    full_every_days: int | Unset | None = UNSET
    expect_every_hours: int | Unset | None = UNSET
    limit: str | Unset = UNSET
    pre_script: str | Unset | None = UNSET
    post_script: str | Unset | None = UNSET
    on_failure: str | Unset | None = UNSET
    recovery: bool | Unset = UNSET
    secret_to_read: bool | Unset = UNSET


# --- create ---------------------------------------------------------------------------------


def create(ctx: Context, request: JobRequest) -> JobResult:
    """Make a job.

    Raises:
        InvalidInputError: something in the request cannot be.
        ConflictError: the name is taken.
        NotFoundError: there is no such repository or password.
    """
    check_free(ctx, request.name)
    sources = tuple(map(new_source, request.sources))
    job = build(ctx, request, random.token(16), sources)
    _ensure_kms_key(ctx, job)
    with ctx.database.transaction():
        jobs.insert(ctx.database, job, ctx.clock.now())
        audit.record(ctx, "job.created", job=job.name, encrypt=str(job.encryption))
    return made(ctx, job)


def check_free(ctx: Context, name: str) -> None:
    """Go on if a job can be called so.

    Raises:
        InvalidInputError: it is no name.
        ConflictError: it is taken.
    """
    checked_name("job", name)
    if jobs.find(ctx.database, name) is not None:
        raise ConflictError(
            f"there is a job {name} already",
            hint=f"'strongroom job edit {name}' changes it",
            job=name,
        )


def build(ctx: Context, request: JobRequest, job_id: bytes, sources: tuple[SourceSpec, ...]) -> Job:
    """Return the job that was asked for; nothing is stored yet.

    Raises:
        InvalidInputError: something in the request cannot be.
        NotFoundError: there is no such repository or password.
    """
    encryption = parse_encryption(request.encrypt, local_half=request.local_half)
    _refuse_plain(ctx, request.name, request.repository, encryption)
    _check_present(ctx, encryption)
    if request.secret_to_read:
        _check_has_secret(request.name, encryption)
    return Job(
        name=request.name,
        job_id=job_id,
        repository=request.repository,
        sources=sources,
        encryption=encryption,
        exclude=request.exclude,
        one_file_system=request.one_file_system,
        exclude_caches=request.exclude_caches,
        compression=_compression(request.compression),
        block_size=_or(request.block_size, DEFAULT_BLOCK_SIZE),
        retention=_retention(request),
        full_every_points=request.full_every_points,
        full_every_days=request.full_every_days,
        expect_every_hours=request.expect_every_hours,
        limit=standing_limit(request.limit),
        pre_script=request.pre_script,
        post_script=request.post_script,
        on_failure=request.on_failure,
        recovery=request.recovery,
        # Of a chain that another job here made before, the guard stays.
        secret_to_read=request.secret_to_read or jobs.is_guarded(ctx.database, job_id),
    )


def made(ctx: Context, job: Job) -> JobResult:
    """Return what is to be said of a job that was made."""
    warnings = _warnings(ctx, job, job.sources) + _misread_patterns(job)
    return JobResult(job=_view(ctx, job), warnings=tuple(warnings))


def _refuse_plain(ctx: Context, name: str, repository: str, encryption: Encryption) -> None:
    """Go on if the repository is there, and takes what the job makes.

    Raises:
        NotFoundError: it is not.
        EncryptionRequiredError: it is a vault, and the job is not encrypted.
    """
    row = repositories.get(ctx.database, repository)
    if isinstance(encryption, NoEncryption):
        vaults.refuse_plain(ctx, row, f"job {name}")


def _check_present(ctx: Context, encryption: Encryption) -> None:
    """Go on if the password or the KMS is in the catalog."""
    if isinstance(encryption, PasswordEncryption):
        passwords.get(ctx.database, encryption.name)
    elif isinstance(encryption, KmsEncryption):
        kms_rows.get(ctx.database, encryption.name)


def _check_has_secret(name: str, encryption: Encryption) -> None:
    if isinstance(encryption, NoEncryption):
        raise InvalidInputError(
            f"job {name} is not encrypted: there is no secret that reading it could need",
            hint="--secret-to-read goes with --encrypt password:NAME or kms:NAME",
        )


def _ensure_kms_key(ctx: Context, job: Job) -> None:
    """See to it that a job that is sealed for a KMS has a key there."""
    if isinstance(job.encryption, KmsEncryption):
        from strongroom.control import kms_keys

        kms_keys.ensure(ctx, job)


def new_source(text: str) -> SourceSpec:
    """Return a new source; a path may be given from the present folder on."""
    kind, colon, value = text.partition(":")
    if colon and value.strip() and kind in (SourceKind.FILES, SourceKind.IMAGE):
        path = Path(value).expanduser()
        # Not resolved: an operator may turn a link to other data on purpose.
        text = f"{kind}:{path if path.is_absolute() else Path.cwd() / path}"
    return SourceSpec.parse(text, random.token(16))


def _compression(text: str) -> Compression:
    try:
        return Compression(text)
    except ValueError:
        raise InvalidInputError(
            f"there is no compression {text!r}",
            hint=f"choose one of {', '.join(Compression)}",
        ) from None


def _retention(request: JobRequest) -> RetentionRules:
    given = {rule: value for rule in RULES if (value := getattr(request, rule)) is not None}
    if "keep_last" in given:
        given.setdefault("keep_days", None)
    return DEFAULT_RETENTION.changed(given)


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def _warnings(ctx: Context, job: Job, sources: Sequence[SourceSpec]) -> list[str]:
    warnings: list[str] = []
    if not job.encrypted:
        warnings.append(PLAIN.format(job.name))
    elif not job.recovery or recovery_keys.active(ctx.database) is None:
        lost = "KMS key" if isinstance(job.encryption, KmsEncryption) else "password"
        warnings.append(UNPROTECTED.format(lost, job.name))
    warnings += [
        f"source {source} is not there now"
        for source in sources
        if source.kind is not SourceKind.COMMAND and not Path(source.value).exists()
    ]
    return warnings


def _misread_patterns(job: Job) -> list[str]:
    """Tell of patterns that name a path from the file system's root on: they fit nothing.

    As in gitignore a leading slash means the source's own folder.
    """
    said = []
    for source in job.sources:
        root = source.value.rstrip("/")
        if source.kind is not SourceKind.FILES or not root:
            continue
        for pattern in job.exclude:
            path = pattern.removeprefix("!")
            if path.startswith(f"{root}/") and not Path(root + path).exists():
                said.append(
                    f"--exclude {pattern} is read from the source's own folder on and fits nothing "
                    f"in {source}; {path.removeprefix(root)} may be meant"
                )
    return said


# --- change ---------------------------------------------------------------------------------


def edit(
    ctx: Context,
    name: str,
    changes: JobChanges,
    *,
    yes: bool = False,
    yes_weaken: bool = False,
    old: SecretSource | None = None,
    proof: Access | None = None,
    link_later: bool = False,
) -> JobResult:
    """Change a job.

    Args:
        ctx: Surroundings.
        name: The job's present name.
        changes: What is to be changed.
        yes: Confirms a shorter retention.
        yes_weaken: Confirms every weakening.
        old: How to get the present password, if it is write-only and another takes its place:
            it is asked for once, to link the chain. Without it a new chain starts.
        proof: A secret that opens all that the job stored, to be given by who has it read
            without one from now on; None asks for its password.
        link_later: Without it the chain goes on instead, and the link follows later.

    Raises:
        ConfirmationNeededError: the change weakens, and nobody said so; `fields["weakens"]`
            and `fields["would_remove"]` say how.
        InvalidInputError: the job cannot be like that.
        UnlockError: it is not to be guarded any longer, and the secret given does not open it.
        UnavailableError: a write-only job's chain cannot be reached: nothing was changed.
    """
    job = jobs.get(ctx.database, name)
    changed = _changed(ctx, job, changes)
    if changed == job and changes.encrypt is UNSET:
        return JobResult(job=_view(ctx, job), changed=False)
    _refuse_plain(ctx, changed.name, changed.repository, changed.encryption)
    would_remove = _would_remove(ctx, job, changed)
    _confirm(job, changed, would_remove, yes=yes, yes_weaken=yes_weaken)
    if job.secret_to_read and not changed.secret_to_read:
        _prove(ctx, job, proof)
    notices = _notices(ctx, job, changed)
    _ensure_kms_key(ctx, changed)
    rekeyed = _rekey(ctx, job, changed, old, notices, link_later=link_later)
    if changed == job and not rekeyed:
        # To say for whom it is sealed already is how a link is made that was not made.
        return JobResult(job=_view(ctx, job), notices=tuple(notices), changed=False)
    with ctx.database.transaction():
        jobs.update(ctx.database, changed)
        audit.weakened(ctx, _weakens(job, changed), job=changed.name)
        audit.record(
            ctx,
            "job.changed",
            job=changed.name,
            changes=_told_changes(job, changed),
        )
    for one in rekeyed:
        rekeying.settle(ctx, one, keep_key=keys.keeps_secret(ctx, changed))
    if rekeyed:
        keys.link_made(ctx, changed)
    new_sources = [source for source in changed.sources if source not in job.sources]
    warnings = _warnings(ctx, changed, new_sources)
    if new_sources or changed.exclude != job.exclude:
        warnings += _misread_patterns(changed)
    return JobResult(
        job=_view(ctx, changed),
        warnings=tuple(warnings),
        notices=tuple(notices),
        would_remove=tuple(would_remove),
    )


def _prove(ctx: Context, job: Job, proof: Access | None) -> None:
    """Go on if who asks could read the job's points anyway."""
    from strongroom.control import guarded
    from strongroom.control.access import unlocker_of
    from strongroom.crypto.recipients import PasswordUnlocker

    unlocker = unlocker_of(ctx, proof) if proof is not None else None
    if unlocker is None:
        if not ctx.secrets.can_ask:
            raise SecretNeededError(
                f"job {job.name} is guarded: a secret that opens its points ends that",
                hint="name it with --old-password-file, --old-password-env, "
                "--old-password-command, --kms or --recovery-key",
            )
        unlocker = PasswordUnlocker(ctx.secrets.get(f"password that opens job {job.name}"))
    try:
        guarded.prove(ctx, job, unlocker)
    except UnlockError as error:
        audit.failure(ctx, "job.changed", error, job=job.name)
        raise


def _told_changes(job: Job, changed: Job) -> dict[str, object]:
    """Return the settings that are others than before, in the words of the command line."""
    told: dict[str, object] = {}
    for one in fields(Job):
        value = getattr(changed, one.name)
        if value != getattr(job, one.name):
            told[one.name] = list(map(str, value)) if isinstance(value, tuple) else str(value)
    return told


def _changed(ctx: Context, job: Job, changes: JobChanges) -> Job:
    given: dict[str, Any] = {}
    for same in (
        *("exclude", "one_file_system", "exclude_caches", "full_every_points"),
        *("full_every_days", "expect_every_hours", "pre_script", "post_script", "on_failure"),
        *("recovery", "secret_to_read"),
    ):
        value = getattr(changes, same)
        if value is not UNSET:
            given[same] = value
    if not isinstance(changes.name, Unset) and changes.name != job.name:
        checked_name("job", changes.name)
        if jobs.find(ctx.database, changes.name) is not None:
            raise ConflictError(f"there is a job {changes.name} already", job=changes.name)
        given["name"] = changes.name
    if not isinstance(changes.repository, Unset):
        given["repository"] = repositories.get(ctx.database, changes.repository).name
    if not isinstance(changes.encrypt, Unset) or not isinstance(changes.local_half, Unset):
        given["encryption"] = _changed_encryption(job, changes)
        _check_present(ctx, given["encryption"])
    if not isinstance(changes.compression, Unset):
        given["compression"] = _compression(changes.compression)
    if not isinstance(changes.block_size, Unset):
        given["block_size"] = _or(changes.block_size, DEFAULT_BLOCK_SIZE)
    if not isinstance(changes.limit, Unset):
        given["limit"] = standing_limit(changes.limit)
    given["retention"] = job.retention.changed(
        {rule: value for rule in RULES if not isinstance(value := getattr(changes, rule), Unset)}
    )
    given["sources"] = _changed_sources(job, changes)
    changed = replace(job, **given)
    if changed.secret_to_read and not job.secret_to_read:
        _check_has_secret(changed.name, changed.encryption)
    return changed


def _changed_encryption(job: Job, changes: JobChanges) -> Encryption:
    """Return what the job is to be sealed for; a local half stays until it is given up."""
    text = str(job.encryption) if isinstance(changes.encrypt, Unset) else changes.encrypt
    had_half = isinstance(job.encryption, KmsEncryption) and job.encryption.local_half
    half = changes.local_half
    if isinstance(half, Unset):
        half = had_half and text.startswith("kms:")
    return parse_encryption(text, local_half=half)


def _changed_sources(job: Job, changes: JobChanges) -> tuple[SourceSpec, ...]:
    """Return the sources; one that stays keeps its id, and with it its history."""
    known = {str(source): source for source in job.sources}

    def found(text: str) -> SourceSpec:
        fresh = new_source(text)
        return known.get(str(fresh), fresh)

    present = (
        list(job.sources)
        if isinstance(changes.sources, Unset)
        else [found(text) for text in changes.sources]
    )
    for text in changes.remove_sources:
        source = found(text)
        if source not in present:
            raise NotFoundError(f"job {job.name} has no source {source}", source=str(source))
        present.remove(source)
    present += [found(text) for text in changes.add_sources]
    return tuple(present)


def _weakens(job: Job, changed: Job) -> list[str]:
    """Return how a change weakens the job, in words."""
    weakens: list[str] = []
    if job.encrypted and not changed.encrypted:
        weakens.append("encryption is turned off")
    if job.encrypted and changed.encrypted and job.recovery and not changed.recovery:
        weakens.append("the recovery key no longer opens new backups")
    if _has_half(job) and changed.encrypted and not _has_half(changed):
        weakens.append("new backups open without the local half")
    if job.secret_to_read and not changed.secret_to_read:
        weakens.append("its points can be read here without giving a secret")
    if _is_shorter(job.retention, changed.retention):
        weakens.append(f"retention is shortened from {job.retention} to {changed.retention}")
    return weakens


def _has_half(job: Job) -> bool:
    return isinstance(job.encryption, KmsEncryption) and job.encryption.local_half


def _is_shorter(before: RetentionRules, after: RetentionRules) -> bool:
    """Tell whether some point that the old rules keep could go under the new ones."""

    def less(old: int | None, new: int | None) -> bool:
        return old is not None and (new is None or new < old)

    return any(less(getattr(before, rule), getattr(after, rule)) for rule in NUMBERS)


def _confirm(
    job: Job, changed: Job, would_remove: list[str], *, yes: bool, yes_weaken: bool
) -> None:
    weakens = _weakens(job, changed)
    only_retention = all("retention" in weakening for weakening in weakens)
    if not weakens or yes_weaken or (yes and only_retention):
        return
    removes = f"; points that the next session lets go: {len(would_remove)}" if would_remove else ""
    hint = "say --yes if that is meant" if only_retention else "say --yes-weaken if it is meant"
    if would_remove:
        options = _options(job.retention, changed.retention)
        hint += f"; 'strongroom job retention {job.name}{options}' tells why"
    raise ConfirmationNeededError(
        f"job {job.name}: {'; '.join(weakens)}{removes}",
        hint=hint,
        weakens=weakens,
        would_remove=would_remove,
    )


def _options(before: RetentionRules, rules: RetentionRules) -> str:
    return "".join(
        f" --{name} {'none' if value is None else value}"
        for rule in NUMBERS
        for name, value in [(rule.replace("_", "-"), getattr(rules, rule))]
        if name in ("keep-last", "keep-days") or value != getattr(before, rule)
    )


def _would_remove(ctx: Context, job: Job, changed: Job) -> list[str]:
    """Return the points that the old rules keep today and the new ones do not."""
    before = retention.judge(ctx, job, job.retention)
    after = retention.judge(ctx, job, changed.retention)
    return [
        new.row.point_id.hex()
        for old, new in zip(before, after, strict=True)
        if old.verdict.stays and not new.verdict.stays
    ]


def _notices(ctx: Context, job: Job, changed: Job) -> list[str]:
    notices: list[str] = []
    ran = chains.current(ctx.database, job.job_id) is not None
    if ran and changed.repository != job.repository:
        wanted = repositories.get(ctx.database, changed.repository).repository_id
        left = any(row.repository_id == wanted for row in chains.of_job(ctx.database, job.job_id))
        copied = {row.chain_id for row in copies.of_repository(ctx.database, wanted)}
        does = "goes on from the points that are" if left else "makes a full"
        if not copied.isdisjoint(row.chain_id for row in chains.of_job(ctx.database, job.job_id)):
            does = "goes on in the copy of its chain that is"
        notices.append(
            f"the next session {does} in {changed.repository}; what is in {job.repository} "
            "stays there, and no retention applies to it as long as the job is there"
        )
    elif ran and job.encrypted != changed.encrypted:
        turned = "on" if changed.encrypted else "off"
        notices.append(
            f"encryption is turned {turned}: the next session makes a full in a new chain; what "
            "is there stays as it is"
        )
    if changed.secret_to_read and not job.secret_to_read:
        notices.append(
            "from now on a secret has to be given to restore, list or compare what is in its "
            "points; who owns the home's files is not bound by that"
        )
    removed = [str(source) for source in job.sources if source not in changed.sources]
    if ran and removed:
        notices.append(
            f"points of {', '.join(removed)} stay; of each, the last three never expire by "
            "themselves"
        )
    return notices


def _rekey(
    ctx: Context,
    job: Job,
    changed: Job,
    old: SecretSource | None,
    notices: list[str],
    *,
    link_later: bool,
) -> list[rekeying.Rekeyed]:
    """Make keys and links at once if the job's chains are sealed for others from now on."""
    row = chains.current(ctx.database, job.job_id)
    if row is None or isinstance(job.encryption, NoEncryption) or not changed.encrypted:
        return []
    if changed.repository != job.repository:
        return []
    recipients = keys.recipients(ctx, changed)
    if frozenset(recipient.id for recipient in recipients) == row.recipient_ids:
        return []
    if job.secret_to_read and isinstance(job.encryption, KmsEncryption):
        from strongroom.control import guarded

        if not guarded.may_link(ctx, job, row, frozenset(one.id for one in recipients)):
            notices.append(
                f"the next session of job {job.name} starts a new chain with a full: what is "
                "there was sealed for others, and the job is guarded"
            )
        return []
    name = job.encryption.name
    hint = (
        "" if isinstance(job.encryption, KmsEncryption) else passwords.get(ctx.database, name).hint
    )
    prepared = rekeying.prepare(
        ctx,
        job,
        keys.needs_old_password(ctx, job),
        old,
        f"present password {name}",
        hint,
        link_later=link_later,
    )
    if isinstance(prepared, rekeying.Pending):
        notices.append(prepared.text)
        return []
    if prepared is None:
        return []
    older, left = rekeying.prepare_older(ctx, prepared)
    rekeyed = [rekeying.carry_out(ctx, one, recipients) for one in (prepared, *older)]
    notices.append(
        "the next session is an increment; the new key opens what was there, too"
        if rekeyed[0].linked
        else rekeyed[0].text
    )
    notices += left
    return rekeyed


# --- the rest -------------------------------------------------------------------------------


def list_all(ctx: Context) -> tuple[JobView, ...]:
    """Return every job, by name."""
    return tuple(_view(ctx, job) for job in jobs.all_jobs(ctx.database))


def show(ctx: Context, name: str) -> JobView:
    """Return one job.

    Raises:
        NotFoundError: there is none of this name.
    """
    return _view(ctx, jobs.get(ctx.database, name))


def remove(ctx: Context, name: str, *, yes: bool = False) -> JobRemoved:
    """Remove a job. Its points go on by its rules, and prune lets them go when they have expired.

    Raises:
        ConfirmationNeededError: nobody said yes.
        ConflictError: it is being re-encrypted, and nobody else would clear away what was made.
    """
    job = jobs.get(ctx.database, name)
    if reencryptions.of_job(ctx.database, job.job_id):
        raise ConflictError(
            f"re-encrypting job {name} is not finished",
            hint=f"'strongroom job reencrypt {name}' goes on with it, --abandon drops it",
        )
    count = len(point_rows.of_job(ctx.database, job.job_id))
    future = retention.foreseen(ctx, job)
    what = _becomes(job, count, future)
    if not yes:
        raise ConfirmationNeededError(
            f"job {name} is to be removed; {what}",
            hint="say --yes if that is meant",
            job=name,
            points=count,
        )
    view = _view(ctx, job)
    with ctx.database.transaction():
        jobs.remove(ctx.database, job.job_id)
        if chains.of_job(ctx.database, job.job_id):
            removed_jobs.insert(ctx.database, job, ctx.clock.now())
        audit.record(ctx, "job.removed", job=name)
    return JobRemoved(
        job=view, points=count, staying=future.staying, gone_on=future.gone_on, notices=(what,)
    )


def _becomes(job: Job, points: int, future: Future) -> str:
    """Return what becomes of the points of a job that is removed."""
    if not points:
        return "it has no points"
    text = f"its points ({points}) go on by its rules ({job.retention})"
    if future.staying:
        stays = "stays" if future.staying == 1 else "stay"
        text += (
            f": {future.staying} of them (held, or the newest that --keep-last counts) {stays} "
            "until 'point remove'"
        )
    if future.gone_on is not None:
        which = "; the last of the others" if future.staying else ": the last of them"
        text += f"{which} goes on {future.gone_on}, with 'repository prune'"
    return text


def detach(ctx: Context, name: str) -> JobResult:
    """Split a job's chain off: the next session starts another, and this one expires alone.

    Raises:
        NotFoundError: the job has made no point yet.
    """
    job = jobs.get(ctx.database, name)
    row = chains.current(ctx.database, job.job_id)
    if row is None:
        raise NotFoundError(f"job {name} has no chain yet", job=name)
    with ctx.database.transaction():
        chains.detach(ctx.database, row.chain_id)
        audit.record(ctx, "job.detached", job=name, chain=row.chain_id.hex())
    notice = (
        f"the next session of {name} makes a full in a new chain; the points of the present one "
        "stay as long as retention keeps them"
    )
    return JobResult(job=_view(ctx, job), notices=(notice,))


def _view(ctx: Context, job: Job) -> JobView:
    chain = chains.current(ctx.database, job.job_id)
    newest = sessions.newest(ctx.database, job.job_id)
    active = recovery_keys.active(ctx.database) is not None
    return JobView(
        name=job.name,
        job_id=job.job_id.hex(),
        repository=job.repository,
        sources=tuple(map(str, job.sources)),
        encrypt=str(job.encryption),
        exclude=job.exclude,
        one_file_system=job.one_file_system,
        exclude_caches=job.exclude_caches,
        compression=job.compression.value,
        block_size=job.block_size,
        **retention.told(job.retention),
        full_every_points=job.full_every_points,
        full_every_days=job.full_every_days,
        expect_every_hours=job.expect_every_hours,
        limit=None if job.limit is None else str(job.limit),
        pre_script=job.pre_script,
        post_script=job.post_script,
        on_failure=job.on_failure,
        recovery=job.recovery,
        secret_to_read=job.secret_to_read,
        protected=job.encrypted and job.recovery and active,
        local_half=_has_half(job),
        unlinked=tuple(
            link.older_id.hex() for link in missing_links.of_chain(ctx.database, chain.chain_id)
        )
        if chain
        else (),
        chain=chain.chain_id.hex() if chain else None,
        last_state=newest.state.value if newest else None,
        last_run_at=newest.started_at if newest else None,
    )
