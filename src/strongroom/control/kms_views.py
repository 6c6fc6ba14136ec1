"""A KMS as the doors show it: its keys, what depends on them, and its certificates."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from strongroom.catalog import chains, jobs, missing_links, points
from strongroom.catalog import kms as rows
from strongroom.control.views.kms import CertificateView, KmsKeyView, KmsView
from strongroom.crypto import certificates
from strongroom.keystore import KmsRecord
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from strongroom.control.context import Context

EXPIRY_NOTICE: Final = timedelta(days=30)
"""How long before a certificate's end it is warned about."""


def view(ctx: Context, row: rows.KmsRow) -> KmsView:
    record = ctx.keystore.get(KmsRecord, row.kms_id.hex())
    return KmsView(
        name=row.name,
        kind=row.kind,
        endpoints=row.endpoints,
        bits=row.bits,
        strict=row.strict,
        vouches=bool(record.vouch),
        created_at=row.created_at,
        synced_at=row.synced_at,
        jobs=tuple(job.name for job in jobs.of_kms(ctx.database, row.kms_id)),
        certificates=certificate_views(ctx, row),
        keys=tuple(_key_view(ctx, row, key) for key in rows.keys_of(ctx.database, row.kms_id)),
    )


def _key_view(ctx: Context, row: rows.KmsRow, key: rows.KmsKeyRow) -> KmsKeyView:
    job = jobs.by_id(ctx.database, key.job_id)
    newest = rows.key_of_job(ctx.database, row.kms_id, key.job_id)
    return KmsKeyView(
        name=key.name,
        key=key.key,
        job=job.name if job else None,
        version=key.version,
        present=newest is not None and newest.key == key.key,
        state=key.state,
        made_at=key.made_at,
        checked_at=key.checked_at,
        points=len(points_that_need(ctx, row, key.key)),
    )


def points_that_need(ctx: Context, row: rows.KmsRow, key: str) -> list[bytes]:
    """Return the points of chains that are sealed for a key now, or lack the link to it."""
    found: list[bytes] = []
    for key_id, of in rows.recipients_of(ctx.database, row.kms_id).items():
        if of != key:
            continue
        for chain in chains.opened_by(ctx.database, key_id):
            if key_id in missing_links.needed(ctx.database, chain):
                of_chain = points.of_chain(ctx.database, chain.chain_id)
                found += [point.point_id for point in of_chain]
    return found


def certificate_views(ctx: Context, row: rows.KmsRow) -> tuple[CertificateView, ...]:
    """Return the certificates that a KMS is used with, and how long they hold."""
    record = ctx.keystore.get(KmsRecord, row.kms_id.hex())
    now = ctx.clock.now()
    return tuple(
        CertificateView(
            role=role,
            subject=one.subject,
            not_after=one.not_after,
            days_left=(one.not_after - now).days,
        )
        for role, pem in (("client", record.certificate), ("authority", record.authorities))
        if pem
        for one in certificates.read(pem, f"the {role} certificate of KMS {row.name}")
    )


def expiry_warnings(ctx: Context, row: rows.KmsRow) -> list[str]:
    """Return what to say of certificates that end within `EXPIRY_NOTICE`, or have."""
    said = []
    for one in certificate_views(ctx, row):
        if one.days_left > EXPIRY_NOTICE.days:
            continue
        ends = "has expired" if one.days_left < 0 else f"ends in {counted(one.days_left, 'day')}"
        option = "--client-certificate and --client-key" if one.role == "client" else "--ca"
        said.append(
            f"the {one.role} certificate of KMS {row.name} ({one.subject}) {ends}, "
            f"{one.not_after:%Y-%m-%d}: 'strongroom kms edit {row.name}' with {option} takes "
            "another, and jobs stay as they are"
        )
    return said
