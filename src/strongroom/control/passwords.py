"""Passwords: added, changed, verified, removed; shared by any number of jobs.

A password's secret changes under its name. Chains sealed for the old secret keep opening with
it, and a change makes new key and link at once, so that the new one opens all of them too
(mission, rule 7). Of a write-only password this machine keeps nothing that opens a backup.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec

from strongroom.catalog import chains, jobs, missing_links, passwords, points
from strongroom.control import attempts, audit, config_backup, copy_jobs, keys, rekeying
from strongroom.control.views.passwords import PasswordResult, PasswordView
from strongroom.crypto import hpke, random
from strongroom.crypto.kdf import derive_seed
from strongroom.crypto.passwords import check_strength
from strongroom.crypto.recipients import Recipient, make_password_recipient
from strongroom.errors import (
    ConfirmationNeededError,
    ConflictError,
    InUseError,
    InvalidInputError,
    NoRecipientMatchedError,
    UnlockError,
)
from strongroom.keystore import PasswordRecord
from strongroom.model.ids import checked_name
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from strongroom.control.context import Context
    from strongroom.control.secrets import SecretSource
    from strongroom.crypto.keys import Password, Seed
    from strongroom.model.job import Job

WRITE_ONLY_NOTICE: Final = (
    "write-only: this machine makes backups and cannot read them. The password will be asked "
    "for by: restore, verify, point files and diff, a change of this password, and of who else "
    "may read. Scheduled verification and re-wrapping will not work by themselves"
)
_SAME_NOTICE: Final = "this is the secret that it has: backups stay sealed as they are"
_HINT_NOTICE: Final = "the hint is public: it can be read in every repository, without a key"


def add(
    ctx: Context, name: str, secret: SecretSource, *, hint: str = "", write_only: bool = False
) -> PasswordResult:
    """Add a password.

    Raises:
        WeakPasswordError: it breaks a rule of the strength policy.
        ConflictError: the name is taken.
    """
    checked_name("password", name)
    if passwords.find(ctx.database, name) is not None:
        raise ConflictError(
            f"there is a password {name} already",
            hint=f"'strongroom password edit {name}' changes it",
            password=name,
        )
    text = secret.get(f"new password {name}", new=True)
    check_strength(text.expose().decode(), hint)
    now = ctx.clock.now()
    row = passwords.PasswordRow(random.token(16), name, hint, write_only, 1, now, now, now)
    record, _ = _make_record(ctx, row, text)
    _store(ctx, row, record)
    with ctx.database.transaction():
        passwords.insert(ctx.database, row, _version(row, record))
        audit.record(ctx, "password.added", password=name, write_only=write_only)
    notices = [_HINT_NOTICE] if hint else []
    notices += [WRITE_ONLY_NOTICE] if write_only else []
    return PasswordResult(password=_view(ctx, row), notices=tuple(notices))


def list_all(ctx: Context) -> tuple[PasswordView, ...]:
    """Return every password, by name."""
    return tuple(_view(ctx, row) for row in passwords.all_rows(ctx.database))


def show(ctx: Context, name: str) -> PasswordView:
    """Return one password.

    Raises:
        NotFoundError: there is none of this name.
    """
    return _view(ctx, passwords.get(ctx.database, name))


def edit(
    ctx: Context,
    name: str,
    *,
    secret: SecretSource | None = None,
    hint: str | None = None,
    write_only: bool | None = None,
    old: SecretSource | None = None,
    link_later: bool = False,
    yes_weaken: bool = False,
) -> PasswordResult:
    """Change a password's secret, its hint, or what this machine keeps of it.

    Args:
        ctx: Surroundings.
        name: Which.
        secret: How to get the new secret; None leaves it, as does the present one.
        hint: The new hint; None leaves it.
        write_only: Whether this machine keeps no secret from now on; None leaves it.
        old: How to get the present secret where it is needed: to link the chains of a
            write-only password to the new one, or to keep the secret again. Without it, such
            a chain is followed by a new one, unless the secret given is the one it has.
        link_later: Without it such a chain goes on instead, and the link follows later.
        yes_weaken: Confirms that the machine may read what it could only write before.

    Raises:
        ConfirmationNeededError: write-only is to be dropped.
        WeakPasswordError: the new secret breaks a rule.
        UnavailableError: a write-only password's chain cannot be reached: nothing was changed.
    """
    row = passwords.get(ctx.database, name)
    if secret is None and hint is None and write_only is None:
        raise InvalidInputError(f"nothing is to be changed of password {name}")
    becomes_readable = row.write_only and write_only is False
    if becomes_readable and not yes_weaken:
        raise ConfirmationNeededError(
            f"from now on this machine could read every backup sealed for {name}",
            hint="say --yes-weaken if that is meant",
            password=name,
        )
    changed = replace(
        row,
        hint=row.hint if hint is None else hint,
        write_only=row.write_only if write_only is None else write_only,
    )
    audit.require(ctx)
    if secret is None:
        seed = _present_seed(ctx, row, old) if becomes_readable else None
        result = _edit_in_place(ctx, row, changed, seed)
    else:
        result = _edit_secret(ctx, row, changed, secret, old, link_later=link_later)
    if becomes_readable:
        audit.weakened(ctx, ["write-only is dropped"], password=name)
    audit.record(
        ctx,
        "password.changed",
        password=name,
        version=result.password.version,
        write_only=result.password.write_only,
    )
    return result


def _present_seed(ctx: Context, row: passwords.PasswordRow, present: SecretSource | None) -> Seed:
    """Return the seed of a write-only password that is to be kept from now on."""
    if present is None:
        raise InvalidInputError(f"the password {row.name} has to be given to be kept")
    text = present.get(f"password {row.name}", hint=row.hint)
    record = keys.password_record(ctx, row)
    with attempts.counted(ctx, row, "keep the secret"):
        return _seed_of(record, text, row)


def _edit_in_place(
    ctx: Context,
    row: passwords.PasswordRow,
    changed: passwords.PasswordRow,
    present: Seed | None,
) -> PasswordResult:
    """Change what is kept of a password whose secret stays.

    Args:
        ctx: Surroundings.
        row: The password as it is.
        changed: As it is to be.
        present: Its seed, where it was given: it is kept unless the password is write-only.
    """
    record = keys.password_record(ctx, row)
    seed = None if changed.write_only else record.seed or present
    changed = replace(changed, changed_at=ctx.clock.now())
    record = msgspec.structs.replace(record, hint=changed.hint, seed=seed)
    _store(ctx, changed, record)
    if changed.write_only and not row.write_only:
        _forget_secrets(ctx, changed)
    passwords.update(ctx.database, changed)
    notices = []
    if changed.hint != row.hint:
        notices.append(_HINT_NOTICE)
        notices.append("envelopes that are there keep the old hint")
    if changed.write_only and not row.write_only:
        notices.append(WRITE_ONLY_NOTICE)
    return PasswordResult(password=_view(ctx, changed), notices=tuple(notices))


def _edit_secret(
    ctx: Context,
    row: passwords.PasswordRow,
    changed: passwords.PasswordRow,
    secret: SecretSource,
    old: SecretSource | None,
    *,
    link_later: bool,
) -> PasswordResult:
    users = jobs.of_password(ctx.database, row.password_id)
    text = secret.get(f"new password {row.name}", new=True) if secret.named else None
    if text is not None and (seed := _if_present(ctx, row, text)) is not None:
        return _keep_secret(ctx, row, changed, text, seed)
    # Before the new secret is asked for: what cannot be reached ends it here.
    once = None if old is None else _asked_once(old)
    opened = [
        rekeying.prepare(
            ctx,
            job,
            keys.needs_old_password(ctx, job),
            once,
            f"present password {row.name}",
            row.hint,
            link_later=link_later,
        )
        for job in users
    ]
    prepared = [one for one in opened if isinstance(one, rekeying.Prepared)]
    notices = []
    for one in tuple(prepared):
        older, left = rekeying.prepare_older(ctx, one)
        prepared += older
        notices += left
    if text is None:
        text = secret.get(f"new password {row.name}", new=True)
        if (seed := _if_present(ctx, row, text)) is not None:
            return _keep_secret(ctx, row, changed, text, seed)
    check_strength(text.expose().decode(), changed.hint)
    now = ctx.clock.now()
    changed = replace(changed, version=row.version + 1, changed_at=now, verified_at=now)
    record, recipient = _make_record(ctx, changed, text)
    rekeyed = [
        rekeying.carry_out(ctx, one, _recipients(ctx, one.job, recipient)) for one in prepared
    ]
    pending = [one for one in opened if isinstance(one, rekeying.Pending)]
    _store(ctx, changed, record)
    with ctx.database.transaction():
        passwords.update(ctx.database, changed)
        passwords.add_version(ctx.database, _version(changed, record))
    for done in rekeyed:
        rekeying.settle(ctx, done, keep_key=not changed.write_only)
    for job in users:
        keys.link_made(ctx, job)
    if changed.write_only:
        _forget_secrets(ctx, changed)
    notices += [one.text for one in pending]
    notices += [done.text for done in rekeyed if not done.linked]
    notices += [WRITE_ONLY_NOTICE] if changed.write_only and not row.write_only else []
    notices.append(
        "what was sealed before keeps opening with the old password too, for whoever has a copy; "
        "what comes does not"
    )
    return PasswordResult(
        password=_view(ctx, changed),
        notices=tuple(notices),
        rekeyed=tuple(dict.fromkeys(done.job.name for done in rekeyed)),
        pending=tuple(one.job.name for one in pending),
    )


def _if_present(ctx: Context, row: passwords.PasswordRow, text: Password) -> Seed | None:
    """Return the seed that the secret becomes, if the password and its chains have it already."""
    # The answer tells whether it was guessed, so nothing is told while guessing is locked.
    attempts.refuse_if_locked(ctx, row)
    try:
        record = keys.password_record(ctx, row)
        seed = _seed_of(record, text, row)
    except UnlockError:
        return None  # another one; or the keystore was lost, and nobody can say
    key_id = hpke.PublicKey(record.public).id
    for job in jobs.of_password(ctx.database, row.password_id):
        chain = chains.current(ctx.database, job.job_id)
        if chain is not None and chain.sealed and key_id not in chain.recipient_ids:
            return None  # a chain of before the last change: the old secret can still link it
    return seed


def _keep_secret(
    ctx: Context,
    row: passwords.PasswordRow,
    changed: passwords.PasswordRow,
    text: Password,
    seed: Seed,
) -> PasswordResult:
    """Answer who gave a password the secret that it has: chains stay as they are."""
    if changed.hint != row.hint:
        check_strength(text.expose().decode(), changed.hint)
    result = _edit_in_place(ctx, row, changed, seed)
    return msgspec.structs.replace(result, notices=(*result.notices, _SAME_NOTICE))


def _asked_once(source: SecretSource) -> SecretSource:
    """Return a source that asks its operator once, however many chains need the answer."""
    if source.prompt is None:
        return source
    answers: dict[str, str] = {}
    ask = source.prompt

    def prompt(what: str) -> str:
        if what not in answers:
            answers[what] = ask(what)
        return answers[what]

    return replace(source, prompt=prompt)


def _recipients(ctx: Context, job: Job, password: Recipient) -> list[Recipient]:
    recovery = keys.recovery_recipient(ctx) if job.recovery else None
    return [password] if recovery is None else [password, recovery]


def _forget_secrets(ctx: Context, row: passwords.PasswordRow) -> None:
    """Drop every seed of the password's, and the keys of the chains of its jobs."""
    for version in passwords.versions(ctx.database, row.password_id):
        keys.forget_seed(ctx, row.password_id, version.version)
        for chain in chains.opened_by(ctx.database, version.key_id):
            rekeying.forget_chain_key(ctx, chain.chain_id)


