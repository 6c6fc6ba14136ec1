"""What one session writes, in the order that a crash cannot hurt.

The order (docs/format.md, "Order of writes"):

1. the session's sealed keys, before its first pack;
2. packs, in any order, each durable when `put_pack` returns;
3. one tables object with every public page that is new;
4. the journal entry, exclusively under the next number.

Until 4 a reader sees nothing of the session, and all of it may be removed or taken over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.errors import FencedError
from strongroom.format import header as headers
from strongroom.format.codec import encode
from strongroom.format.journal import (
    CondemnationBody,
    DeathBody,
    Entry,
    EntryRef,
    PromiseBody,
    PublicPoint,
    SessionBody,
    SuccessionBody,
)
from strongroom.format.paging import Table, TableRoot
from strongroom.format.tables import (
    LEDGER_SPAN,
    PACK_SET_SPAN,
    SESSION_SPAN,
    SET_SPAN,
    LedgerPage,
    PackSet,
    SessionRecord,
    SessionSet,
    bitmap,
    places_of,
)
from strongroom.repository import layout
from strongroom.repository.append import append_entry
from strongroom.repository.pages import PageCollector
from strongroom.repository.promises import updated_history
from strongroom.storage.reading import together

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from strongroom.clock import Clock
    from strongroom.crypto.envelope import SessionSecrets
    from strongroom.crypto.signing import SigningKey
    from strongroom.repository.chain import Chain
    from strongroom.repository.usage import BlockUsage
    from strongroom.storage.base import Buffer


@dataclass(frozen=True, slots=True)
class SealedKeys:
    """A session's keys as they are stored: sealed to a chain key, with their commitment."""

    chain_key_id: bytes = b""
    chain_public: bytes = b""
    sealed: bytes = b""
    commitment: bytes = b""


def seal_keys(
    secrets: SessionSecrets, chain_public_raw: bytes, origin_id: bytes, session_id: bytes
) -> SealedKeys:
    """Seal a session's keys to the public half of a chain key."""
    from strongroom.crypto.hpke import PublicKey

    public = PublicKey(chain_public_raw)
    context = headers.session_context(origin_id, session_id)
    return SealedKeys(
        public.id, public.raw, secrets.seal(public, context), secrets.commitment(context)
    )


@dataclass(slots=True)
class WrittenSession:
    """A session's blocks as its record and ledger will tell: its own, or one taken over."""

    session_id: bytes
    slot: int
    keys: SealedKeys
    directories: dict[int, bytes] = field(default_factory=dict)
    """Encoded `pack.Directory` by ordinal."""


