"""The recovery key: what opens every backup when the password is lost.

Its private half is written once, to a file, and kept nowhere else. Its public half seals every
encrypted job from then on. A new kit takes the old one's place; old kits open old points.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from strongroom import logs
from strongroom.catalog import jobs, recovery_keys, repositories
from strongroom.control import keys
from strongroom.control.recovery_kit import LARGEST, RecoveryKit, format_kit, make_kit, parse_kit
from strongroom.control.views import (
    ChainProof,
    RecoveryKeyView,
    RecoveryResult,
    RecoveryTestResult,
)
from strongroom.crypto import random
from strongroom.crypto.recipients import (
    RecoveryUnlocker,
    local_half_of,
    make_recovery_recipient,
)
from strongroom.errors import (
    ConflictError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    StrongroomError,
    UnavailableError,
)
from strongroom.keystore import RecoveryRecord
from strongroom.repository.repository import Repository

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.control.context import Context
    from strongroom.format.journal import SessionBody
    from strongroom.repository.chain import Chain, Trust


def create(ctx: Context, file: Path) -> RecoveryResult:
    """Make a recovery key and write its kit to `file`, which must not exist.

    Raises:
        ConflictError: there is such a file.
        RefusedError: it cannot be written.
    """
    seed = random.seed()
    now = ctx.clock.now()
    identity = ctx.identity.public
    kit = make_kit(seed, identity.fingerprint, now)
    recipient = make_recovery_recipient(seed, "recovery kit", identity)
    before = recovery_keys.active(ctx.database)
    # The kit first: a public half without its other half would protect nothing.
    _write_once(file, format_kit(kit))
    ctx.keystore.put(
        kit.key_id.hex(),
        RecoveryRecord(
            name=recipient.label,
            public=recipient.public.raw,
            vouch=recipient.vouch,
            created_at=now,
            local_half=local_half_of(seed),
        ),
    )
    row = recovery_keys.RecoveryKeyRow(kit.key_id, now)
    recovery_keys.activate(ctx.database, row)
    logs.event("recovery.created", key=kit.key_id.hex(), signer=identity.fingerprint)
    return RecoveryResult(
        key=_view(ctx, row),
        path=str(file),
        notices=tuple(_notices(ctx, file, replaced=before is not None)),
    )


def _notices(ctx: Context, file: Path, *, replaced: bool) -> list[str]:
    notices = [
        f"keep {file} off this machine: printed in a safe, say. It opens every backup",
        "from each job's next session on, its backups open with this kit too",
    ]
    if replaced:
        notices.append("keep the older kit as well: it opens what was sealed for it")
    notices += [
        f"job {job.name} is write-only: its next session starts a new chain with a full, unless "
        f"'strongroom job edit {job.name} --encrypt {job.encryption}' is given the password once"
        for job in jobs.all_jobs(ctx.database)
        if job.recovery and keys.needs_old_password(ctx, job)
    ]
    return notices


def show(ctx: Context) -> RecoveryKeyView:
    """Return the active recovery key.

    Raises:
        NotFoundError: there is none.
    """
    row = recovery_keys.active(ctx.database)
    if row is None:
        raise NotFoundError(
            "there is no recovery key",
            hint="'strongroom recovery create FILE' makes one; without it a lost password "
            "means lost backups",
        )
    return _view(ctx, row)


def read_kit(file: Path) -> RecoveryKit:
    """Return the kit in a file.

    Raises:
        InvalidInputError: the file cannot be read, or holds none.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except OSError as error:
        raise InvalidInputError(f"cannot read the recovery key {file}: {error.strerror}") from error
    if len(data) > LARGEST:
        raise InvalidInputError(f"{file} is too long for a recovery kit")
    return parse_kit(data.decode(errors="replace"))


