"""Re-encryption: a chain's live points under new keys, in a new chain, without their source.

The new chain is a clone (docs/decisions/0017): the same entries, slots, sessions, points and block
numbers. Each block is opened and its frame sealed again, so pages and data stay byte for byte
what they were, and nothing here knows what they mean. What no carried entry uses is left out.

The new chain has no header while this runs, so nobody sees it. Cut short at any instant, it is
gone on with: session keys and packs that only the holder of the new chain key can have made are
kept, tables and entries are made anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from strongroom.crypto.aead import NotSealedHereError, open_value, seal_value
from strongroom.crypto.content import fingerprint
from strongroom.crypto.envelope import SessionSecrets, open_session
from strongroom.crypto.signing import verify
from strongroom.engine.carried import Carried, carried
from strongroom.engine.pack_sealing import CONTENTS_LABEL, SealingSession, seal_pack
from strongroom.errors import (
    BlockDamagedError,
    IntegrityError,
    MalformedError,
    PointDamagedError,
)
from strongroom.format import header as headers
from strongroom.format import pack as packs
from strongroom.format.block import BlockClass, read_frame
from strongroom.format.codec import HASH_LENGTH, MAX_SMALL, decode, encode
from strongroom.format.header import session_context
from strongroom.format.journal import (
    SIGNING_DOMAIN,
    EntryRef,
    PromiseBody,
    PublicPoint,
    SessionBody,
    encode_entry,
    frame_entry,
    signer_name,
)
from strongroom.format.paging import Table, TableRoot
from strongroom.format.point import DETAILS_LABEL
from strongroom.format.tables import (
    LEDGER_SPAN,
    PACK_SET_SPAN,
    SESSION_SPAN,
    SET_SPAN,
    LedgerPage,
    PackSet,
    SessionRecord,
    SessionSet,
)
from strongroom.format.versions import FORMAT
from strongroom.repository import layout
from strongroom.repository.append import append_entry
from strongroom.repository.chain import Chain, get_framed
from strongroom.repository.keyring import Keyring
from strongroom.repository.pages import PageCollector
from strongroom.repository.promises import updated_history
from strongroom.repository.stored_packs import Form, find_pack, read_form
from strongroom.repository.writer import SealedKeys, seal_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.clock import Clock
    from strongroom.crypto.envelope import ChainKey
    from strongroom.crypto.keys import MetaKey
    from strongroom.crypto.signing import SigningKey
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.progress import Progress
    from strongroom.format.journal import Entry
    from strongroom.format.pack import Contents, Directory
    from strongroom.repository.stored_packs import StoredPack

_RUN = 4 << 20
"""Neighbouring blocks are read together up to this."""


def check_keys(what: Carried, keyring: Keyring) -> None:
    """Go on if every session's keys can be had.

    Raises:
        UnlockError: one is sealed to a chain key that nothing at hand opens.
    """
    for record in what.records.values():
        keyring.secrets(record)


def reencrypt(
    old: Chain,
    old_keys: Keyring,
    new: Chain,
    chain_key: ChainKey,
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
        chain_key: The new chain's.
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
    check_keys(what, old_keys)
    work = _Reencryption(old, old_keys, new, chain_key, what, signer, clock, progress, cancel)
    work.take_session_keys(keep_metakey)
    work.copy_packs()
    work.write_journal(counter, older)
    work.verify()
    return what


class _Reencryption:
    def __init__(
        self,
        old: Chain,
        old_keys: Keyring,
        new: Chain,
        chain_key: ChainKey,
        what: Carried,
        signer: SigningKey,
        clock: Clock,
        progress: Progress,
        cancel: Cancellation,
    ) -> None:
        self._old = old
        self._old_keys = old_keys
        self._new = new
        self._chain_key = chain_key
        self._what = what
        self._signer = signer
        self._clock = clock
        self._progress = progress
        self._cancel = cancel
        self._secrets: dict[int, SessionSecrets] = {}
        """New keys by slot."""
        self._sealed: dict[int, SealedKeys] = {}
        self._directories: dict[tuple[int, int], bytes] = {}
        """Encoded directories of new packs, by slot and ordinal."""

    # --- keys --------------------------------------------------------------------------------

    def take_session_keys(self, keep_metakey: Callable[[bytes, MetaKey], None]) -> None:
        """Give every session new keys, or take those that an earlier run gave it."""
        new = self._new
        there = {info.key for info in new.storage.list(layout.all_session_keys(new.chain_id))}
        for slot, record in self._what.records.items():
            key = layout.session_keys(new.chain_id, record.session_id)
            if key in there:
                secrets, sealed = self._stored_keys(key, record.session_id)
                # A crash may have come before; it costs nothing to say again.
                keep_metakey(record.session_id, secrets.metakey)
            else:
                before = self._old_keys.secrets(record)
                secrets = SessionSecrets.generate(before.dedup_key, before.chunker_seed)
                sealed = seal_keys(
                    secrets, self._chain_key.public.raw, new.origin_id, record.session_id
                )
                keep_metakey(record.session_id, secrets.metakey)
                self._store_keys(key, record.session_id, sealed)
            self._secrets[slot] = secrets
            self._sealed[slot] = sealed

    def _stored_keys(self, key: str, session_id: bytes) -> tuple[SessionSecrets, SealedKeys]:
        stored, encoded, signature = headers.read_session_keys_signed(
            get_framed(self._new.storage, key, MAX_SMALL), key
        )
        verify(self._signer.public, headers.SESSION_KEYS_DOMAIN, encoded, signature)
        said = (stored.chain_id, stored.session_id, stored.chain_key_id)
        if said != (self._new.chain_id, session_id, self._chain_key.id):
            raise MalformedError(f"{key} holds the keys of something else")
        context = session_context(self._new.origin_id, session_id)
        secrets = open_session(self._chain_key, stored.sealed, context, stored.commitment)
        public = self._chain_key.public.raw
        return secrets, SealedKeys(stored.chain_key_id, public, stored.sealed, stored.commitment)

    def _store_keys(self, key: str, session_id: bytes, sealed: SealedKeys) -> None:
        stored = headers.SessionKeysObject(
            self._new.chain_id, session_id, sealed.chain_key_id, sealed.sealed, sealed.commitment
        )
        signature = self._signer.sign(headers.SESSION_KEYS_DOMAIN, encode(stored))
        self._new.storage.put(key, headers.frame_session_keys(stored, signature))

    # --- packs -------------------------------------------------------------------------------

    def copy_packs(self) -> None:
        """Seal every pack's used blocks again, but for those that are there already."""
        self._progress.begin("re-encrypting", self._what.byte_count)
        self._take_stored_packs()
        for slot, ordinal in sorted(self._what.used):
            self._cancel.check()
            encoded = self._directories.get((slot, ordinal))
            if encoded is None:
                self._copy_pack(slot, ordinal)
            else:
                directory = decode(packs.Directory, encoded, "a directory")
                self._progress.advance(sum(directory.lengths))
        self._progress.finish()

    def _take_stored_packs(self) -> None:
        """Keep the packs of an earlier run that hold what is wanted, and remove all others."""
        slots = {record.session_id: slot for slot, record in self._what.records.items()}
        storage = self._new.storage
        for info in list(storage.list(layout.packs(self._new.chain_id))):
            try:
                session_id, encoded, directory = self._read_own_pack(info.key, slots)
            except IntegrityError:
                storage.delete(info.key)
                continue
            key = (slots[session_id], directory.ordinal)
            lacking = self._what.used.get(key, -1) & ~sum(1 << place for place in directory.places)
            if lacking or key in self._directories:
                storage.delete(info.key)
            else:
                self._directories[key] = encoded

    def _read_own_pack(self, key: str, slots: dict[bytes, int]) -> tuple[bytes, bytes, Directory]:
        """Return session and directory of a pack that the new keys sealed the contents of."""
        new = self._new
        stored = read_form(new.storage, Form(key, new.storage.size(key), 0), new.origin_id)
        header, encoded, directory = stored.header, stored.encoded, stored.directory
        slot = slots.get(header.session_id)
        if slot is None:
            raise MalformedError(f"{key} is of a session that is not carried over")
        # Bound to the directory: only who has the new metakey can have made it.
        open_value(
            self._secrets[slot].metakey,
            CONTENTS_LABEL,
            packs.trailer_context(self._new.origin_id, header.session_id, encoded),
            stored.contents,
        )
        return header.session_id, encoded, directory

    def _copy_pack(self, slot: int, ordinal: int) -> None:
        before = _Pack.of(self._old, self._old_keys, self._what, slot, ordinal)
        frames = dict(before.frames())
        places = sorted(frames)
        wanted = set(places)
        contents = before.contents()
        if contents is None:
            # Repaired without them: what the blocks hold is recognised by nobody, here or there.
            raw = {place: read_frame(frame, "a block") for place, frame in frames.items()}
            lengths = {place: len(content) for place, content in raw.items()}
            pieces: list[packs.Piece] = []
        else:
            lengths = dict(zip(before.directory.places, contents.raw_lengths, strict=True))
            pieces = [piece for piece in contents.pieces if piece.place in wanted]
        sealed = seal_pack(
            SealingSession(self._new.origin_id, before.session.session_id, self._secrets[slot]),
            ordinal,
            BlockClass(before.directory.block_class),
            places,
            [frames.pop(place) for place in places],
            packs.Contents([lengths[place] for place in places], pieces),
        )
        with memoryview(sealed.buffer) as data:
            self._new.storage.put(
                layout.pack(self._new.chain_id, sealed.pack_id), data[: sealed.length]
            )
        self._directories[slot, ordinal] = sealed.directory
        self._progress.advance(before.used_bytes())

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
        before: Entry | None = None
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
            before, written = entry, self._put(entry, body, written)
        if written is None:
            return
        pages = PageCollector(new)
        points = {point.point_id for entry in self._what.entries for point in _body(entry).points}
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

    def _body(
        self,
        entry: Entry,
        before: Entry | None,
        written: Entry | None,
        records: dict[int, SessionRecord],
        pages: PageCollector,
    ) -> SessionBody:
        """Return an entry's body in the new chain, its state as changes to the one before."""
        now = _body(entry)
        nothing = msgspec.structs.replace(now, sessions=TableRoot(), sets=TableRoot())
        then = _body(before) if before is not None else nothing
        base = _body(written) if written is not None else nothing
        previous = now.previous
        if previous is not None and previous.chain_id == self._old.chain_id:
            previous = self._new.header.previous
        if written is not None:
            previous = EntryRef(self._new.chain_id, written.number, written.hash)
        return msgspec.structs.replace(
            now,
            base=written.number if written is not None else 0,
            previous=previous,
            chain_public=self._chain_key.public.raw,
            points=[self._point(now, point) for point in now.points],
            sessions=self._sessions(now, then, base, records, pages),
            sets=self._sets(now, then, base, pages),
            history=updated_history(self._new, pages),
        )

    def _point(self, body: SessionBody, point: PublicPoint) -> PublicPoint:
        opened = _opened_details(self._old, self._old_keys, body, point)
        context = session_context(self._new.origin_id, body.session_id) + point.point_id
        details = seal_value(self._secrets[body.slot].metakey, DETAILS_LABEL, context, opened)
        return msgspec.structs.replace(point, details=details)

    def _sessions(
        self,
        now: SessionBody,
        then: SessionBody,
        base: SessionBody,
        records: dict[int, SessionRecord],
        pages: PageCollector,
    ) -> TableRoot:
        changes: dict[int, SessionRecord | None] = {}
        old = self._old
        for slot, record, _ in old.sessions(now).differences(old.sessions(then)):
            if record is not None and slot not in records:
                records[slot] = self._record(slot, record, pages)
            changes[slot] = None if record is None else records[slot]
        table = Table(SessionRecord, SESSION_SPAN, base.sessions, pages.load)
        return table.updated(changes, pages.add)

    def _record(self, slot: int, record: SessionRecord, pages: PageCollector) -> SessionRecord:
        directories = {
            ordinal: LedgerPage(encoded)
            for (of, ordinal), encoded in self._directories.items()
            if of == slot
        }
        ledger = Table(LedgerPage, LEDGER_SPAN, TableRoot(), pages.load)
        keys = self._sealed[slot]
        return SessionRecord(
            record.session_id,
            keys.chain_key_id,
            keys.sealed,
            keys.commitment,
            ledger.updated(directories, pages.add),
            1 + max(directories, default=-1),
        )

    def _sets(
        self,
        now: SessionBody,
        then: SessionBody,
        base: SessionBody,
        pages: PageCollector,
    ) -> TableRoot:
        table = Table(SessionSet, SET_SPAN, base.sets, pages.load)
        changes: dict[int, SessionSet | None] = {}
        nothing = SessionSet(TableRoot())
        for slot, after, before in self._old.sets(now).differences(self._old.sets(then)):
            if after is None:
                changes[slot] = None
                continue
            inner = self._old.pack_sets(after).differences(self._old.pack_sets(before or nothing))
            packed = {ordinal: record for ordinal, record, _ in inner}
            root = (table.get(slot) or nothing).packs
            changes[slot] = SessionSet(
                Table(PackSet, PACK_SET_SPAN, root, pages.load).updated(packed, pages.add)
            )
        return table.updated(changes, pages.add)

    # --- verifying ---------------------------------------------------------------------------

    def verify(self) -> None:
        """Read the new chain as a reader will, and compare every block with the old one's.

        Raises:
            IntegrityError: something is not what it was.
        """
        new = Chain(self._new.storage, self._new.chain_id)
        keyring = Keyring(new.origin_id, {self._chain_key.id: self._chain_key})
        found = carried(new)
        self._compare_points(new, keyring, found)
        if found.used != self._what.used:
            raise MalformedError(f"chain {new.name} does not use the blocks it should")
        self._progress.begin("verifying", self._what.byte_count)
        for slot, ordinal in sorted(found.used):
            self._cancel.check()
            before = _Pack.of(self._old, self._old_keys, self._what, slot, ordinal)
            after = _Pack.of(new, keyring, found, slot, ordinal)
            expected = dict(before.frames())
            for place, frame in after.frames():
                if expected.pop(place, None) != frame:
                    raise BlockDamagedError(f"{after.key} does not hold what {before.key} does")
            if expected:
                raise BlockDamagedError(f"{after.key} lacks blocks of {before.key}")
            self._progress.advance(before.used_bytes())
        self._progress.finish()

    def _compare_points(self, new: Chain, keyring: Keyring, found: Carried) -> None:
        if found.live != self._what.live:
            raise MalformedError(f"chain {new.name} does not promise the points it should")
        for before, after in zip(self._what.entries, found.entries, strict=True):
            points = zip(_body(before).points, _body(after).points, strict=True)
            for one, other in points:
                same = (one.point_id, one.source_id, one.kind, before.raw.made_at) == (
                    other.point_id,
                    other.source_id,
                    other.kind,
                    after.raw.made_at,
                )
                if not same or _opened_details(
                    self._old, self._old_keys, _body(before), one
                ) != _opened_details(new, keyring, _body(after), other):
                    raise PointDamagedError(f"point {one.point_id.hex()} is not what it was")