def verify(ctx: Context, name: str, secret: SecretSource) -> PasswordView:
    """Check that a secret is the password's present one.

    Raises:
        NoRecipientMatchedError: it is not.
        AttemptsLockedError: too many answers before were wrong; this one was not looked at.
        AuditUnwritableError: the attempt cannot be written down.
    """
    row = passwords.get(ctx.database, name)
    text = secret.get(f"password {name}", hint=row.hint)
    record = keys.password_record(ctx, row)
    with attempts.counted(ctx, row, "verify"):
        _seed_of(record, text, row)
    row = replace(row, verified_at=ctx.clock.now())
    passwords.update(ctx.database, row)
    return _view(ctx, row)


def remove(ctx: Context, name: str) -> None:
    """Remove a password.

    Raises:
        InUseError: a job names it, or points are sealed for it; `fields["users"]` lists them.
    """
    row = passwords.get(ctx.database, name)
    users = [f"job {job.name}" for job in jobs.of_password(ctx.database, row.password_id)]
    users += config_backup.users_of(ctx.database, password_id=row.password_id)
    users += copy_jobs.sealed_for(ctx, password=name)
    users += _needed_by(ctx, row)
    if users:
        raise InUseError(
            f"password {name} is needed by {', '.join(users)}",
            hint="seal the jobs for another password, and let the points expire or remove them",
            users=users,
        )
    for version in passwords.versions(ctx.database, row.password_id):
        ctx.keystore.delete(
            PasswordRecord, keys.password_record_name(row.password_id, version.version)
        )
    with ctx.database.transaction():
        passwords.remove(ctx.database, row.password_id)
        audit.record(ctx, "password.removed", password=name)


