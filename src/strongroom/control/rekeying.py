"""Changing whom a job's chain is sealed for: new chain key and link, at once.

Three steps, so that what can fail does so before anything was changed here:

1. `prepare` opens the chain and gets its present key: from the keystore, or, where the secret
   is write-only, with the old password, asked for once.
2. `carry_out` writes the new envelope and the link into the repository. One that is never used
   afterwards does no harm: it opens what its recipients were meant to read.
3. `settle` remembers it in keystore and catalog.

The job's older chains, of fulls that began anew, get key and link as well, so that the newest
secret opens them too (`prepare_older`). One that cannot now does not hold up the change: the old
secret goes on to open it, and `job rewrap` makes up for it.

Where the repository does not answer, a stored secret can wait: the job's next session makes key
and link. A write-only one cannot, since the old password is at hand only now; unless the operator
says that the link may follow later (`control.linking`). Then the new key is made without it, and
until it is there, what was sealed before needs the old secret beside the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import missing_links, passwords, repositories
from strongroom.catalog import points as point_rows
from strongroom.control import audit, keys, known_chains, vaults
from strongroom.crypto.envelope import ChainKey
from strongroom.crypto.recipients import PasswordUnlocker
from strongroom.errors import (
    NoRecipientMatchedError,
    NotFoundError,
    RefusedError,
    SecretNeededError,
    StrongroomError,
    UnavailableError,
    UnlockError,
)
from strongroom.model.job import PasswordEncryption
from strongroom.repository.rekey import change_recipients
from strongroom.repository.repository import Repository

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from strongroom.catalog.repositories import RepositoryRow
    from strongroom.control.context import Context
    from strongroom.control.secrets import SecretSource
    from strongroom.crypto.recipients import Recipient, Unlocker
    from strongroom.model.job import Job
    from strongroom.repository.chain import Chain
    from strongroom.repository.keyring import Keyring


@dataclass(frozen=True, slots=True)
class Prepared:
    """A chain whose present key is open, or which may go on without a link to it."""

    job: Job
    chain: Chain
    older: ChainKey | None
    """None: the link follows later."""
    keyring: Keyring | None = None
    """What the old password opens, where it was given."""
    unlocker: Unlocker | None = None
    """That password."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A chain that gets its new key with the job's next session, or is followed by another."""

    job: Job
    text: str


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """A chain that has its new key, and the link unless that follows later."""

    job: Job
    chain: Chain
    newer: ChainKey
    recipient_ids: frozenset[bytes]
    linked: bool = True

    @property
    def text(self) -> str:
        """What is to be said of a link that follows later."""
        name = self.job.name
        return (
            f"job {name} goes on without a link to the key before: until it is made, older points "
            "need the old secret, and newer ones need both. 'job run "
            f"{name} --old-password-file FILE' makes it, and so does any session that finds what "
            "opens the old key, 'job rewrap', or 'chain unlock' with both"
        )


def prepare(
    ctx: Context,
    job: Job,
    write_only: bool,
    old: SecretSource | None,
    prompt: str,
    hint: str,
    *,
    link_later: bool = False,
) -> Prepared | Pending | None:
    """Open the present key of the chain that the job goes on in.

    Args:
        ctx: Surroundings.
        job: The job as it was before the change.
        write_only: Nothing stored opens the chain, or nothing stored may: the job is guarded.
        old: How to get the old password, where it is needed; None has a new chain start, or the
            link wait.
        prompt: What to ask for.
        hint: The old password's.
        link_later: Go on without the link where nothing opens the present key.

    Returns:
        None where there is no sealed chain to go on in.

    Raises:
        UnavailableError: the repository does not answer, and the secret is write-only.
        SecretNeededError: the old password is needed and there is no terminal.
        UnlockError: what was given is not the old password.
    """
    row = chain_rows.current(ctx.database, job.job_id)
    if row is None or not row.sealed or row.detached:
        return None
    chain: Chain | None = None
    try:
        chain = open_chain(ctx, job, row.chain_id)
        own = chain.signs_as(ctx.identity.public) is not None
        older = _stored_key(ctx, chain) if own and not job.secret_to_read else None
        if older is not None:
            return Prepared(job, chain, older)
    except (UnavailableError, NotFoundError, RefusedError) as error:
        if link_later and chain is not None:
            return Prepared(job, chain, None)  # the KMS is away, and not the repository
        if not write_only:
            return Pending(job, f"the next session of job {job.name} makes the link: {error}")
        error.hint = "nothing was changed; try again when the repository can be reached"
        raise
    if link_later and own and old is None:
        return Prepared(job, chain, None)
    if old is None:
        return Pending(
            job,
            f"the next session of job {job.name} starts a new chain with a full: without the "
            "old password the present one cannot go on (--link-later would have let it)",
        )
    if not old.can_ask:
        raise SecretNeededError(
            f"the {prompt} is needed once, to link the chain of job {job.name} to the new one",
            hint="name it with --old-password-file, --old-password-env or --old-password-command; "
            "--link-later goes on without it",
        )
    return _with_password(ctx, job, chain, PasswordUnlocker(old.get(prompt, hint=hint)))


