"""Re-encryption: a chain's live points under new keys, in a new chain, without their source.

The new chain is a clone (docs/decisions/0017): the same entries, slots, sessions, points and block
numbers. Each block is opened and its frame sealed again, so pages and data stay byte for byte
what they were, and nothing here knows what they mean. What no carried entry uses is left out.

The new chain has no header while this runs, so nobody sees it. Cut short at any instant, it is
gone on with: session keys and packs that only the holder of the new chain key can have made are
kept, tables and entries are made anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from strongroom.engine.carried import Carried, carried
from strongroom.engine.clones import OpenedPack, Resealing, body_of, compare
from strongroom.errors import (
    MalformedError,
)
from strongroom.format.journal import (
    SIGNING_DOMAIN,
    EntryRef,
    PromiseBody,
    SessionBody,
    encode_entry,
    frame_entry,
    signer_name,
)
from strongroom.format.versions import FORMAT
from strongroom.repository import layout
from strongroom.repository.append import append_entry
from strongroom.repository.chain import Chain
from strongroom.repository.keyring import Keyring
from strongroom.repository.pages import PageCollector
from strongroom.repository.promises import updated_history

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.clock import Clock
    from strongroom.crypto.envelope import ChainKey
    from strongroom.crypto.keys import MetaKey
    from strongroom.crypto.signing import SigningKey
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.progress import Progress
    from strongroom.format.journal import Entry
    from strongroom.format.tables import SessionRecord


def check_keys(chain: Chain, what: Carried, keyring: Keyring) -> None:
    """Go on if every session's keys can be had; a plain chain's have none.

    Raises:
        UnlockError: one is sealed to a chain key that nothing at hand opens.
    """
    for record in what.records.values() if chain.sealed else ():
        keyring.secrets(record)


def reencrypt(
    old: Chain,
    old_keys: Keyring,
    new: Chain,
    chain_key: ChainKey | None,
    *,
    counter: int | None,
    older: list[EntryRef] | None,
    signer: SigningKey,
    clock: Clock,
    keep_metakey: Callable[[bytes, MetaKey], None],
    progress: Progress,
    cancel: Cancellation,
) -> Carried:
    """Fill an unpublished chain with another one's live points, and verify it.

    Args:
        old: The chain to carry over.
        old_keys: Opens all of its sessions.
        new: The new chain, seen as if its header were there (`repository.unpublished`).
        chain_key: The new chain's; None if it is plain.
        counter: What the newest session is to count as; None: as it does.
        older: What it is to say of the job's other chains; None: as it does.
        signer: The new chain's identity.
        clock: Tells the time of the last entry.
        keep_metakey: Told of a session's id and its new metakey before its first pack.
        progress: Is told how it goes, copying and then verifying.
        cancel: Stops it between two packs.

    Returns:
        What was carried over.

    Raises:
        UnlockError: a session's keys cannot be had.
        IntegrityError: something does not hold, in the old chain or in what was made.
        CancelledError: on request; begun again, it goes on.
    """
    what = carried(old)
    check_keys(old, what, old_keys)
    public = chain_key.public if chain_key is not None else None
    work = _Reencryption(
        old, old_keys, new, public, chain_key, what, signer, clock, progress, cancel
    )
    work.take_session_keys(keep_metakey)
    work.copy_packs()
    work.write_journal(counter, older)
    work.verify()
    return what


class _Reencryption(Resealing):
    """A whole chain, into one that nobody sees yet."""

    # --- journal -----------------------------------------------------------------------------

    def write_journal(self, counter: int | None, older: list[EntryRef] | None) -> None:
        """Write every carried entry, and one that says what of them is live and held."""
        storage, chain_id = self._new.storage, self._new.chain_id
        for prefix in (layout.journal(chain_id), layout.all_tables(chain_id)):
            for info in list(storage.list(prefix)):
                storage.delete(info.key)
        # A view of before remembers the entries that are gone.
        new = self._new = Chain(storage, chain_id)
        records: dict[int, SessionRecord] = {}
        before: tuple[Chain, SessionBody] | None = None
        written: Entry | None = None
        for entry in self._what.entries:
            self._cancel.check()
            pages = PageCollector(new)
            body = self._body(entry, before, written, records, pages)
            if entry is self._what.entries[-1]:
                body = msgspec.structs.replace(
                    body,
                    counter=body.counter if counter is None else counter,
                    older=body.older if older is None else older,
                )
            pages.store()
            before = self._old, body_of(entry)
            written = self._put(entry, body, written)
        if written is None:
            return
        pages = PageCollector(new)
        points = {point.point_id for entry in self._what.entries for point in body_of(entry).points}
        live = self._what.live
        history = updated_history(
            new,
            pages,
            give_up=points - live.keys(),
            hold_ids={point_id for point_id, held in live.items() if held},
        )
        pages.store()
        append_entry(new, PromiseBody(history, "re-encrypted"), self._signer, self._clock)

    def _put(self, entry: Entry, body: SessionBody, before: Entry | None) -> Entry:
        """Store an entry under the number and with the time of the old one."""
        new = self._new
        encoded = encode_entry(
            new.chain_id,
            entry.number,
            before.hash if before is not None else new.root_hash,
            entry.raw.made_at,
            signer_name(self._signer.public.id, 0),
            body,
            FORMAT,
        )
        signature = self._signer.sign(SIGNING_DOMAIN, encoded)
        new.storage.put(layout.entry(new.chain_id, entry.number), frame_entry(encoded, signature))
        new.refresh()
        return new.entry(entry.number)

    # --- verifying ---------------------------------------------------------------------------

    def verify(self) -> None:
        """Read the new chain as a reader will, and compare every block with the old one's.

        Raises:
            IntegrityError: something is not what it was.
        """
        new = Chain(self._new.storage, self._new.chain_id)
        own = self._chain_key
        keyring = Keyring(new.origin_id, {} if own is None else {own.id: own})
        found = carried(new)
        if found.live != self._what.live:
            raise MalformedError(f"chain {new.name} does not promise the points it should")
        self._compare_points(new, keyring, found.entries)
        if found.used != self._what.used:
            raise MalformedError(f"chain {new.name} does not use the blocks it should")
        self._progress.begin("verifying", self._what.byte_count)
        for slot, ordinal in sorted(found.used):
            self._cancel.check()
            before = OpenedPack.of(self._old, self._old_keys, self._what, slot, ordinal)
            after = OpenedPack.of(new, keyring, found, slot, ordinal)
            compare(before, after)
            self._progress.advance(before.used_bytes())
        self._progress.finish()