class SessionWriter:
    """Stores what a session makes and publishes it in one stroke."""

    def __init__(
        self,
        chain: Chain,
        session_id: bytes,
        keys: SealedKeys,
        signer: SigningKey,
        clock: Clock,
        adopted: Sequence[WrittenSession] = (),
    ) -> None:
        """Prepare; nothing is written yet.

        Args:
            chain: Where to; its newest session is what this one builds on. What came since it
                was listed is judged when this one publishes.
            session_id: Fresh and random.
            keys: Sealed keys; empty ones for a plain chain.
            signer: The server's identity.
            clock: Tells the time of the entry.
            adopted: Dead sessions whose complete packs this one may refer to; their DEATH
                entries are published already and their numbers are the slots.
        """
        self.chain = chain
        self.base = chain.newest_session
        self._seen = chain.listing[-1] if chain.listing else 0
        # Numbers are never used twice, so a slot means one session for the chain's whole life.
        self.own = WrittenSession(session_id, self._seen + 1, keys)
        self._adopted = {one.slot: one for one in adopted}
        self._signer = signer
        self._clock = clock
        self._written = {layout.session_keys(chain.chain_id, session_id)}
        """Names of the objects that the entry will lead to: condemned, they fence."""
        for one in adopted:
            self._written.add(layout.session_keys(chain.chain_id, one.session_id))
            self._written.update(
                layout.pack(chain.chain_id, _pack_id(data)) for data in one.directories.values()
            )

    @property
    def slot(self) -> int:
        return self.own.slot

    def begin(self) -> None:
        """Store the session's sealed keys: packs of a session nobody can open are garbage."""
        keys = self.own.keys
        if not keys.sealed:
            return
        stored = headers.SessionKeysObject(
            self.chain.chain_id,
            self.own.session_id,
            keys.chain_key_id,
            keys.sealed,
            keys.commitment,
        )
        signature = self._signer.sign(headers.SESSION_KEYS_DOMAIN, encode(stored))
        self.chain.storage.put(
            layout.session_keys(self.chain.chain_id, self.own.session_id),
            headers.frame_session_keys(stored, signature),
        )

    def put_pack(self, pack_id: bytes, ordinal: int, directory: bytes, data: Buffer) -> None:
        """Store a whole pack durably. May be called from several threads."""
        key = layout.pack(self.chain.chain_id, pack_id)
        self._written.add(key)
        self.chain.storage.put(key, data)
        self.own.directories[ordinal] = directory

    def publish(
        self,
        points: Sequence[PublicPoint],
        usage: BlockUsage,
        *,
        give_up: Collection[bytes],
        counter: int,
        previous: EntryRef | None,
        next_due: int,
        older: Sequence[EntryRef] = (),
        confirm: Callable[[], None] = lambda: None,
    ) -> Entry:
        """Make the session's points exist.

        Args:
            points: New points, one a source that succeeded.
            usage: Every block that the job's state uses from now on, carried-over sources
                included.
            give_up: Older points that retention no longer keeps.
            counter: Sessions of the job so far, this one included.
            previous: The job's session entry before this one.
            next_due: When the next point is due, microseconds since 1970, or 0.
            older: The newest entry of each other chain of the job that has promised points.
            confirm: Raises where the session has lost the right to publish.

        Raises:
            FencedError: declared dead, overtaken by another session, or the state this one
                builds on was condemned meanwhile.
        """
        while True:
            pages = PageCollector(self.chain)
            sessions, sets = self._state(usage, pages)
            body = SessionBody(
                self.own.session_id,
                self.slot,
                self.base.number if self.base else 0,
                counter,
                previous,
                next_due,
                list(older),
                self.own.keys.chain_public,
                list(points),
                sessions,
                sets,
                updated_history(self.chain, pages, give_up=give_up),
            )
            self._written.add(layout.tables(self.chain.chain_id, pages.object_id))
            together(self.chain.storage, confirm, pages.store)
            try:
                return append_entry(
                    self.chain, body, self._signer, self._clock, self._judge, self._seen
                )
            except _PromiseMovedError as moved:
                self._seen = moved.number

    def _judge(self, entry: Entry) -> None:
        body = entry.body
        if isinstance(body, DeathBody):
            if body.session_id == self.own.session_id:
                raise FencedError(
                    f"session {self.own.session_id.hex()[:12]} was declared dead by entry "
                    f"{entry.number}; another session runs in its place"
                )
            if entry.number == self.slot:
                # The dead one's packs will be addressed by that number: one slot, two sessions.
                raise FencedError(
                    f"entry {entry.number} took the number that this session's addresses use"
                )
        if isinstance(body, SuccessionBody):
            raise FencedError(
                f"another server took the chain over with entry {entry.number}: this one signs "
                "nothing in it any more"
            )
        if isinstance(body, SessionBody):
            raise FencedError(
                f"session {body.session_id.hex()[:12]} published entry {entry.number} first"
            )
        if isinstance(body, CondemnationBody):
            base = self.base.number if self.base else 0
            prefix = layout.chain(self.chain.chain_id)
            if base in body.entries or any(prefix + name in self._written for name in body.objects):
                raise FencedError(f"entry {entry.number} condemned what this session builds on")
        if isinstance(body, PromiseBody):
            raise _PromiseMovedError(entry.number)

    # --- state -----------------------------------------------------------------------------

    def _state(self, usage: BlockUsage, pages: PageCollector) -> tuple[TableRoot, TableRoot]:
        """Return sessions and block sets that follow the base's."""
        body = self.base.body if self.base else None
        assert body is None or isinstance(body, SessionBody)
        sessions = Table(
            SessionRecord, SESSION_SPAN, body.sessions if body else TableRoot(), pages.load
        )
        sets = Table(SessionSet, SET_SPAN, body.sets if body else TableRoot(), pages.load)
        wanted: dict[int, dict[int, int]] = {self.slot: {}}
        for (slot, ordinal), bits in usage.bitmaps().items():
            wanted.setdefault(slot, {})[ordinal] = bits
        record_changes: dict[int, SessionRecord | None] = {}
        set_changes: dict[int, SessionSet | None] = {}
        known = dict(sets.items())
        recorded = dict(sessions.items())
        for slot in known.keys() | recorded.keys() | wanted.keys():
            packs = wanted.get(slot)
            if packs is None:
                set_changes[slot] = record_changes[slot] = None
                continue
            if slot not in recorded:
                record_changes[slot] = self._record(slot, pages)
            elif slot == self.slot or slot in self._adopted:
                raise ValueError(f"slot {slot} means session {recorded[slot].session_id.hex()}")
            if not packs:
                # This session stored nothing that is used; its record opens its points.
                continue
            before = known.get(slot) or SessionSet(TableRoot())
            after = self._set(before, packs, pages)
            if after != known.get(slot):
                set_changes[slot] = after
        return (
            sessions.updated(record_changes, pages.add),
            sets.updated(set_changes, pages.add),
        )

    def _set(
        self, before: SessionSet, wanted: Mapping[int, int], pages: PageCollector
    ) -> SessionSet:
        table = Table(PackSet, PACK_SET_SPAN, before.packs, pages.load)
        known = {ordinal: places_of(record.used) for ordinal, record in table.items()}
        changes: dict[int, PackSet | None] = {
            ordinal: PackSet(bitmap(bits))
            for ordinal, bits in wanted.items()
            if known.get(ordinal) != bits
        }
        changes.update((ordinal, None) for ordinal in known.keys() - wanted.keys())
        return SessionSet(table.updated(changes, pages.add))

    def _record(self, slot: int, pages: PageCollector) -> SessionRecord:
        """Return the record of a session that enters the state, with its ledger."""
        session = self.own if slot == self.slot else self._adopted[slot]
        ledger = Table(LedgerPage, LEDGER_SPAN, TableRoot(), pages.load)
        root = ledger.updated(
            {number: LedgerPage(data) for number, data in session.directories.items()}, pages.add
        )
        return SessionRecord(
            session.session_id,
            session.keys.chain_key_id,
            session.keys.sealed,
            session.keys.commitment,
            root,
            1 + max(session.directories, default=-1),
        )


def _pack_id(directory: bytes) -> bytes:
    from strongroom.format.codec import decode
    from strongroom.format.pack import Directory

    return decode(Directory, directory, "a directory").pack_id


class _PromiseMovedError(Exception):
    """A newer promise came first; the history has to follow it."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)
