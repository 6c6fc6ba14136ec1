"""The keys at a KMS that backups are sealed for: made, rotated, looked after.

    a job's first use ──▶ make     every 24 h, or kms sync ──▶ learn of newer ones, and of lost
    kms rotate ──▶ ask for the next one            the next session ──▶ an increment under it

A backup needs the public half only, which is kept: it goes on while the KMS is away, with a
warning, unless the operator asked for more.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from strongroom.catalog import copy_jobs, jobs
from strongroom.catalog import kms as rows
from strongroom.control import audit, keys, kms_views
from strongroom.control.views.kms import KmsKeyTest, KmsSyncResult
from strongroom.crypto import random
from strongroom.crypto.rsa import OaepHash, PublicKey
from strongroom.errors import (
    NotFoundError,
    RefusedError,
    StrongroomError,
    UnavailableError,
)
from strongroom.keystore import KmsKeyRecord
from strongroom.kms.base import KeyState, key_name
from strongroom.model.job import Job, KmsEncryption
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from strongroom.control.context import Context
    from strongroom.kms.base import Kms, KmsKey

SYNC_EVERY: Final = timedelta(hours=24)


def ensure(ctx: Context, job: Job) -> None:
    """See to it that a job that is sealed for a KMS has a key there.

    Raises:
        NotFoundError: there is no such KMS.
        KmsUnavailableError, RefusedError: it makes none.
        InvalidInputError: a local half is wanted, and no recovery kit carries it.
    """
    if not isinstance(job.encryption, KmsEncryption):
        return
    row = rows.get(ctx.database, job.encryption.name)
    if rows.key_of_job(ctx.database, row.kms_id, job.job_id) is None:
        name = key_name(job.name, job.job_id)
        made = _kms(ctx, row).make_key(name, row.bits)
        _remember(ctx, row, job.job_id, name, 1, made)
        audit.record(ctx, "kms.key-made", needed=False, kms=row.name, key=made.key, job=job.name)
    keys.recipients(ctx, job)


def _kms(ctx: Context, row: rows.KmsRow) -> Kms:
    return ctx.kms(row.kms_id, row.endpoints)


def _remember(
    ctx: Context, row: rows.KmsRow, job_id: bytes, name: str, version: int, made: KmsKey
) -> None:
    public = PublicKey(made.public)
    ctx.keystore.put(
        keys.kms_key_name(row.kms_id, made.key), KmsKeyRecord(public=public.der, oaep=made.oaep)
    )
    now = ctx.clock.now()
    rows.add_key(
        ctx.database,
        rows.KmsKeyRow(
            kms_id=row.kms_id,
            key=made.key,
            job_id=job_id,
            name=name,
            version=version,
            state=KeyState.ACTIVE,
            made_at=now,
            checked_at=now,
        ),
    )


# --- rotation ---------------------------------------------------------------------------------


def sync(ctx: Context, name: str) -> KmsSyncResult:
    """Ask a KMS which of its keys are newer, and which open nothing any longer.

    Raises:
        NotFoundError: there is none of this name.
        KmsUnavailableError, RefusedError: it does not say.
    """
    return _synced(ctx, rows.get(ctx.database, name))[0]


def _synced(ctx: Context, row: rows.KmsRow) -> tuple[KmsSyncResult, dict[str, RefusedError]]:
    """Do the same for a KMS; return also of which names of keys it says nothing, and why."""
    rotated, refused = _learn(ctx, row)
    row = replace(row, synced_at=ctx.clock.now())
    rows.update(ctx.database, row)
    warnings = [
        *map(str, refused.values()),
        *_lost(ctx, row),
        *kms_views.expiry_warnings(ctx, row),
    ]
    audit.record(
        ctx, "kms.synced", needed=False, kms=row.name, rotated=rotated, warnings=len(warnings)
    )
    result = KmsSyncResult(
        kms=kms_views.view(ctx, row), rotated=tuple(rotated), warnings=tuple(warnings)
    )
    return result, refused


def rotate(ctx: Context, name: str, job: str | None = None) -> KmsSyncResult:
    """Have a KMS make the next key of one job, or of all that use it, copy jobs among them.

    Raises:
        NotFoundError: there is no such KMS, or no such job with a key there.
        KmsUnavailableError, RefusedError: it makes none.
    """
    audit.require(ctx)
    row = rows.get(ctx.database, name)
    found = [*jobs.of_kms(ctx.database, row.kms_id), *_copies_for(ctx, name)]
    if job is not None:
        found = [one for one in found if one.name == job]
        if not found:
            raise NotFoundError(f"no job {job} is sealed for KMS {name}", job=job)
    rotated: list[str] = []
    for one in found:
        present = rows.key_of_job(ctx.database, row.kms_id, one.job_id)
        if present is None:
            ensure(ctx, one)
            continue
        key, made = _next_key(ctx, row, one, present)
        _remember(ctx, row, one.job_id, key, present.version + 1, made)
        rotated.append(key)
        audit.record(ctx, "kms.rotated", kms=name, key=made.key, job=one.name)
    result = sync(ctx, name)
    return msgspec.structs.replace(result, rotated=(*rotated, *result.rotated))


def _copies_for(ctx: Context, kms: str) -> list[Job]:
    """Return the copies whose own key is sealed for a KMS, as if they were jobs of their own."""
    # Not at the top: only who rotates asks.
    from strongroom.control.cloned_copies import as_job

    copies = [row.copy for row in copy_jobs.of_kms(ctx.database, kms)]
    return [as_job(copy, jobs.get(ctx.database, copy.job)) for copy in copies]


def _next_key(
    ctx: Context, row: rows.KmsRow, job: Job, present: rows.KmsKeyRow
) -> tuple[str, KmsKey]:
    """Have the key made that comes after a job's present one; return its name too."""
    kms = _kms(ctx, row)
    with suppress(NotFoundError):
        made = kms.rotate(present.name, row.bits)
        if made.key not in {key.key for key in rows.keys_of(ctx.database, row.kms_id)}:
            return present.name, made
    # Where one name has all versions, they are destroyed together, and whoever makes the name
    # anew counts from 1 again: such a key has the id of one that we have seen.
    name = f"{key_name(job.name, job.job_id)}-{present.version + 1}"
    return name, kms.make_key(name, row.bits)


