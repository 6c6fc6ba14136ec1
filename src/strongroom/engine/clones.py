"""Sessions under new keys in another chain: their blocks sealed again, their states written anew.

What a clone of a whole chain (`engine.reencryption`) and one that follows its chain
(`engine.extension`) have in common. Each block is opened and its frame sealed again, so pages and
data stay byte for byte what they were, and nothing here knows what they mean.

A clone may be plain: frames are stored as they are then, without their padding, and each session's
record tells the key of its content hashes to everybody.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import msgspec

from strongroom.crypto.aead import NotSealedHereError, open_value, seal_value
from strongroom.crypto.content import fingerprint
from strongroom.crypto.envelope import SessionSecrets, open_session
from strongroom.crypto.signing import verify
from strongroom.engine.pack_sealing import CONTENTS_LABEL, SealingSession, seal_pack
from strongroom.errors import (
    BlockDamagedError,
    IntegrityError,
    MalformedError,
    PointDamagedError,
    RefusedError,
)
from strongroom.format import header as headers
from strongroom.format import pack as packs
from strongroom.format.block import BlockClass, read_frame, unpadded
from strongroom.format.codec import HASH_LENGTH, MAX_SMALL, decode, encode
from strongroom.format.header import session_context
from strongroom.format.journal import (
    EntryRef,
    PublicPoint,
    SessionBody,
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
from strongroom.repository import layout
from strongroom.repository.framed import get_framed
from strongroom.repository.keyring import dedup_key_of
from strongroom.repository.promises import updated_history
from strongroom.repository.reach import bytes_at
from strongroom.repository.stored_packs import Form, find_pack, read_form
from strongroom.repository.writer import SealedKeys, seal_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.clock import Clock
    from strongroom.crypto.envelope import ChainKey
    from strongroom.crypto.hpke import PublicKey
    from strongroom.crypto.keys import MetaKey
    from strongroom.crypto.signing import SigningKey
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.carried import Carried
    from strongroom.engine.progress import Progress
    from strongroom.format.journal import Entry
    from strongroom.format.pack import Contents, Directory
    from strongroom.repository.chain import Chain
    from strongroom.repository.keyring import Keyring
    from strongroom.repository.pages import PageCollector
    from strongroom.repository.stored_packs import StoredPack
    from strongroom.storage.base import ObjectKey


_RUN = 4 << 20
"""Neighbouring blocks are read together up to this."""


class Resealing:
    """Sessions of one chain on their way into another."""

    fills: ClassVar[bool] = True
    """Whether the new chain is nobody's yet: whatever else lies there is of no use."""

    def __init__(
        self,
        old: Chain,
        old_keys: Keyring,
        new: Chain,
        public: PublicKey | None,
        chain_key: ChainKey | None,
        what: Carried,
        signer: SigningKey,
        clock: Clock,
        progress: Progress,
        cancel: Cancellation,
    ) -> None:
        """Do nothing yet.

        Args:
            old: Where they come from.
            old_keys: Opens them.
            new: Where they go.
            public: Of the new chain's key; None if it is plain.
            chain_key: The key itself; None where nothing at hand opens it.
            what: Whose sessions, blocks and entries they are.
            signer: The new chain's identity.
            clock: Tells the time of what is said of them.
            progress: Is told how it goes.
            cancel: Stops it between two packs.
        """
        self._old = old
        self._old_keys = old_keys
        self._new = new
        self._public = public
        self._chain_key = chain_key
        self._what = what
        self._signer = signer
        self._clock = clock
        self._progress = progress
        self._cancel = cancel
        self._resumed = False
        """Whether an earlier run left something to go on with."""
        self._secrets: dict[int, SessionSecrets | None] = {}
        """New keys by slot; none in a plain chain."""
        self._sealed: dict[int, SealedKeys] = {}
        self._settled: frozenset[ObjectKey] = frozenset()
        """Packs of the new chain that are none of an earlier run's."""
        self._directories: dict[tuple[int, int], bytes] = {}
        """Encoded directories of new packs, by slot and ordinal."""
        self.objects = 0
        """Packs that were made."""
        self.stored_bytes = 0
        """Of these."""

    # --- keys --------------------------------------------------------------------------------

    def take_session_keys(self, keep_metakey: Callable[[bytes, MetaKey], None]) -> None:
        """Give every session new keys, or take those that an earlier run gave it."""
        new = self._new
        if self._public is None:
            self._tell_dedup_keys()
            return
        there = {info.key for info in new.storage.list(layout.all_session_keys(new.chain_id))}
        for slot, record in self._what.records.items():
            key = layout.session_keys(new.chain_id, record.session_id)
            if key in there:
                self._resumed = True
                found = self._stored_keys(key, record.session_id)
                if found is not None:
                    # A crash may have come before; it costs nothing to say again.
                    keep_metakey(record.session_id, found[0].metakey)
                    self._secrets[slot], self._sealed[slot] = found
                    continue
                # Closed to this run, or sealed to a key from before a change: its packs go, too.
                new.storage.delete(key)
            before = self._old_keys.secrets(record)
            secrets = SessionSecrets.generate(before.dedup_key, before.chunker_seed)
            sealed = seal_keys(secrets, self._public.raw, new.origin_id, record.session_id)
            keep_metakey(record.session_id, secrets.metakey)
            self._store_keys(key, record.session_id, sealed)
            self._secrets[slot] = secrets
            self._sealed[slot] = sealed

    def _tell_dedup_keys(self) -> None:
        """Have a plain chain say what keys its content hashes, which stay as they are."""
        for slot, record in self._what.records.items():
            key = dedup_key_of(self._old, record, self._old_keys)
            self._secrets[slot] = None
            self._sealed[slot] = SealedKeys(sealed=key.expose() if key is not None else b"")
        # Nothing says what an earlier run left: its packs are looked for.
        self._resumed = True

    def _stored_keys(self, key: str, session_id: bytes) -> tuple[SessionSecrets, SealedKeys] | None:
        """Return the keys that an earlier run gave a session; None if this chain key opens none."""
        chain_key = self._chain_key
        if chain_key is None:
            return None
        stored, encoded, signature = headers.read_session_keys_signed(
            get_framed(self._new.storage, key, MAX_SMALL), key
        )
        verify(self._signer.public, headers.SESSION_KEYS_DOMAIN, encoded, signature)
        if (stored.chain_id, stored.session_id) != (self._new.chain_id, session_id):
            raise MalformedError(f"{key} holds the keys of something else")
        if stored.chain_key_id != chain_key.id:
            return None
        context = session_context(self._new.origin_id, session_id)
        secrets = open_session(chain_key, stored.sealed, context, stored.commitment)
        public = chain_key.public.raw
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
        """Keep the packs of an earlier run that hold what is wanted, and remove its others."""
        if not (self.fills or self._resumed):
            return
        slots = {record.session_id: slot for slot, record in self._what.records.items()}
        storage, new = self._new.storage, self._new
        for info in list(storage.list(layout.packs(new.chain_id))):
            if info.key in self._settled:
                continue
            try:
                stored = read_form(storage, Form(info.key, info.size, 0), new.origin_id)
            except IntegrityError:
                if self.fills:
                    with suppress(RefusedError):
                        storage.delete(info.key)
                continue
            slot = slots.get(stored.header.session_id)
            if slot is not None and self._is_wanted(slot, stored):
                self._directories[slot, stored.directory.ordinal] = stored.encoded
            elif slot is not None or self.fills:
                # Where the storage keeps it, it is in nobody's way.
                with suppress(RefusedError):
                    storage.delete(info.key)

    def _is_wanted(self, slot: int, stored: StoredPack) -> bool:
        """Tell whether this chain's writer made a pack, and nothing of it is lacking."""
        key = (slot, stored.directory.ordinal)
        places = sum(1 << place for place in stored.directory.places)
        if key in self._directories or self._what.used.get(key, -1) & ~places:
            return False
        origin_id, session_id = self._new.origin_id, stored.header.session_id
        secrets = self._secrets[slot]
        try:
            if secrets is None:
                self._compare_stored(slot, stored)
            else:
                # Bound to the directory: only who has the new metakey can have made it.
                open_value(
                    secrets.metakey,
                    CONTENTS_LABEL,
                    packs.trailer_context(origin_id, session_id, stored.encoded),
                    stored.contents,
                )
        except IntegrityError:
            return False
        return True

    def _compare_stored(self, slot: int, stored: StoredPack) -> None:
        """Go on if a pack that nothing seals is what would be stored in its place.

        Raises:
            IntegrityError: it is not.
        """
        before = OpenedPack.of(
            self._old, self._old_keys, self._what, slot, stored.directory.ordinal
        )
        places, contents = self._carried_contents(before, dict(before.frames()))
        found = stored.directory
        said = (found.places, found.block_class, stored.contents)
        if said != (places, before.directory.block_class, encode(contents)):
            raise MalformedError(f"{stored.key} is not what was stored")
        compare(before, self._written_pack(before, slot, stored.encoded))

    def _written_pack(self, before: OpenedPack, slot: int, encoded: bytes) -> OpenedPack:
        """Return a pack as the next entry's ledger is going to have it."""
        new = self._new
        directory = decode(packs.Directory, encoded, "a directory")
        session = SealingSession(new.origin_id, before.session.session_id, self._secrets[slot])
        key = layout.pack(new.chain_id, directory.pack_id)
        return OpenedPack(new, session, key, encoded, directory, before.bits)

    def _copy_pack(self, slot: int, ordinal: int) -> None:
        before = OpenedPack.of(self._old, self._old_keys, self._what, slot, ordinal)
        frames = dict(before.frames())
        places, contents = self._carried_contents(before, frames)
        if not self._new.sealed:
            frames = {place: unpadded(frame) for place, frame in frames.items()}
        sealed = seal_pack(
            SealingSession(self._new.origin_id, before.session.session_id, self._secrets[slot]),
            ordinal,
            BlockClass(before.directory.block_class),
            places,
            [frames.pop(place) for place in places],
            contents,
        )
        with memoryview(sealed.buffer) as data:
            self._new.storage.put(
                layout.pack(self._new.chain_id, sealed.pack_id), data[: sealed.length]
            )
        self._directories[slot, ordinal] = sealed.directory
        self.objects += 1
        self.stored_bytes += sealed.length
        self._progress.advance(before.used_bytes())

    @staticmethod
    def _carried_contents(
        before: OpenedPack, frames: dict[int, bytes]
    ) -> tuple[list[int], packs.Contents]:
        """Return the places of a pack's used blocks, and what is said of these."""
        places = sorted(frames)
        contents = before.contents()
        if contents is None:
            # Repaired without them: what the blocks hold is recognised by nobody, here or there.
            lengths = {place: len(read_frame(frame, "a block")) for place, frame in frames.items()}
            pieces: list[packs.Piece] = []
        else:
            lengths = dict(zip(before.directory.places, contents.raw_lengths, strict=True))
            pieces = [piece for piece in contents.pieces if piece.place in frames]
        return places, packs.Contents([lengths[place] for place in places], pieces)

    # --- states ------------------------------------------------------------------------------

    def _body(
        self,
        entry: Entry,
        before: tuple[Chain, SessionBody] | None,
        written: Entry | None,
        records: dict[int, SessionRecord],
        pages: PageCollector,
    ) -> SessionBody:
        """Return an entry's body in the new chain, its state as changes to the one before.

        Args:
            entry: In the old chain.
            before: A state, and where, that says the same as the new chain's newest.
            written: The new chain's newest session.
            records: Sessions by slot, as the new chain has them; those met are added.
            pages: Takes the state's pages.
        """
        now = body_of(entry)
        nothing = msgspec.structs.replace(now, sessions=TableRoot(), sets=TableRoot())
        where, then = before if before is not None else (self._old, nothing)
        base = body_of(written) if written is not None else nothing
        previous = now.previous
        if previous is not None and (previous.chain_id == self._old.chain_id or self._is_copy):
            previous = self._new.header.previous
        if written is not None:
            previous = EntryRef(self._new.chain_id, written.number, written.hash)
        return msgspec.structs.replace(
            now,
            base=written.number if written is not None else 0,
            previous=previous,
            # What a copy's other chains are called, its source does not know.
            older=[] if self._is_copy else now.older,
            chain_public=self._public.raw if self._public is not None else b"",
            points=[self._point(now, point) for point in now.points],
            sessions=self._sessions(now, (where, then), base, records, pages),
            sets=self._sets(now, (where, then), base, pages),
            history=updated_history(self._new, pages),
        )

    @property
    def _is_copy(self) -> bool:
        """Whether the new chain is of a copy job, and not of the job itself."""
        return self._new.header.job_id != self._old.header.job_id

    def _point(self, body: SessionBody, point: PublicPoint) -> PublicPoint:
        details = opened_details(self._old, self._old_keys, body, point)
        secrets = self._secrets[body.slot]
        if secrets is not None:
            context = session_context(self._new.origin_id, body.session_id) + point.point_id
            details = seal_value(secrets.metakey, DETAILS_LABEL, context, details)
        return msgspec.structs.replace(point, details=details)

    def _sessions(
        self,
        now: SessionBody,
        before: tuple[Chain, SessionBody],
        base: SessionBody,
        records: dict[int, SessionRecord],
        pages: PageCollector,
    ) -> TableRoot:
        changes: dict[int, SessionRecord | None] = {}
        where, then = before
        for slot, record, known in self._old.sessions(now).differences(where.sessions(then)):
            if record is not None and slot not in records:
                records[slot] = self._record(slot, record, pages)
            if record is None or records[slot] != known:
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
        before: tuple[Chain, SessionBody],
        base: SessionBody,
        pages: PageCollector,
    ) -> TableRoot:
        table = Table(SessionSet, SET_SPAN, base.sets, pages.load)
        changes: dict[int, SessionSet | None] = {}
        nothing = SessionSet(TableRoot())
        where, then = before
        for slot, after, known in self._old.sets(now).differences(where.sets(then)):
            if after is None:
                changes[slot] = None
                continue
            inner = self._old.pack_sets(after).differences(where.pack_sets(known or nothing))
            packed = {ordinal: record for ordinal, record, _ in inner}
            if not packed and known is not None:
                continue
            root = (table.get(slot) or nothing).packs
            changes[slot] = SessionSet(
                Table(PackSet, PACK_SET_SPAN, root, pages.load).updated(packed, pages.add)
            )
        return table.updated(changes, pages.add)

    # --- comparing ---------------------------------------------------------------------------

    def _compare_points(self, new: Chain, keyring: Keyring, found: list[Entry]) -> None:
        for before, after in zip(self._what.entries, found, strict=True):
            points = zip(body_of(before).points, body_of(after).points, strict=True)
            for one, other in points:
                same = (one.point_id, one.source_id, one.kind, before.raw.made_at) == (
                    other.point_id,
                    other.source_id,
                    other.kind,
                    after.raw.made_at,
                )
                if not same or opened_details(
                    self._old, self._old_keys, body_of(before), one
                ) != opened_details(new, keyring, body_of(after), other):
                    raise PointDamagedError(f"point {one.point_id.hex()} is not what it was")


