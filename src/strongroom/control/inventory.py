"""Every secret that opens backups: what it opens, alone or not, how old it is, who needs it.

Told from the catalog alone: no repository and no KMS is asked. A chain's present key opens all
of it; a secret that was replaced opens what was sealed before. Whether a secret is still known
to anybody, the catalog cannot tell of a password: it counts as known until it is removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from strongroom.catalog import (
    chains,
    jobs,
    missing_links,
    passwords,
    points,
    recovery_keys,
    signers,
)
from strongroom.catalog import kms as kms_rows
from strongroom.control import keys
from strongroom.control.views.keys import KeyUse, KeyView
from strongroom.errors import InvalidInputError, NotFoundError, UnlockError
from strongroom.keystore import PasswordRecord
from strongroom.kms.base import KeyState
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from strongroom.control.context import Context

_SHORTEST: Final = 4
"""Digits of a key's id that name it."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret by the id that it has in envelopes."""

    kind: str
    name: str
    key_id: bytes
    version: int
    present: bool
    state: str
    made_at: datetime
    proven_at: datetime | None
    opens: bool
    """Whether it can still open anything: a destroyed key at a KMS cannot."""


def secrets(ctx: Context) -> list[Secret]:
    """Return every secret that the catalog knows."""
    return [*_passwords(ctx), *_kms(ctx), *_recovery(ctx)]


def _passwords(ctx: Context) -> Iterable[Secret]:
    for row in passwords.all_rows(ctx.database):
        for version in passwords.versions(ctx.database, row.password_id):
            present = version.version == row.version
            yield Secret(
                kind="password",
                name=row.name,
                key_id=version.key_id,
                version=version.version,
                present=present,
                state="stored"
                if _is_stored(ctx, row.password_id, version.version)
                else "write-only",
                made_at=version.made_at,
                proven_at=row.verified_at if present else None,
                opens=True,
            )


def _is_stored(ctx: Context, password_id: bytes, version: int) -> bool:
    try:
        name = keys.password_record_name(password_id, version)
        return ctx.keystore.get(PasswordRecord, name).seed is not None
    except NotFoundError:
        return False


def _kms(ctx: Context) -> Iterable[Secret]:
    for row in kms_rows.all_rows(ctx.database):
        by_key = {key.key: key for key in kms_rows.keys_of(ctx.database, row.kms_id)}
        for key_id, name in kms_rows.recipients_of(ctx.database, row.kms_id).items():
            key = by_key[name]
            newest = kms_rows.key_of_job(ctx.database, row.kms_id, key.job_id)
            yield Secret(
                kind="kms",
                name=f"{row.name}/{key.name}",
                key_id=key_id,
                version=key.version,
                present=newest is not None and newest.key == key.key,
                state=key.state,
                made_at=key.made_at,
                proven_at=key.proven_at,
                opens=KeyState(key.state).opens,
            )


def _recovery(ctx: Context) -> Iterable[Secret]:
    active = recovery_keys.active(ctx.database)
    for number, row in enumerate(recovery_keys.all_rows(ctx.database), start=1):
        yield Secret(
            kind="recovery",
            name="recovery kit",
            key_id=row.key_id,
            version=number,
            present=active is not None and active.key_id == row.key_id,
            state="offline",
            made_at=row.created_at,
            proven_at=row.tested_at,
            opens=True,
        )


def openers(ctx: Context, known: Iterable[Secret]) -> dict[bytes, frozenset[bytes]]:
    """Return, for each sealed chain with points, the ids of known secrets that open it whole."""
    usable = {secret.key_id for secret in known if secret.opens}
    return {
        chain.chain_id: missing_links.whole_openers(ctx.database, chain) & usable
        for chain in chains.all_rows(ctx.database)
        if chain.sealed and points.of_chain(ctx.database, chain.chain_id)
    }


def list_all(ctx: Context) -> tuple[KeyView, ...]:
    """Return every secret and every signer."""
    known = secrets(ctx)
    return views(ctx, known, openers(ctx, known))