def _learn(ctx: Context, row: rows.KmsRow) -> tuple[list[str], dict[str, RefusedError]]:
    """Take in newer keys and present states.

    Returns:
        The names of keys that are newer, and of those that the KMS refuses to speak of.

    Raises:
        KmsUnavailableError: it does not answer.
        RefusedError: it speaks of none.
    """
    kms = _kms(ctx, row)
    rotated: list[str] = []
    refused: dict[str, RefusedError] = {}
    named: dict[str, list[rows.KmsKeyRow]] = {}
    for key in rows.keys_of(ctx.database, row.kms_id):
        named.setdefault(key.name, []).append(key)
    for name, known in named.items():
        try:
            for key in known:
                rows.seen(ctx.database, row.kms_id, key.key, kms.state(key.key), ctx.clock.now())
            found = kms.newest_key(name)
        except NotFoundError:
            continue  # none of this name opens anything: its state says why
        except RefusedError as error:
            # What is wrong with the key of one job keeps the others from nothing.
            refused[name] = error
            continue
        if found.key not in {key.key for key in known}:
            _remember(ctx, row, known[0].job_id, name, known[0].version + 1, found)
            rotated.append(name)
        elif _public(ctx, row, found.key) != PublicKey(found.public).der:
            # Another key stands under its id, and opens nothing of what it did.
            rows.seen(ctx.database, row.kms_id, found.key, KeyState.DESTROYED, ctx.clock.now())
    if refused and len(refused) == len(named):
        raise next(iter(refused.values()))
    return rotated, refused


def _public(ctx: Context, row: rows.KmsRow, key: str) -> bytes:
    """Return the public half that is sealed to for a key."""
    return ctx.keystore.get(KmsKeyRecord, keys.kms_key_name(row.kms_id, key)).public


def _lost(ctx: Context, row: rows.KmsRow) -> list[str]:
    """Return what to say of keys that open nothing, with the points that depend on them."""
    said = []
    for key in rows.keys_of(ctx.database, row.kms_id):
        state = KeyState(key.state)
        if state.opens:
            continue
        needed = kms_views.points_that_need(ctx, row, key.key)
        newest = rows.key_of_job(ctx.database, row.kms_id, key.job_id)
        job = jobs.by_id(ctx.database, key.job_id)
        if not needed and (job is None or newest is None or newest.key != key.key):
            continue  # nobody needs it any longer
        shown = ", ".join(one.hex()[:12] for one in needed[:10])
        more = f" and {len(needed) - 10} more" if len(needed) > 10 else ""
        depend = f"; {counted(len(needed), 'point')} opened by it: {shown}{more}" if needed else ""
        does = {
            KeyState.DISABLED: "is disabled",
            KeyState.CONDEMNED: "is scheduled for deletion",
            KeyState.DESTROYED: "is destroyed",
        }[state]
        said.append(f"key {key.name} ({key.key}) of KMS {row.name} {does}{depend}")
    return said