@dataclass(frozen=True, slots=True)
class OpenedPack:
    """A pack's used blocks, as the signed ledger has them."""

    chain: Chain
    session: SealingSession
    key: str
    encoded: bytes
    directory: Directory
    bits: int

    @classmethod
    def of(
        cls, chain: Chain, keyring: Keyring, what: Carried, slot: int, ordinal: int
    ) -> OpenedPack:
        record = what.records.get(slot)
        page = chain.ledger(record.ledger).get(ordinal) if record is not None else None
        if record is None or page is None:
            raise PointDamagedError(f"chain {chain.name} uses a pack that no ledger knows")
        name = f"pack {ordinal} of a ledger"
        directory = decode(packs.Directory, page.directory, name).check(name)
        secrets = keyring.secrets(record) if chain.sealed else None
        session = SealingSession(chain.origin_id, record.session_id, secrets)
        key = layout.pack(chain.chain_id, directory.pack_id)
        return cls(chain, session, key, page.directory, directory, what.used[slot, ordinal])

    def used_bytes(self) -> int:
        return bytes_at(self.directory, self.bits)

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
                    frame = bytes(stored) if sealer is None else sealer.open(place, context, stored)
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
        opened = stored.contents
        if self.session.secrets is not None:
            opened = open_value(
                self.session.secrets.metakey,
                CONTENTS_LABEL,
                packs.trailer_context(
                    self.chain.origin_id, self.session.session_id, stored.encoded
                ),
                stored.contents,
            )
        return decode(packs.Contents, opened, stored.key).check(stored.directory, stored.key)


def compare(before: OpenedPack, after: OpenedPack) -> None:
    """Go on if a pack holds what another one does, read back and opened.

    Raises:
        IntegrityError: it does not.
    """
    expected = dict(before.frames())
    if not after.chain.sealed:
        expected = {place: unpadded(frame) for place, frame in expected.items()}
    for place, frame in after.frames():
        if expected.pop(place, None) != frame:
            raise BlockDamagedError(f"{after.key} does not hold what {before.key} does")
    if expected:
        raise BlockDamagedError(f"{after.key} lacks blocks of {before.key}")


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


def opened_details(chain: Chain, keyring: Keyring, body: SessionBody, point: PublicPoint) -> bytes:
    record = chain.sessions(body).get(body.slot)
    if record is None:
        raise PointDamagedError(f"the state of session {body.session_id.hex()[:12]} lacks itself")
    if not chain.sealed:
        return point.details
    context = session_context(chain.origin_id, body.session_id) + point.point_id
    return open_value(keyring.metakey(record), DETAILS_LABEL, context, point.details)


def body_of(entry: Entry) -> SessionBody:
    assert isinstance(entry.body, SessionBody)
    return entry.body
