"""The recovery key: what opens every backup when the password is lost.

Its private half is written once, to files, and kept nowhere else. Its public half seals every
encrypted job from then on. A new key takes the old one's place; old kits open old points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.catalog import chains, jobs, points, recovery_keys
from strongroom.control import audit, keys
from strongroom.control.recovery_files import make_folder, read_kit, write_all
from strongroom.control.recovery_kit import format_kit, make_kit
from strongroom.control.recovery_shares import format_share, split_kit
from strongroom.control.views.recovery import RecoveryKeyView, RecoveryResult
from strongroom.crypto import random
from strongroom.crypto.recipients import local_half_of, make_recovery_recipient
from strongroom.crypto.shares import check_sharing
from strongroom.errors import (
    ConfirmationNeededError,
    InvalidInputError,
    NotFoundError,
)
from strongroom.keystore import RecoveryRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from strongroom.control.context import Context
    from strongroom.control.recovery_kit import RecoveryKit
    from strongroom.crypto.keys import Seed
    from strongroom.crypto.recipients import RecoveryRecipient
    from strongroom.model.job import Job

_SHORTEST_PREFIX = 4


@dataclass(frozen=True, slots=True)
class Sharing:
    """How a key is split: any `needed` of `count` shares open what it opens."""

    needed: int
    count: int


def create(
    ctx: Context, place: Path | None, *, page: Path | None = None, sharing: Sharing | None = None
) -> RecoveryResult:
    """Make a recovery key and write its private half, to nowhere else than these files.

    Args:
        ctx: Surroundings.
        place: The file of the kit, which must not exist; with `sharing` the folder of the shares.
        page: The same as printable pages: a file, or with `sharing` a folder.
        sharing: Split the key among people.

    Raises:
        InvalidInputError: no place is named, or there is no such sharing.
        ConflictError: there is such a file.
        RefusedError: it cannot be written.
    """
    if place is None and page is None:
        raise InvalidInputError("say where the recovery kit is to be written")
    if sharing is not None:
        check_sharing(sharing.needed, sharing.count)
    audit.require(ctx)
    seed = random.seed()
    now = ctx.clock.now()
    kit = make_kit(seed, ctx.identity.public.fingerprint, now)
    recipient = make_recovery_recipient(seed, "recovery kit", ctx.identity.public)
    before = recovery_keys.active(ctx.database)
    texts = _texts(kit, place, page, sharing)
    # The kit first: a public half without its other half would protect nothing.
    write_all(texts)
    fresh = recovery_keys.RecoveryKeyRow(kit.key_id, now)
    with ctx.database.transaction():
        row = _keep(ctx, recipient, fresh, local_half_of(seed))
        audit.record(
            ctx,
            "recovery.created",
            exported=[str(file) for file in texts],
            key=kit.key_id.hex(),
            signer=kit.signer,
        )
    return RecoveryResult(
        key=_view(ctx, row),
        path=str(place if place is not None else page),
        paths=tuple(map(str, texts)),
        notices=tuple(_kit_notices(texts, sharing) + _notices(ctx, replaced=before is not None)),
    )


def _texts(
    kit: RecoveryKit, place: Path | None, page: Path | None, sharing: Sharing | None
) -> Mapping[Path, str]:
    """Return what is to be written, by file."""
    from strongroom.control.recovery_page import format_kit_page, format_share_page

    texts: dict[Path, str] = {}
    if sharing is None:
        if place is not None:
            texts[place] = format_kit(kit)
        if page is not None:
            texts[page] = format_kit_page(kit)
        return texts
    for folder in (place, page):
        if folder is not None:
            make_folder(folder)
    for share in split_kit(kit, sharing.needed, sharing.count):
        name = f"share-{share.share.number}-of-{share.count}"
        if place is not None:
            texts[place / f"{name}.txt"] = format_share(share)
        if page is not None:
            texts[page / f"{name}.html"] = format_share_page(share)
    return texts


def _kit_notices(texts: Mapping[Path, str], sharing: Sharing | None) -> list[str]:
    if sharing is not None:
        return [
            f"give the {sharing.count} shares to different people or places, off this machine: any "
            f"{sharing.needed} of them open every backup"
        ]
    file = next(iter(texts))
    return [f"keep {file} off this machine: printed in a safe, say. It opens every backup"]


def import_kit(ctx: Context, files: Sequence[Path]) -> RecoveryResult:
    """Protect the jobs of this installation by a kit that was made elsewhere.

    Its public half is kept, and nothing else of it.

    Raises:
        InvalidInputError: the files hold no kit.
    """
    kit = read_kit(files)
    before = recovery_keys.active(ctx.database)
    identity = ctx.identity.public
    recipient = make_recovery_recipient(kit.seed, "recovery kit", identity)
    fresh = recovery_keys.RecoveryKeyRow(kit.key_id, ctx.clock.now())
    with ctx.database.transaction():
        row = _keep(ctx, recipient, fresh, local_half_of(kit.seed))
        audit.record(ctx, "recovery.imported", key=kit.key_id.hex(), signer=kit.signer)
    notices = _notices(ctx, replaced=before is not None and before.key_id != kit.key_id)
    if kit.signer != identity.fingerprint:
        notices.append(
            f"this installation signs as {identity.fingerprint}, which the kit does not say: "
            "write it there"
        )
    return RecoveryResult(key=_view(ctx, row), path=str(files[0]), notices=tuple(notices))


def _keep(
    ctx: Context,
    recipient: RecoveryRecipient,
    row: recovery_keys.RecoveryKeyRow,
    local_half: Seed,
) -> recovery_keys.RecoveryKeyRow:
    """Keep a key's public half and protect jobs by it; return what is known of it."""
    record = RecoveryRecord(
        name=recipient.label,
        public=recipient.public.raw,
        vouch=recipient.vouch,
        created_at=row.created_at,
        local_half=local_half,
    )
    ctx.keystore.put(row.key_id.hex(), record)
    if recovery_keys.find(ctx.database, row.key_id) is None:
        recovery_keys.insert(ctx.database, row)
    recovery_keys.activate(ctx.database, row.key_id)
    return recovery_keys.find(ctx.database, row.key_id) or row


