"""What this server remembers of a chain: how far it goes, whom it is sealed for, an envelope.

A storage that shows less than was seen, or another history, is found by it. Sessions use it, so
it imports nothing that only views and readers need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import copies, heads, repositories
from strongroom.control import vaults
from strongroom.errors import RolledBackError
from strongroom.repository import layout
from strongroom.repository.chain import Head
from strongroom.repository.repository import Repository

if TYPE_CHECKING:
    from strongroom.control.context import Context
    from strongroom.repository.chain import Chain


def repository_of(ctx: Context, repository_id: bytes) -> Repository:
    """Open the repository that chains of the catalog are in.

    Raises:
        NotARepositoryError: there is none where it was.
        UnavailableError: its storage does not answer.
    """
    row = repositories.by_id(ctx.database, repository_id)
    assert row is not None, "chains refer to it"
    return Repository.open(vaults.storage_of(ctx, row))


def compare_with_seen(ctx: Context, chain: Chain) -> None:
    """Go on if a chain is what this installation has seen of it, or follows from that.

    Raises:
        RolledBackError, ForkedError: it is another history.
    """
    seen = heads.get(ctx.database, chain.chain_id)
    if seen is None:
        return
    head = Head(chain.chain_id, *seen)
    try:
        chain.check_head(head)
    except RolledBackError:
        # The journal may have been listed before this was seen, by a command beside this one.
        chain.list_anew()
        chain.check_head(head)


def is_copy(ctx: Context, repository_id: bytes, chain_id: bytes) -> bool:
    """Tell whether a repository of the catalog has a chain that is at home in another one."""
    row = chain_rows.find(ctx.database, chain_id)
    if row is None or row.repository_id == repository_id:
        return False
    if copies.find(ctx.database, repository_id, chain_id) is not None:
        return True
    return repositories.by_id(ctx.database, repository_id) is not None


def seen_of(ctx: Context, repository_id: bytes, chain_id: bytes) -> Head | None:
    """Return the newest entry that a repository has to have of a chain, if any is known.

    A copy may lag behind the chain that it is a copy of, and not behind itself.
    """
    if not ctx.has_catalog:
        return None
    if is_copy(ctx, repository_id, chain_id):
        copied = copies.find(ctx.database, repository_id, chain_id)
        return None if copied is None else Head(chain_id, copied.number, copied.entry_hash)
    seen = heads.get(ctx.database, chain_id)
    return None if seen is None else Head(chain_id, *seen)


def remember_head(ctx: Context, chain: Chain) -> None:
    """Remember how far a chain goes, for `compare_with_seen` to hold it to."""
    head = chain.head()
    if head is not None:
        now = ctx.clock.now()
        heads.remember(ctx.database, head.chain_id, head.number, head.entry_hash, now)


def present_recipients(chain: Chain) -> tuple[bytes | None, frozenset[bytes]]:
    """Return the chain key that the newest session sealed to, and whom it is sealed for."""
    if not chain.sealed:
        return None, frozenset()
    chain_key_id = chain.present_key_id
    envelope = chain.wrapped.envelopes().get(chain_key_id)
    stanzas = envelope.stanzas if envelope is not None else []
    return chain_key_id, frozenset(stanza.recipient_id for stanza in stanzas)


def keep_envelope(ctx: Context, chain: Chain, chain_key_id: bytes) -> None:
    """Keep a third copy of a chain key's first envelope, where the storage cannot touch it."""
    data = chain.storage.get(layout.envelope(chain.chain_id, chain_key_id, 1, "a"))
    chain_rows.keep_envelope(ctx.database, chain.chain_id, chain_key_id, data)