def prove(ctx: Context, file: Path, wheres: tuple[str, ...] = ()) -> RecoveryTestResult:
    """Prove that a kit opens the newest point of every chain.

    Args:
        ctx: Surroundings.
        file: The kit.
        wheres: Names or locations of repositories; those of the catalog by default.

    Raises:
        InvalidInputError: the file holds no kit.
        NotFoundError, IntegrityError, UnavailableError, RefusedError: one of `wheres` does not
            open.
    """
    from strongroom.control.access import storage_of

    kit = read_kit(file)
    unlocker = RecoveryUnlocker(kit.seed)
    believed = keys.readers_trust(ctx)
    believed = replace(believed, accepted=believed.accepted | {kit.signer})
    asked = bool(wheres)
    if not asked and ctx.has_catalog:
        wheres = tuple(row.name for row in repositories.all_rows(ctx.database))
    proofs: list[ChainProof] = []
    for where in wheres:
        try:
            repository = Repository.open(storage_of(ctx, where))
            chain_ids = repository.chain_ids()
        except (NotFoundError, IntegrityError, UnavailableError, RefusedError) as error:
            if asked:
                raise
            # One repository that is not there says nothing of the others.
            proofs.append(_unreachable(where, error))
            continue
        for chain_id in chain_ids:
            proof = _prove(repository, where, chain_id, unlocker, believed)
            if proof is not None:
                proofs.append(proof)
    ok = bool(proofs) and all(proof.opened for proof in proofs)
    if ok and ctx.has_catalog:
        recovery_keys.tested(ctx.database, kit.key_id, ctx.clock.now())
    logs.event("recovery.tested", key=kit.key_id.hex(), ok=ok, chains=len(proofs))
    return RecoveryTestResult(ok=ok, key_id=kit.key_id.hex(), chains=tuple(proofs))


def _unreachable(where: str, error: StrongroomError) -> ChainProof:
    return ChainProof(repository=where, chain=None, point=None, opened=False, problem=str(error))


def _prove(
    repository: Repository,
    where: str,
    chain_id: bytes,
    unlocker: RecoveryUnlocker,
    believed: Trust,
) -> ChainProof | None:
    """Open the newest point of a chain; None where it has none, or is plain."""
    point: str | None = None
    try:
        chain = repository.chain(chain_id)
        live = chain.live_points()
        if not chain.sealed or not live:
            return None
        point = live[-1].point.point_id.hex()
        _open_newest(chain, live[-1].body, unlocker, believed)
    except StrongroomError as error:
        return ChainProof(
            repository=where, chain=chain_id.hex(), point=point, opened=False, problem=str(error)
        )
    return ChainProof(repository=where, chain=chain_id.hex(), point=point, opened=True)


def _open_newest(
    chain: Chain, body: SessionBody, unlocker: RecoveryUnlocker, believed: Trust
) -> None:
    keyring = chain.unlock(unlocker, believed)
    # The keys of every session that the point's blocks were sealed in, not only of its own.
    for record in dict(chain.sessions(body).items()).values():
        keyring.secrets(record)


def _view(ctx: Context, row: recovery_keys.RecoveryKeyRow) -> RecoveryKeyView:
    return RecoveryKeyView(
        key_id=row.key_id.hex(),
        signer=ctx.identity.public.fingerprint,
        created_at=row.created_at,
        tested_at=row.tested_at,
        jobs=tuple(
            job.name for job in jobs.all_jobs(ctx.database) if job.encrypted and job.recovery
        ),
    )


def _write_once(file: Path, text: str) -> None:
    """Write a new file that only its owner can read, durably."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(file, flags, 0o600)
    except FileExistsError as error:
        raise ConflictError(
            f"there is a file {file} already", hint="a kit is written once, to a new file"
        ) from error
    except OSError as error:
        raise RefusedError(f"cannot write {file}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        _sync_folder(file.parent)
    except OSError as error:
        with suppress(OSError):
            file.unlink()
        raise RefusedError(f"cannot write {file}: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
