"""The report: who can open what, and what is wrong with that.

Every finding is either a problem, which makes the report fail, or something to be known. All
of it comes from the catalog and the keystore, so that it can be asked for at any time.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from strongroom.catalog import (
    chains,
    copy_jobs,
    damage,
    jobs,
    missing_links,
    passwords,
    points,
    recovery_keys,
    repositories,
    scrubs,
)
from strongroom.catalog import kms as kms_rows
from strongroom.control import inventory, kms_views
from strongroom.control.damage_notices import in_words
from strongroom.control.views.keys import Finding, JobKeysView, KeyReport
from strongroom.kms.base import KeyState
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from strongroom.control.context import Context
    from strongroom.control.inventory import Secret
    from strongroom.model.job import Job

PASSWORD_AGE: Final = timedelta(days=365)
"""How old a password may be before the report calls it a problem."""


SCRUB_AGE: Final = timedelta(days=90)
"""How long ago a scrub may have read a pack before the report calls it a problem."""


def make(
    ctx: Context, password_age: timedelta = PASSWORD_AGE, scrub_age: timedelta = SCRUB_AGE
) -> KeyReport:
    """Return the report.

    Args:
        ctx: Surroundings.
        password_age: How old a password may be.
        scrub_age: How long ago everything in a repository may have been read by a scrub.
    """
    known = inventory.secrets(ctx)
    openers = inventory.openers(ctx, known)
    protected = recovery_keys.active(ctx.database) is not None
    found = jobs.all_jobs(ctx.database)
    views = tuple(_job(ctx, job, known, openers, protected=protected) for job in found)
    findings = (
        *_of_jobs(views),
        *_of_copy_jobs(ctx),
        *_of_passwords(ctx, password_age),
        *_of_kms(ctx),
        *_of_links(ctx, known),
        *_of_chains(ctx, known, openers),
        *_of_repositories(ctx, scrub_age),
        *_of_damage(ctx),
    )
    return KeyReport(
        made_at=ctx.clock.now(),
        ok=not any(finding.problem for finding in findings),
        jobs=views,
        findings=findings,
        keys=inventory.views(ctx, known, openers),
    )


def _job(
    ctx: Context,
    job: Job,
    known: list[Secret],
    openers: Mapping[bytes, frozenset[bytes]],
    *,
    protected: bool,
) -> JobKeysView:
    chain = chains.current(ctx.database, job.job_id)
    opened_by = openers.get(chain.chain_id, frozenset()) if chain else frozenset()
    present = [
        secret
        for secret in known
        if chain and secret.key_id in chain.recipient_ids and secret.kind != "recovery"
    ]
    return JobKeysView(
        job=job.name,
        encrypt=str(job.encryption),
        key_id=present[0].key_id.hex() if present else None,
        key_age_days=(ctx.clock.now() - present[0].made_at).days if present else None,
        protected=job.encrypted and job.recovery and protected,
        points=len(points.of_job(ctx.database, job.job_id)),
        opened_by=len(opened_by),
        copies=_copies(ctx, job),
        secret_to_read=job.secret_to_read,
    )


def _copies(ctx: Context, job: Job) -> int:
    places = {
        chain.repository_id
        for chain in chains.of_job(ctx.database, job.job_id)
        if points.of_chain(ctx.database, chain.chain_id)
    }
    return max(0, len(places) - 1)


def _of_jobs(views: Iterable[JobKeysView]) -> Iterable[Finding]:
    for view in views:
        if view.encrypt == "none":
            yield Finding(
                code="unencrypted",
                subject=view.job,
                text=f"job {view.job} is not encrypted: whoever reads its repository reads it",
                problem=True,
            )
        elif not view.protected:
            yield Finding(
                code="unprotected",
                subject=view.job,
                text=f"job {view.job} has no loss protection: without its {view.encrypt} its "
                "backups are lost ('recovery create', 'job edit --recovery')",
                problem=True,
            )
        if view.points and not view.copies:
            yield Finding(
                code="no-copy",
                subject=view.job,
                text=f"the points of job {view.job} are in one repository only",
                problem=False,
            )


def _of_copy_jobs(ctx: Context) -> Iterable[Finding]:
    for row in copy_jobs.all_rows(ctx.database):
        if row.copy.plain:
            yield Finding(
                code="plain-copy",
                subject=row.copy.name,
                text=f"copy {row.copy.name} of job {row.copy.job} is not encrypted: whoever reads "
                f"repository {row.copy.repository} reads it",
                problem=True,
            )


def _of_passwords(ctx: Context, oldest: timedelta) -> Iterable[Finding]:
    now = ctx.clock.now()
    for row in passwords.all_rows(ctx.database):
        versions = passwords.versions(ctx.database, row.password_id)
        age = now - max((one.made_at for one in versions), default=row.created_at)
        if age > oldest:
            yield Finding(
                code="password-old",
                subject=row.name,
                text=f"password {row.name} is {age.days} days old, and {oldest.days} are allowed "
                f"('password edit {row.name}')",
                problem=True,
            )


def _of_kms(ctx: Context) -> Iterable[Finding]:
    for row in kms_rows.all_rows(ctx.database):
        for text in kms_views.expiry_warnings(ctx, row):
            yield Finding(code="certificate-ends", subject=row.name, text=text, problem=True)
        for key in kms_rows.keys_of(ctx.database, row.kms_id):
            needed = kms_views.points_that_need(ctx, row, key.key)
            if not KeyState(key.state).opens and needed:
                yield Finding(
                    code="kms-key-lost",
                    subject=key.name,
                    text=f"key {key.name} of KMS {row.name} is {key.state}, and "
                    f"{counted(len(needed), 'point')} opened by it",
                    problem=True,
                )


def _of_links(ctx: Context, known: list[Secret]) -> Iterable[Finding]:
    names = {secret.key_id: f"{secret.kind} {secret.name}" for secret in known}
    for chain in chains.all_rows(ctx.database):
        lacking = missing_links.of_chain(ctx.database, chain.chain_id)
        count = len(points.of_chain(ctx.database, chain.chain_id))
        if not lacking or not count:
            continue
        needed = missing_links.needed(ctx.database, chain)
        secrets = sorted(f"{names.get(one, 'key')} {one.hex()[:12]}" for one in needed)
        yield Finding(
            code="link-missing",
            subject=chain.chain_id.hex(),
            text=f"chain {chain.chain_id.hex()[:12]} with {counted(count, 'point')} lacks "
            f"{counted(len(lacking), 'link')}, so older secrets are needed beside the newest: of "
            f"{', '.join(secrets)} ('job run --old-password-file', 'chain unlock')",
            problem=True,
        )


def _of_repositories(ctx: Context, oldest: timedelta) -> Iterable[Finding]:
    """Tell of what was damaged, and of repositories that no scrub has read for long."""
    now = ctx.clock.now()
    for row in repositories.all_rows(ctx.database):
        health = scrubs.health(ctx.database, row.repository_id)
        command = f"'repository scrub {row.name}'"
        if health.damaged:
            yield Finding(
                code="scrub-damage",
                subject=row.name,
                text=f"{counted(health.damaged, 'pack is', 'packs are')} damaged in repository "
                f"{row.name}, a scrub found ({command})",
                problem=True,
            )
        age = now - (health.oldest or row.added_at)
        if health.oldest is None:
            if not chains.of_repository(ctx.database, row.repository_id):
                continue
            text = f"repository {row.name} was never scrubbed on this machine ({command})"
        else:
            text = (
                f"a part of repository {row.name} was read by a scrub {age.days} days ago, and "
                f"{oldest.days} are allowed ({command})"
            )
        if age > oldest:
            yield Finding(code="scrub-old", subject=row.name, text=text, problem=True)
        elif health.oldest is None:
            yield Finding(code="scrub-never", subject=row.name, text=text, problem=False)


def _of_damage(ctx: Context) -> Iterable[Finding]:
    for one in damage.all_chains(ctx.database):
        yield Finding(
            code="damaged",
            subject=one.chain_id.hex(),
            text=in_words(one),
            problem=True,
        )


def _of_chains(
    ctx: Context, known: list[Secret], openers: Mapping[bytes, frozenset[bytes]]
) -> Iterable[Finding]:
    names = {secret.key_id: f"{secret.kind} {secret.name}" for secret in known}
    for chain_id, opened_by in openers.items():
        chain = chains.find(ctx.database, chain_id)
        job = jobs.by_id(ctx.database, chain.job_id) if chain else None
        of = f"job {job.name}" if job else "a removed job"
        count = counted(len(points.of_chain(ctx.database, chain_id)), "point")
        where = f"{count} of {of} (chain {chain_id.hex()[:12]})"
        if not opened_by and missing_links.of_chain(ctx.database, chain_id):
            continue  # it opens with several together, and was told
        if not opened_by:
            yield Finding(
                code="opened-by-nothing",
                subject=chain_id.hex(),
                text=f"nothing that is known here opens {where}",
                problem=True,
            )
        elif len(opened_by) == 1:
            (only,) = opened_by
            yield Finding(
                code="opened-by-one",
                subject=chain_id.hex(),
                text=f"only {names[only]} opens {where}",
                problem=False,
            )