def _needed_by(ctx: Context, row: passwords.PasswordRow) -> list[str]:
    """Return the chains with points that are not opened whole without this password."""
    users = []
    for version in passwords.versions(ctx.database, row.password_id):
        for chain in chains.opened_by(ctx.database, version.key_id):
            count = len(points.of_chain(ctx.database, chain.chain_id))
            if not count or version.key_id not in missing_links.needed(ctx.database, chain):
                continue
            job = jobs.by_id(ctx.database, chain.job_id)
            of = f"job {job.name}" if job else "a removed job"
            users.append(f"{counted(count, 'point')} of {of} (chain {chain.chain_id.hex()[:12]})")
    return users


# --- records --------------------------------------------------------------------------------


def _make_record(
    ctx: Context, row: passwords.PasswordRow, text: Password
) -> tuple[PasswordRecord, Recipient]:
    recipient, seed = make_password_recipient(text, row.hint, ctx.identity.public, ctx.derivation())
    record = PasswordRecord(
        name=row.name,
        hint=row.hint,
        salt=recipient.salt,
        parameters=recipient.parameters,
        public=recipient.public.raw,
        vouch=recipient.vouch,
        seed=None if row.write_only else seed,
        created_at=row.changed_at,
    )
    return record, recipient


def _store(ctx: Context, row: passwords.PasswordRow, record: PasswordRecord) -> None:
    ctx.keystore.put(keys.password_record_name(row.password_id, row.version), record)


def _version(row: passwords.PasswordRow, record: PasswordRecord) -> passwords.PasswordVersion:
    key_id = hpke.PublicKey(record.public).id
    return passwords.PasswordVersion(row.password_id, row.version, key_id, row.changed_at)


def _seed_of(record: PasswordRecord, text: Password, row: passwords.PasswordRow) -> Seed:
    """Return the seed that `text` becomes, if that is the password's."""
    seed = derive_seed(text, record.salt, record.parameters)
    if hpke.PrivateKey.from_seed(seed).public.raw != record.public:
        shown = f"; its hint: {row.hint}" if row.hint else ""
        raise NoRecipientMatchedError(
            f"this is not the password {row.name}{shown}", password=row.name, hints=[row.hint]
        )
    return seed


def _view(ctx: Context, row: passwords.PasswordRow) -> PasswordView:
    present = passwords.versions(ctx.database, row.password_id)
    return PasswordView(
        name=row.name,
        hint=row.hint,
        write_only=row.write_only,
        version=row.version,
        key_id=present[0].key_id.hex() if present else "",
        created_at=row.created_at,
        changed_at=row.changed_at,
        verified_at=row.verified_at,
        jobs=tuple(job.name for job in jobs.of_password(ctx.database, row.password_id)),
    )
