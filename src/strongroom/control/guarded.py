"""Guarded jobs: their points are read only with a secret that is given with the command.

What the keystore holds goes on to serve sessions and verification, which show nothing of what
they open. It is no wall against whoever owns the home, who can read the keystore by other means;
see docs/threat-model.md, T37. The guard is the job's, and stays with its points when the job is
removed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import copy_jobs, jobs, passwords, points
from strongroom.catalog import kms as kms_rows
from strongroom.control import attempts, audit, keys, known_chains
from strongroom.errors import NoRecipientMatchedError, SecretRequiredError
from strongroom.model.job import KmsEncryption

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from strongroom.catalog.passwords import PasswordRow
    from strongroom.control.context import Context
    from strongroom.crypto.recipients import Unlocker
    from strongroom.model.job import Job
    from strongroom.repository.chain import Chain


def is_guarded(ctx: Context, chain: Chain) -> bool:
    """Tell whether a chain is read only with a secret that is given."""
    return chain.sealed and ctx.has_catalog and jobs.is_guarded(ctx.database, chain.header.job_id)


def concerned(ctx: Context, chains: Iterable[Chain], which: Sequence[str]) -> list[Chain]:
    """Return the chains that points named like this may be in."""
    return [chain for chain in chains if any(_may_hold(ctx, chain, text) for text in which)]


def _may_hold(ctx: Context, chain: Chain, text: str) -> bool:
    name, at, _ = text.partition("@")
    if at:
        return _job_name(ctx, chain) == name.partition("/")[0]
    return any(live.point.point_id.hex().startswith(text) for live in chain.live_points())


def refuse(ctx: Context, chains: Sequence[Chain]) -> None:
    """Go on if there are none of these: they are to be read, and no secret was given.

    Raises:
        SecretRequiredError: there are.
    """
    if not chains:
        return
    names = sorted({_owner(ctx, chain) for chain in chains})
    error = SecretRequiredError(
        f"what {' and '.join(names)} stored is read only with a secret that is given with the "
        "command, whatever this machine could open",
        chains=[chain.chain_id.hex() for chain in chains],
    )
    audit.record(
        ctx,
        "reading.refused",
        severity=audit.Severity.WARNING,
        outcome=audit.Outcome.REFUSED,
        code=error.code,
        jobs=names,
    )
    raise error


def _owner(ctx: Context, chain: Chain) -> str:
    name = _job_name(ctx, chain)
    return f"job {name}" if name is not None else "a removed job"


def _job_name(ctx: Context, chain: Chain) -> str | None:
    """Return the job whose points a chain has, be it a copy under a key of its own."""
    job = jobs.by_id(ctx.database, chain.header.job_id)
    if job is not None:
        return job.name
    copy = copy_jobs.by_id(ctx.database, chain.header.job_id)
    return None if copy is None else copy.copy.job


# --- guesses --------------------------------------------------------------------------------


@contextmanager
def guessing(ctx: Context, chains: Iterable[Chain]) -> Iterator[None]:
    """Count what is tried on chains inside as a guess at the passwords of the guarded ones.

    It counts unless something opened: an `UnlockError` leaves it counted.

    Raises:
        AttemptsLockedError: there were too many wrong ones; nothing was tried.
    """
    guarded = [chain.chain_id for chain in chains if is_guarded(ctx, chain)]
    with attempts.counted_together(ctx, _passwords_of(ctx, guarded), "read"):
        yield


def _passwords_of(ctx: Context, chain_ids: Collection[bytes]) -> list[PasswordRow]:
    """Return the passwords that open, or once opened, one of these chains."""
    if not chain_ids:
        return []
    return [
        row
        for row in passwords.all_rows(ctx.database)
        if any(
            chain.chain_id in chain_ids
            for version in passwords.versions(ctx.database, row.password_id)
            for chain in chain_rows.opened_by(ctx.database, version.key_id)
        )
    ]


def prove(ctx: Context, job: Job, unlocker: Unlocker) -> None:
    """Go on if a secret opens the present key of every chain that has points of a job.

    Of every one: a chain that was begun under a secret of one's own proves nothing about those
    before it.

    Raises:
        UnlockError: it does not.
        UnavailableError: a repository does not answer.
    """
    opened = [
        _chain(ctx, row)
        for row in chain_rows.of_job(ctx.database, job.job_id)
        if row.sealed and points.of_chain(ctx.database, row.chain_id)
    ]
    with guessing(ctx, opened):
        for chain in opened:
            keyring = chain.wrapped.unlock(unlocker, keys.readers_trust(ctx))
            if chain.present_key_id not in keyring.chain_keys:
                raise NoRecipientMatchedError(
                    f"{unlocker.describe()} opens only what is older in chain {chain.name}"
                )


def users_of(ctx: Context, repository_id: bytes) -> list[str]:
    """Return the guarded chains with points in a repository, in words.

    What is no longer known of could not be asked for by `prove`.
    """
    return [
        f"guarded chain {row.chain_id.hex()[:12]}"
        for row in chain_rows.of_repository(ctx.database, repository_id)
        if row.sealed
        and jobs.is_guarded(ctx.database, row.job_id)
        and points.of_chain(ctx.database, row.chain_id)
    ]


def _chain(ctx: Context, row: chain_rows.ChainRow) -> Chain:
    return known_chains.repository_of(ctx, row.repository_id).chain(row.chain_id)


# --- linking --------------------------------------------------------------------------------


def may_link(ctx: Context, job: Job, row: chain_rows.ChainRow, wanted: frozenset[bytes]) -> bool:
    """Tell whether a session may seal a chain's key for these recipients by itself.

    Of a guarded job only for those it is sealed for already, or for the next version of a key
    at the same KMS: anybody else would come to read without having given the secret.
    """
    added = wanted - row.recipient_ids
    if not job.secret_to_read or not added:
        return True
    if not isinstance(job.encryption, KmsEncryption):
        return False
    kms = kms_rows.get(ctx.database, job.encryption.name)
    same = kms_rows.recipients_of(ctx.database, kms.kms_id).keys()
    return added <= same and not row.recipient_ids.isdisjoint(same)