def views(
    ctx: Context, known: Iterable[Secret], whole: dict[bytes, frozenset[bytes]]
) -> tuple[KeyView, ...]:
    """Return secrets as the doors show them, and every signer.

    Args:
        ctx: Surroundings.
        known: The secrets.
        whole: By chain, which of them open all of it.
    """
    found_jobs = jobs.all_jobs(ctx.database)
    wanted = {job.name: _recipient_ids(ctx, job.name) for job in found_jobs}
    guarded = frozenset(job.name for job in found_jobs if job.secret_to_read)
    found = [_view(ctx, secret, wanted, guarded, whole) for secret in known]
    return (*found, *_signers(ctx))


def show(ctx: Context, text: str) -> KeyView:
    """Return one secret by the beginning of its id.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: too short, or several fit.
    """
    wanted = text.strip().lower()
    if len(wanted) < _SHORTEST:
        raise InvalidInputError(f"{text!r} is too short: give at least {_SHORTEST} digits")
    found = [view for view in list_all(ctx) if view.key_id.startswith(wanted)]
    if not found:
        raise NotFoundError(f"there is no key {text}", hint="'strongroom keys list' shows all")
    if len(found) > 1:
        raise InvalidInputError(f"{text} fits {counted(len(found), 'key')}: give more digits")
    return found[0]


def _recipient_ids(ctx: Context, name: str) -> frozenset[bytes]:
    try:
        return keys.wanted(ctx, jobs.get(ctx.database, name)).recipient_ids
    except (UnlockError, InvalidInputError):
        return frozenset()  # its key was never made, or the keystore lost it: it cannot run


def _view(
    ctx: Context,
    secret: Secret,
    wanted: dict[str, frozenset[bytes]],
    guarded: frozenset[str],
    whole: dict[bytes, frozenset[bytes]],
) -> KeyView:
    uses = []
    for chain in chains.opened_by(ctx.database, secret.key_id):
        count = len(points.of_chain(ctx.database, chain.chain_id))
        if not count:
            continue
        job = jobs.by_id(ctx.database, chain.job_id)
        opens_whole = secret.key_id in missing_links.whole_openers(ctx.database, chain)
        uses.append(
            KeyUse(
                chain=chain.chain_id.hex(),
                job=job.name if job else None,
                points=count,
                whole=opens_whole,
                alone=opens_whole and whole[chain.chain_id] <= {secret.key_id},
                beside=not opens_whole
                and secret.key_id in missing_links.needed(ctx.database, chain),
            )
        )
    sealed = tuple(name for name, ids in wanted.items() if secret.key_id in ids)
    return KeyView(
        kind=secret.kind,
        name=secret.name,
        key_id=secret.key_id.hex(),
        version=secret.version,
        present=secret.present,
        state=secret.state,
        made_at=secret.made_at,
        age_days=(ctx.clock.now() - secret.made_at).days,
        proven_at=secret.proven_at,
        jobs=sealed,
        guarded=tuple(name for name in sealed if name in guarded),
        chains=tuple(uses),
        points=sum(use.points for use in uses if use.whole),
        alone=sum(use.points for use in uses if use.alone),
    )


def _signers(ctx: Context) -> Iterable[KeyView]:
    own = keys.known_identity(ctx.database)
    now = ctx.clock.now()
    if own is not None:
        made = min((chain.started_at for chain in chains.all_rows(ctx.database)), default=now)
        yield KeyView(
            kind="signer",
            name="this server",
            key_id=own.fingerprint,
            version=1,
            present=True,
            state="own",
            made_at=made,
            age_days=(now - made).days,
            proven_at=None,
            jobs=tuple(job.name for job in jobs.all_jobs(ctx.database)),
        )
    for signer in signers.accepted(ctx.database):
        yield KeyView(
            kind="signer",
            name=signer.note,
            key_id=signer.fingerprint,
            version=1,
            present=False,
            state="accepted",
            made_at=signer.accepted_at,
            age_days=(now - signer.accepted_at).days,
            proven_at=None,
        )
