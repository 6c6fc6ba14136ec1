"""Chain keys of copies with a key of their own, which follow what their copy jobs are sealed for.

Where a copy job's recipients have changed, its clones get a new chain key for those of now, with a
link to the one before: what comes is sealed to the new key, and whoever opens that opens what was
there. Old secrets open what they opened, until `control.rewrapping` replaces the envelopes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.control import audit, keys
from strongroom.crypto.hpke import PublicKey
from strongroom.format.journal import SessionBody
from strongroom.repository.rekey import change_recipients

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.control.context import Context
    from strongroom.crypto.envelope import ChainKey
    from strongroom.crypto.recipients import Recipient
    from strongroom.format.header import Envelope
    from strongroom.model.job import Job
    from strongroom.repository.chain import Chain


def next_key(
    ctx: Context, clone: Chain, envelopes: Mapping[bytes, Envelope] | None = None
) -> PublicKey:
    """Return the chain key that what comes to a clone is sealed to.

    That is the one in force, or one that was made since and has an intact envelope there.

    Args:
        ctx: Surroundings.
        clone: The clone, as everybody sees it.
        envelopes: Those that it has, if they were read already.
    """
    record = keys.chain_record(ctx, clone.chain_id)
    if record is not None:
        made = PublicKey(record.chain_key_public)
        if made.id in (clone.wrapped.envelopes() if envelopes is None else envelopes):
            return made
    newest = clone.newest_session
    assert newest is not None, "a clone has sessions"
    assert isinstance(newest.body, SessionBody)
    return PublicKey(newest.body.chain_public)


def is_sealed_for(ctx: Context, clone: Chain, recipients: Sequence[Recipient]) -> bool:
    """Tell whether what comes to a clone is sealed for these, and for nobody else."""
    envelopes = clone.wrapped.envelopes()
    return _names(envelopes.get(next_key(ctx, clone, envelopes).id), recipients)


def _names(envelope: Envelope | None, recipients: Sequence[Recipient]) -> bool:
    stanzas = envelope.stanzas if envelope is not None else ()
    return {one.recipient_id for one in stanzas} == {one.id for one in recipients}


def follow(
    ctx: Context,
    copied_as: Job,
    clone: Chain,
    opened: Mapping[bytes, ChainKey],
    recipients: Sequence[Recipient],
) -> ChainKey | None:
    """Give a clone a new chain key for its copy job's recipients, where those are others.

    Args:
        ctx: Surroundings.
        copied_as: The copy job, as if it was a job of its own.
        clone: One of its clones, as everybody sees it, under its job's lock.
        opened: The clone's chain keys that are open.
        recipients: Whom it is to be sealed for.

    Returns:
        The new key; None where none is needed, or nothing opens the one before.
    """
    record = keys.chain_record(ctx, clone.chain_id)
    envelopes = clone.wrapped.envelopes()
    present = next_key(ctx, clone, envelopes).id
    older = opened.get(present)
    if record is None or older is None or _names(envelopes.get(present), recipients):
        return None
    newer = change_recipients(clone, older, recipients, ctx.identity)
    keys.keep_chain_key(ctx, record, newer, secret=keys.keeps_secret(ctx, copied_as))
    audit.wrapped(ctx, copied_as, clone, newer.id, [one.id for one in recipients])
    clone.refresh()
    return newer
