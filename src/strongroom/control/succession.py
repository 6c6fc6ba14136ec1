"""Going on in a chain that another identity began: that of a lost server, or of a lost keystore.

What makes readers believe the new signer is the secret of those whom the chain is sealed for
from now on: their stanzas vouch for this installation (docs/decisions/0019).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import jobs as job_rows
from strongroom.control import audit, chains, keys, known_chains
from strongroom.engine.progress import NullProgress
from strongroom.format.journal import SessionBody
from strongroom.repository import copy_marks, rekey
from strongroom.repository.rescan import look_through
from strongroom.repository.succession import succeed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.control.context import Context
    from strongroom.crypto.envelope import ChainKey
    from strongroom.crypto.recipients import Recipient
    from strongroom.model.job import Job
    from strongroom.repository.chain import Chain
    from strongroom.repository.keyring import Keyring


def take_over(
    ctx: Context,
    chain: Chain,
    keyring: Keyring,
    recipients: Sequence[Recipient],
    *,
    keep_key: bool,
) -> ChainKey | None:
    """Make a chain this installation's own, sealed for `recipients` from now on.

    In the order that a crash cannot hurt: what the next session compares by, then a chain key
    whose recipients vouch for this installation, then the entry that brings it in.

    Args:
        ctx: Surroundings.
        chain: All of it, and believed.
        keyring: Opens the key that its newest session sealed to.
        recipients: Of the job that goes on in it; nobody if it is plain.
        keep_key: The keystore may keep what opens the data.

    Returns:
        The new chain key, None in a plain chain.

    Raises:
        UnlockError: only an older key is open.
        ConflictError: somebody wrote to the chain meanwhile.
    """
    # Where the original is lost, its copy is the chain from now on.
    copy_marks.end(chain.storage, chain.chain_id)
    newer = None
    if chain.sealed:
        record = chains.keep(ctx, chain, keyring, keep_key=False, progress=NullProgress())
        present = keyring.chain_keys[chain.present_key_id]
        newer = rekey.change_recipients(chain, present, recipients, ctx.identity)
        for key_id in look_through(chain).unlinked:
            if key_id in keyring.chain_keys:
                rekey.link(chain, keyring.chain_keys[key_id], newer.public)
        keys.keep_chain_key(ctx, record, newer, secret=keep_key)
    if chain.signs_as(ctx.identity.public) is None:
        succeed(chain, ctx.identity, ctx.clock)
    audit.record(ctx, "chain.taken-over", chain=chain.chain_id.hex())
    return newer


def remember(
    ctx: Context,
    job: Job,
    chain: Chain,
    newer: ChainKey | None,
    recipients: Sequence[Recipient],
) -> None:
    """Remember in the catalog that the job goes on in a chain that was taken over."""
    if newer is not None:
        ids = frozenset(recipient.id for recipient in recipients)
        chain_rows.rekeyed(ctx.database, chain.chain_id, newer.id, ids)
        known_chains.keep_envelope(ctx, chain, newer.id)
    chain_rows.make_current(ctx.database, job.job_id, chain.chain_id)
    known_chains.remember_head(ctx, chain)
    newest = chain.newest_session
    if newest is not None and isinstance(newest.body, SessionBody):
        job_rows.remember_counter(ctx.database, job.job_id, newest.body.counter)