# --- before a session -------------------------------------------------------------------------


def before_session(ctx: Context, job: Job) -> list[str]:
    """See what a KMS has to say before a session is sealed for one of its keys.

    It is asked for the state of the job's key, and for everything where that is a day old. Where
    it does not answer the session goes on: the public half is here.

    Returns:
        What the operator has to know.

    Raises:
        KmsUnavailableError: it does not answer, and the operator asked for that to end sessions.
        RefusedError: likewise, of one that answers no; or the job's key is destroyed.
    """
    if not isinstance(job.encryption, KmsEncryption):
        return []
    row = rows.get(ctx.database, job.encryption.name)
    now = ctx.clock.now()
    warnings = kms_views.expiry_warnings(ctx, row)
    try:
        ensure(ctx, job)
        if row.synced_at is None or now - row.synced_at > SYNC_EVERY:
            _, refused = _synced(ctx, row)
            key = rows.key_of_job(ctx.database, row.kms_id, job.job_id)
            if key is not None and key.name in refused:
                raise refused[key.name]
        else:
            _look(ctx, row, job)
    except StrongroomError as error:
        if row.strict or rows.key_of_job(ctx.database, row.kms_id, job.job_id) is None:
            error.hint = error.hint or (
                "the job's policy is strict: 'strongroom kms edit "
                f"{row.name} --no-strict' lets sessions go on without it"
            )
            raise
        away = "is away" if isinstance(error, UnavailableError) else "answers no"
        warnings.append(
            f"KMS {row.name} {away}, and the session goes on with the public half of its key: "
            f"{error}"
        )
    key = rows.key_of_job(ctx.database, row.kms_id, job.job_id)
    if key is not None and key.state == KeyState.DESTROYED:
        raise RefusedError(
            f"key {key.name} ({key.key}) of KMS {row.name} is destroyed: what would be sealed for "
            "it now could never be opened by it",
            hint=f"'strongroom kms rotate {row.name} --job {job.name}' asks for another one",
            kms=row.name,
            key=key.key,
        )
    return [*warnings, *_lost(ctx, row)]


def _look(ctx: Context, row: rows.KmsRow, job: Job) -> None:
    key = rows.key_of_job(ctx.database, row.kms_id, job.job_id)
    # Of what is destroyed a sync learns that it is there again, and whether it is the same.
    if key is not None and key.state != KeyState.DESTROYED:
        state = _kms(ctx, row).state(key.key)
        rows.seen(ctx.database, row.kms_id, key.key, state, ctx.clock.now())


# --- proof ------------------------------------------------------------------------------------


def prove(ctx: Context, row: rows.KmsRow) -> tuple[KmsKeyTest, ...]:
    """Have a KMS open a few bytes with each of its keys that points or jobs need."""
    found: list[KmsKeyTest] = []
    for key in rows.keys_of(ctx.database, row.kms_id):
        job = jobs.by_id(ctx.database, key.job_id)
        newest = rows.key_of_job(ctx.database, row.kms_id, key.job_id)
        present = job is not None and newest is not None and newest.key == key.key
        if not present and not kms_views.points_that_need(ctx, row, key.key):
            continue
        problem = _prove_one(ctx, row, key)
        state = KeyState(key.state)
        if problem is None:
            state = KeyState.ACTIVE
            rows.seen(ctx.database, row.kms_id, key.key, state, ctx.clock.now())
            rows.proven(ctx.database, row.kms_id, key.key, ctx.clock.now())
        found.append(
            KmsKeyTest(
                name=key.name,
                key=key.key,
                job=job.name if job else None,
                state=state,
                opened=problem is None,
                problem=problem,
            )
        )
    return tuple(found)


def _prove_one(ctx: Context, row: rows.KmsRow, key: rows.KmsKeyRow) -> str | None:
    sample = random.token(32)
    try:
        record = ctx.keystore.get(KmsKeyRecord, keys.kms_key_name(row.kms_id, key.key))
        oaep = OaepHash(record.oaep)
        sealed = PublicKey(record.public).encrypt(sample, oaep)
        opened = _kms(ctx, row).decrypt(key.key, sealed, oaep)
    except StrongroomError as error:
        return str(error)
    return None if opened == sample else "it opened something else than what was sealed"