def prepare_older(ctx: Context, present: Prepared) -> tuple[list[Prepared], list[str]]:
    """Open the present keys of the job's older chains that have points and were not split off.

    Args:
        ctx: Surroundings.
        present: The chain that the job goes on in. What opens it is tried with the others.

    Returns:
        The chains, and what is to be said of those that stay as they are.
    """
    job = present.job
    opened, notices = [], []
    for row in chain_rows.of_job(ctx.database, job.job_id):
        if row.current or row.detached or not row.sealed:
            continue
        if not point_rows.of_chain(ctx.database, row.chain_id):
            continue
        try:
            chain = _open_in(ctx, repositories.by_id(ctx.database, row.repository_id), row.chain_id)
            own = chain.signs_as(ctx.identity.public) is not None
            older = _stored_key(ctx, chain) if own and not job.secret_to_read else None
            if own and older is None and present.unlocker is not None:
                found = _opened(ctx, chain, present.unlocker)
                older = found[0] if found is not None else None
        except StrongroomError as error:
            why = str(error)
        else:
            if older is not None:
                opened.append(Prepared(job, chain, older))
                continue
            why = "nothing at hand opens its key"
        notices.append(
            f"points of the older chain {row.chain_id.hex()[:12]} go on to need the secret of "
            f"their time: {why}; 'strongroom job rewrap {job.name}' can seal it for the new one"
        )
    return opened, notices


def open_chain(ctx: Context, job: Job, chain_id: bytes) -> Chain:
    """Return a chain of the job, compared with the head that is known of it.

    Raises:
        RolledBackError: the repository shows an older state than was seen before.
        ForkedError: it shows another history.
    """
    return _open_in(ctx, repositories.get(ctx.database, job.repository), chain_id)


def _open_in(ctx: Context, repository: RepositoryRow | None, chain_id: bytes) -> Chain:
    if repository is None:
        raise NotFoundError("the repository of the chain is not in the catalog any more")
    chain = Repository.open(vaults.storage_of(ctx, repository)).chain(chain_id)
    known_chains.compare_with_seen(ctx, chain)
    return chain


def _stored_key(ctx: Context, chain: Chain) -> ChainKey | None:
    record = keys.chain_record(ctx, chain.chain_id)
    if record is not None and record.chain_key_seed is not None:
        older = ChainKey(record.chain_key_seed)
        if older.public.raw == record.chain_key_public:
            return older
    opened = _opened(ctx, chain, keys.StoredSecrets(ctx))
    return None if opened is None else opened[0]


def _with_password(ctx: Context, job: Job, chain: Chain, unlocker: Unlocker) -> Prepared:
    with _counted(ctx, job, chain):
        opened = _opened(ctx, chain, unlocker)
        if opened is None:
            raise UnlockError(
                f"this password does not open the present key of chain {chain.name}",
                hint="the password before the change is what is needed; nothing was changed",
            )
    return Prepared(job, chain, *opened, unlocker)


def _counted(ctx: Context, job: Job, chain: Chain) -> AbstractContextManager[None]:
    """Count what is given for a job's present secret as an attempt at it, like any other."""
    # Not at the top: sessions import this, and have no use for them.
    from strongroom.control import attempts, guarded

    if job.secret_to_read or not isinstance(job.encryption, PasswordEncryption):
        return guarded.guessing(ctx, [chain])
    row = passwords.get(ctx.database, job.encryption.name)
    return attempts.counted(ctx, row, "link a chain")


def _opened(ctx: Context, chain: Chain, unlocker: Unlocker) -> tuple[ChainKey, Keyring] | None:
    """Return the chain's present key, and all others, if the secret opens that very one."""
    row = chain_rows.find(ctx.database, chain.chain_id)
    try:
        keyring = chain.wrapped.unlock(unlocker, keys.trust(ctx))
    except NoRecipientMatchedError:
        return None
    audit.record(ctx, "keys.unwrapped", by=unlocker.describe(), chains=[chain.chain_id.hex()])
    present_id = (row and row.chain_key_id) or b""
    if present_id in keyring.refused:
        raise keyring.refused[present_id]
    present = keyring.chain_keys.get(present_id)
    return None if present is None else (present, keyring)


def carry_out(ctx: Context, prepared: Prepared, recipients: Sequence[Recipient]) -> Rekeyed:
    """Write new envelope and link; in a chain of an identity that was lost, take it over."""
    chain = prepared.chain
    newer: ChainKey | None = None
    if prepared.keyring is not None and chain.signs_as(ctx.identity.public) is None:
        # Not at the top: what it imports, only this needs.
        from strongroom.control import succession

        newer = succession.take_over(ctx, chain, prepared.keyring, recipients, keep_key=False)
    if newer is None:
        newer = change_recipients(chain, prepared.older, recipients, ctx.identity)
    ids = frozenset(recipient.id for recipient in recipients)
    audit.wrapped(ctx, prepared.job, chain, newer.id, ids)
    return Rekeyed(prepared.job, chain, newer, ids, linked=prepared.older is not None)


def settle(ctx: Context, rekeyed: Rekeyed, *, keep_key: bool) -> None:
    """Remember a chain's new key; its private half only where the secret is not write-only."""
    chain_id = rekeyed.chain.chain_id
    record = keys.chain_record(ctx, chain_id)
    if record is not None:
        keys.keep_chain_key(ctx, record, rekeyed.newer, secret=keep_key)
    with ctx.database.transaction():
        if not rekeyed.linked:
            # From the key that points need: one of a change that no session followed opens none.
            older_id = rekeyed.chain.present_key_id
            link = missing_links.MissingLink(older_id, rekeyed.newer.id)
            missing_links.add(ctx.database, chain_id, link)
            audit.record(ctx, "chain.unlinked", chain=chain_id.hex(), keys=[older_id.hex()])
        chain_rows.rekeyed(ctx.database, chain_id, rekeyed.newer.id, rekeyed.recipient_ids)
        known_chains.keep_envelope(ctx, rekeyed.chain, rekeyed.newer.id)


def forget_chain_key(ctx: Context, chain_id: bytes) -> None:
    """Let go of what opens a chain's data: its password became write-only."""
    record = keys.chain_record(ctx, chain_id)
    if record is not None and record.chain_key_seed is not None:
        ctx.keystore.put(chain_id.hex(), msgspec.structs.replace(record, chain_key_seed=None))