@dataclass(frozen=True, slots=True)
class _Pack:
    """A pack's used blocks, as the signed ledger has them."""

    chain: Chain
    session: SealingSession
    key: str
    encoded: bytes
    directory: Directory
    bits: int

    @classmethod
    def of(cls, chain: Chain, keyring: Keyring, what: Carried, slot: int, ordinal: int) -> _Pack:
        record = what.records.get(slot)
        page = chain.ledger(record.ledger).get(ordinal) if record is not None else None
        if record is None or page is None:
            raise PointDamagedError(f"chain {chain.name} uses a pack that no ledger knows")
        name = f"pack {ordinal} of a ledger"
        directory = decode(packs.Directory, page.directory, name).check(name)
        session = SealingSession(chain.origin_id, record.session_id, keyring.secrets(record))
        key = layout.pack(chain.chain_id, directory.pack_id)
        return cls(chain, session, key, page.directory, directory, what.used[slot, ordinal])

    def used_bytes(self) -> int:
        return sum(
            length
            for place, length in zip(self.directory.places, self.directory.lengths, strict=True)
            if self.bits >> place & 1
        )

    def stored(self) -> StoredPack:
        """Return the object that holds the used blocks."""
        chain = self.chain
        places = [place for place in self.directory.places if self.bits >> place & 1]
        return find_pack(chain.storage, chain.chain_id, chain.origin_id, self.directory, places)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield place and opened frame of each used block.

        Raises:
            BlockDamagedError: a block is not what was sealed.
            ObjectMissingError: the pack is not there.
        """
        pack = self.stored()
        used = self._used(pack)
        if self.bits & ~sum(1 << place for _, _, place, _ in used):
            raise PointDamagedError(f"{pack.key} lacks blocks that points use")
        sealer = self.session.sealer(self.directory.block_class, self.directory.pack_id)
        assert sealer is not None, "only sealed chains are re-encrypted"
        for run in _runs(used):
            begin = run[0][0]
            data = memoryview(
                self.chain.storage.get(pack.key, begin, run[-1][0] + run[-1][1] - begin)
            )
            for offset, length, place, expected in run:
                stored = data[offset - begin : offset - begin + length]
                if fingerprint(stored) != expected:
                    raise self._damaged(place)
                context = self.session.context(
                    self.directory.ordinal, place, self.directory.block_class
                )
                try:
                    frame = sealer.open(place, context, stored)
                except NotSealedHereError as error:
                    raise self._damaged(place) from error
                yield place, frame

    def _damaged(self, place: int) -> BlockDamagedError:
        return BlockDamagedError(
            f"the block at place {place} of {self.key} is not what was sealed: changed or "
            "damaged in storage",
            object=self.key,
        )

    def _used(self, stored: StoredPack) -> list[tuple[int, int, int, bytes]]:
        """Return offset, length, place and hash of each used block, in order of offsets."""
        directory, offsets = self.directory, stored.offsets
        columns = zip(directory.places, directory.lengths, strict=True)
        return sorted(
            (offsets[place], length, place, directory.hashes[HASH_LENGTH * at :][:HASH_LENGTH])
            for at, (place, length) in enumerate(columns)
            if self.bits >> place & 1
        )

    def contents(self) -> Contents | None:
        """Return what the pack says that its blocks hold; None if that was lost."""
        stored = self.stored()
        if not stored.contents:
            return None
        if stored.encoded != self.encoded:
            raise MalformedError(f"{stored.key} has another directory than was signed")
        assert self.session.secrets is not None
        opened = open_value(
            self.session.secrets.metakey,
            CONTENTS_LABEL,
            packs.trailer_context(self.chain.origin_id, self.session.session_id, stored.encoded),
            stored.contents,
        )
        return decode(packs.Contents, opened, stored.key).check(stored.directory, stored.key)


def _runs(
    blocks: list[tuple[int, int, int, bytes]],
) -> Iterator[list[tuple[int, int, int, bytes]]]:
    """Yield blocks that lie one behind the other, together as long as that is not too much."""
    run: list[tuple[int, int, int, bytes]] = []
    for block in blocks:
        if run and (run[-1][0] + run[-1][1] != block[0] or block[0] + block[1] - run[0][0] > _RUN):
            yield run
            run = []
        run.append(block)
    if run:
        yield run


def _opened_details(chain: Chain, keyring: Keyring, body: SessionBody, point: PublicPoint) -> bytes:
    record = chain.sessions(body).get(body.slot)
    if record is None:
        raise PointDamagedError(f"the state of session {body.session_id.hex()[:12]} lacks itself")
    context = session_context(chain.origin_id, body.session_id) + point.point_id
    return open_value(keyring.metakey(record), DETAILS_LABEL, context, point.details)


def _body(entry: Entry) -> SessionBody:
    assert isinstance(entry.body, SessionBody)
    return entry.body