def activate(ctx: Context, which: str) -> RecoveryResult:
    """Protect jobs by a key that there is already, in place of the active one.

    Raises:
        NotFoundError: there is no such key.
        UnlockError: the keystore does not have its public half.
    """
    row = _named(ctx, which)
    before = recovery_keys.active(ctx.database)
    keys.recovery_record(ctx, row)
    with ctx.database.transaction():
        recovery_keys.activate(ctx.database, row.key_id)
        audit.record(ctx, "recovery.activated", key=row.key_id.hex())
    replaced = before is not None and before.key_id != row.key_id
    return RecoveryResult(
        key=_view(ctx, recovery_keys.find(ctx.database, row.key_id) or row),
        path=None,
        notices=tuple(_notices(ctx, replaced=replaced)),
    )


def deactivate(ctx: Context, which: str, *, yes_weaken: bool = False) -> RecoveryResult:
    """Seal nothing more for a key, and for no other either; its kit opens what it opened.

    Raises:
        NotFoundError: there is no such key, or it is not the active one.
        ConfirmationNeededError: nobody confirmed that lost passwords mean lost backups.
    """
    row = _named(ctx, which)
    if not row.active:
        raise NotFoundError(f"recovery key {row.key_id.hex()[:12]} is not the active one")
    if not yes_weaken:
        raise ConfirmationNeededError(
            "without a recovery key a lost password means lost backups, of every job",
            hint="say --yes-weaken if that is meant",
        )
    with ctx.database.transaction():
        recovery_keys.activate(ctx.database, None)
        audit.weakened(ctx, ["jobs have no recovery key any longer"], key=row.key_id.hex())
    return RecoveryResult(
        key=_view(ctx, recovery_keys.find(ctx.database, row.key_id) or row),
        path=None,
        notices=("jobs are no longer sealed for a recovery key from their next session on",),
    )


def list_all(ctx: Context) -> tuple[RecoveryKeyView, ...]:
    """Return every recovery key there has been, oldest first."""
    return tuple(_view(ctx, row) for row in recovery_keys.all_rows(ctx.database))


def show(ctx: Context, which: str | None = None) -> RecoveryKeyView:
    """Return a recovery key, by default the active one.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: several fit.
    """
    if which is not None:
        return _view(ctx, _named(ctx, which))
    row = recovery_keys.active(ctx.database)
    if row is None:
        raise NotFoundError(
            "there is no recovery key",
            hint="'strongroom recovery create FILE' makes one; without it a lost password "
            "means lost backups",
        )
    return _view(ctx, row)


def _named(ctx: Context, which: str) -> recovery_keys.RecoveryKeyRow:
    """Return the key that an id or the beginning of one means.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: several fit, or it is too short.
    """
    if len(which) < _SHORTEST_PREFIX:
        raise InvalidInputError(f"give at least {_SHORTEST_PREFIX} digits of the key's id")
    found = [
        row
        for row in recovery_keys.all_rows(ctx.database)
        if row.key_id.hex().startswith(which.lower())
    ]
    if not found:
        raise NotFoundError(
            f"there is no recovery key {which}", hint="'strongroom recovery list' shows all"
        )
    if len(found) > 1:
        raise InvalidInputError(f"{which} fits {len(found)} recovery keys")
    return found[0]


def _notices(ctx: Context, *, replaced: bool) -> list[str]:
    notices = ["from each job's next session on, its backups open with this kit too"]
    if replaced:
        notices.append("keep the older kit as well: it opens what was sealed for it")
    notices += [
        f"job {job.name} is {'guarded' if job.secret_to_read else 'write-only'}: its next session "
        "starts a new chain with a full, unless "
        f"'strongroom job edit {job.name} --encrypt {job.encryption}' is given the password once"
        for job in _protected(ctx)
        if keys.needs_old_password(ctx, job)
    ]
    return notices


def _protected(ctx: Context) -> list[Job]:
    return [job for job in jobs.all_jobs(ctx.database) if job.encrypted and job.recovery]


def _view(ctx: Context, row: recovery_keys.RecoveryKeyRow) -> RecoveryKeyView:
    sealed = chains.opened_by(ctx.database, row.key_id)
    job_ids = {chain.job_id for chain in sealed}
    had = [job for job in jobs.all_jobs(ctx.database) if job.job_id in job_ids]
    named = _protected(ctx) if row.active else had
    return RecoveryKeyView(
        key_id=row.key_id.hex(),
        signer=ctx.identity.public.fingerprint,
        created_at=row.created_at,
        tested_at=row.tested_at,
        tested_ok=row.tested_ok,
        active=row.active,
        jobs=tuple(job.name for job in named),
        chains=len(sealed),
        points=sum(len(points.of_chain(ctx.database, chain.chain_id)) for chain in sealed),
    )
