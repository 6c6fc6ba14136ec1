"""Damaged blocks made again: the same content under the same key is the same stored bytes.

A session that built on damage has stored again what the source still had. Where all of a damaged
block's content is there now and its session's key is at hand, sealing it anew under its own
address gives the very bytes that the ledger's hash is of; anything else does not match and is left
alone. So older points become whole again too, as far as the source still has what they hold.

What a block held say the sealed contents of its pack; where the pack is gone, the cache that
recognises content.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from strongroom.crypto.aead import OVERHEAD, PackSealer, open_value
from strongroom.engine.framing import Framer
from strongroom.engine.pack_sealing import CONTENTS_LABEL
from strongroom.errors import ConflictError, IntegrityError, MalformedError, UnlockError
from strongroom.format import block as blocks
from strongroom.format import pack as packs
from strongroom.format.block import PLACE_BITS, BlockAddress, BlockClass
from strongroom.format.codec import Value, decode
from strongroom.format.index import (
    ChunkNode,
    DiskNode,
    IndexPage,
    TreeNode,
    TreePage,
    encode_page,
)
from strongroom.format.journal import SessionBody
from strongroom.repository.reach import Reach
from strongroom.repository.reader import BlockReader
from strongroom.repository.repaired_packs import Bytes, expected_of, repair_pack
from strongroom.repository.state import StateBlocks
from strongroom.repository.stored_packs import find_pack

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from strongroom.crypto.content import ContentHasher
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.dedup import DedupIndex
    from strongroom.format.pack import Directory
    from strongroom.format.tables import SessionRecord
    from strongroom.repository.chain import Chain
    from strongroom.repository.keyring import Keyring
    from strongroom.repository.packs import Expected

_LEVELS: Final = (3, 1, 9, None)
"""How jobs compress: with which of these a block was, nothing says."""
_PLACE_MASK: Final = (1 << PLACE_BITS) - 1


class _Piece(NamedTuple):
    offset: int
    length: int
    content_hash: bytes


@dataclass(slots=True)
class Resealed:
    """What became of damaged blocks."""

    mended: set[tuple[int, int]] = field(default_factory=set)
    """Slot and number of those that are as they were sealed."""
    closed: int = 0
    """How many could not be tried, for nothing at hand opens their sessions."""
    problems: list[str] = field(default_factory=list)


def reseal(
    chain: Chain,
    body: SessionBody,
    keyring: Keyring,
    dedup: DedupIndex,
    hasher: ContentHasher,
    damaged: Collection[tuple[int, int]],
    level: int | None,
    cancel: Cancellation,
) -> Resealed:
    """Make damaged blocks again from what a state holds, and put their packs together.

    Args:
        chain: Whose blocks.
        body: The state that may hold the content again.
        keyring: Opens that state, and the sessions that the damaged blocks are of.
        dedup: Says where content lies.
        hasher: Names content.
        damaged: The blocks, by slot and number.
        level: How the job compresses now; others are tried after it.
        cancel: Looked at between two blocks.

    Raises:
        StorageUnavailableError: the storage did not answer.
    """
    return _Resealing(chain, body, keyring, dedup, hasher, damaged, level, cancel).run()


class _Resealing:
    def __init__(
        self,
        chain: Chain,
        body: SessionBody,
        keyring: Keyring,
        dedup: DedupIndex,
        hasher: ContentHasher,
        damaged: Collection[tuple[int, int]],
        level: int | None,
        cancel: Cancellation,
    ) -> None:
        self._chain = chain
        self._keyring = keyring
        self._dedup = dedup
        self._hasher = hasher
        self._own_slot = body.slot
        self._damaged = frozenset(damaged)
        self._cancel = cancel
        self._reader = BlockReader(chain, chain.sessions(body), keyring)
        self._state = StateBlocks(chain, body)
        levels = dict.fromkeys((level, *_LEVELS))
        self._framers = [Framer(one, sealed=chain.sealed) for one in levels]
        self._recognised: Mapping[tuple[int, int], list[_Piece]] | None = None
        self._result = Resealed()
        self._readdressed: dict[bytes, bytes] = {}
        """Pages above damaged ones as they were, by the name of their content."""

    def run(self) -> Resealed:
        by_pack: dict[tuple[int, int], list[int]] = defaultdict(list)
        for slot, number in sorted(self._damaged):
            by_pack[slot, number >> PLACE_BITS].append(number & _PLACE_MASK)
        records = _records(self._chain)
        self._readdress(by_pack, records)
        for (slot, ordinal), places in by_pack.items():
            self._cancel.check()
            record = records.get(slot)
            if record is None:
                continue
            try:
                self._mend_pack(slot, record, ordinal, places)
            except UnlockError:
                self._result.closed += len(places)
            except (IntegrityError, ConflictError) as error:
                self._result.problems.append(str(error))
        return self._result

    def _mend_pack(self, slot: int, record: SessionRecord, ordinal: int, places: list[int]) -> None:
        chain = self._chain
        expected = expected_of(chain, record, ordinal)
        directory = expected.directory
        sealer = self._sealer(record, directory)
        pieces = self._pieces(slot, record, expected)
        made: dict[int, bytes] = {}
        for place in places:
            self._cancel.check()
            raw = self._content(pieces.get(place, []), BlockClass(directory.block_class))
            if raw is None or place not in directory.places:
                continue
            length = directory.lengths[directory.places.index(place)]
            for framer in self._framers:
                frame = framer.frame(raw)
                if len(frame) + (OVERHEAD if sealer else 0) != length:
                    continue
                made[place] = (
                    frame if sealer is None else self._seal(expected, place, frame, sealer)
                )
                break  # whether it is what was signed, is compared where it is put in
        if not made:
            return
        result = repair_pack(
            chain.storage,
            chain.chain_id,
            chain.origin_id,
            expected,
            places,
            [Bytes(made)],
            self._cancel,
        )
        self._result.problems.extend(result.notes)
        self._result.mended.update((slot, ordinal << PLACE_BITS | place) for place in result.mended)

    def _sealer(self, record: SessionRecord, directory: Directory) -> PackSealer | None:
        """Return what sealed a pack's blocks; None in a plain chain.

        Raises:
            UnlockError: nothing at hand opens its key.
        """
        if not self._chain.sealed:
            return None
        index = directory.block_class == BlockClass.INDEX
        keys = self._keyring
        key = keys.metakey(record) if index else keys.session_key(record)
        return PackSealer(key, directory.pack_id)

    def _seal(self, expected: Expected, place: int, frame: bytes, sealer: PackSealer) -> bytes:
        directory = expected.directory
        bound_to = blocks.context(
            self._chain.header.suite,
            self._chain.origin_id,
            expected.session_id,
            directory.ordinal << PLACE_BITS | place,
            directory.block_class,
        )
        return sealer.seal(place, bound_to, frame)

    # --- content ---------------------------------------------------------------------------

    def _content(self, pieces: list[_Piece], block_class: BlockClass) -> bytes | None:
        """Return what a block held, if the state has all of it."""
        parts: list[bytes] = []
        end = 0
        for piece in sorted(pieces):
            if piece.offset != end:
                return None
            part = self._part(piece, block_class)
            if part is None:
                return None
            parts.append(part)
            end += piece.length
        return b"".join(parts) if parts else None

    def _part(self, piece: _Piece, block_class: BlockClass) -> bytes | None:
        if piece.content_hash in self._readdressed:
            return self._readdressed[piece.content_hash]
        found = self._dedup.find(piece.content_hash)
        if (
            found is None
            or found.length != piece.length
            or (found.slot, found.number) in self._damaged
        ):
            return None
        try:
            if not self._state.contains(found.slot, found.number):
                return None
            raw = self._reader.read(found.block, block_class)
        except (IntegrityError, UnlockError):
            return None
        part = raw[found.offset : found.offset + found.length]
        return part if len(part) == piece.length else None

    # --- pages above pages -------------------------------------------------------------------

    def _readdress(
        self,
        by_pack: Mapping[tuple[int, int], list[int]],
        records: Mapping[int, SessionRecord],
    ) -> None:
        """Find damaged pages of which only the addresses that they name are others now.

        A page below was damaged too and lies elsewhere since, so the page above is written with
        its new address. With the old one in its place it is the page that it was.
        """
        wanted: dict[bytes, tuple[int, int]] = {}
        for (slot, ordinal), places in by_pack.items():
            try:
                expected = expected_of(self._chain, records[slot], ordinal)
                if expected.directory.block_class != BlockClass.INDEX:
                    continue
                pieces = self._pieces(slot, records[slot], expected)
            except (KeyError, IntegrityError, UnlockError):
                continue
            for place in places:
                for piece in pieces.get(place, []):
                    wanted[piece.content_hash] = (slot, ordinal << PLACE_BITS | place)
        moved: dict[tuple[int, int], tuple[int, int]] = {}
        for content_hash, old in wanted.items():
            found = self._dedup.find(content_hash)
            if found is not None and (found.slot, found.number) not in self._damaged:
                moved[found.slot, found.number] = old
        lacking = wanted.keys() - {
            content_hash for content_hash, old in wanted.items() if old in moved.values()
        }
        pages = list(self._own_pages()) if lacking and moved else []
        found_one = True
        while lacking and found_one:
            found_one = False
            for pair, data in pages:
                self._cancel.check()
                page = readdressed(data, moved)
                if page is None:
                    continue
                name = self._hasher.of_digests(self._hasher.digest(page))
                if name in lacking:
                    lacking.remove(name)
                    self._readdressed[name] = page
                    moved[pair] = wanted[name]
                    found_one = True

    def _own_pages(self) -> Iterator[tuple[tuple[int, int], bytes]]:
        """Yield the pages that the newest session wrote."""
        slot = self._own_slot
        for (of_slot, ordinal), bits in self._state.all_bits().items():
            if of_slot != slot:
                continue
            try:
                if self._reader.directory(slot, ordinal).block_class != BlockClass.INDEX:
                    continue
                for place in range(bits.bit_length()):
                    if bits >> place & 1:
                        address = BlockAddress(slot, ordinal << PLACE_BITS | place)
                        yield (
                            (slot, address.number),
                            self._reader.read(address, BlockClass.INDEX),
                        )
            except (IntegrityError, UnlockError):
                continue

    # --- what blocks held --------------------------------------------------------------------

    def _pieces(
        self, slot: int, record: SessionRecord, expected: Expected
    ) -> dict[int, list[_Piece]]:
        """Return what is known of the content of a pack's blocks, by place."""
        contents = self._contents(record, expected)
        found: dict[int, list[_Piece]] = defaultdict(list)
        if contents is not None:
            for one in contents.pieces:
                found[one.place].append(_Piece(one.offset, one.length, one.content_hash))
            return found
        ordinal = expected.directory.ordinal
        for (of_slot, number), pieces in self._from_cache().items():
            if (of_slot, number >> PLACE_BITS) == (slot, ordinal):
                found[number & _PLACE_MASK] = pieces
        return found

    def _contents(self, record: SessionRecord, expected: Expected) -> packs.Contents | None:
        chain, directory = self._chain, expected.directory
        try:
            stored = find_pack(chain.storage, chain.chain_id, chain.origin_id, directory, ())
            encoded = stored.contents
            if chain.sealed and encoded:
                encoded = open_value(
                    self._keyring.metakey(record),
                    CONTENTS_LABEL,
                    packs.trailer_context(chain.origin_id, record.session_id, expected.encoded),
                    encoded,
                )
            return decode(packs.Contents, encoded, stored.key).check(directory, stored.key)
        except (IntegrityError, UnlockError):
            return None

    def _from_cache(self) -> Mapping[tuple[int, int], list[_Piece]]:
        """Return the pieces of damaged blocks that the cache knows of; looked for once."""
        if self._recognised is None:
            pieces: dict[tuple[int, int], list[_Piece]] = defaultdict(list)
            for content_hash, at in self._dedup.known():
                if (at.slot, at.number) in self._damaged:
                    pieces[at.slot, at.number].append(_Piece(at.offset, at.length, content_hash))
            self._recognised = pieces
        return self._recognised


def readdressed(data: bytes, moved: Mapping[tuple[int, int], tuple[int, int]]) -> bytes | None:
    """Return a page with the addresses that pages below had; None where none of them moved.

    Args:
        data: The page.
        moved: Where pages were, by where they are.
    """
    for kind in (DiskNode, ChunkNode, TreeNode, TreePage):
        try:
            page = decode(kind, data, "a page")
        except MalformedError:
            continue
        before = _as_it_was(page, moved)
        return None if before is None or before == page else encode_page(before)
    return None


def _as_it_was(page: Value, moved: Mapping[tuple[int, int], tuple[int, int]]) -> IndexPage | None:
    if isinstance(page, DiskNode):
        return DiskNode([None if pair is None else moved.get(pair, pair) for pair in page.children])
    if isinstance(page, ChunkNode):
        return replace(page, pages=[moved.get(pair, pair) for pair in page.pages])
    if isinstance(page, TreeNode):
        return replace(
            page,
            pages=[moved.get(pair, pair) for pair in page.pages],
            recognition=[moved.get(pair, pair) for pair in page.recognition],
        )
    if isinstance(page, TreePage):
        lists = [
            (levels, *moved.get((slot, number), (slot, number)))
            for levels, slot, number in page.chunk_lists
        ]
        return replace(page, chunk_lists=lists)
    return None


def _records(chain: Chain) -> dict[int, SessionRecord]:
    """Return the sessions of every state that is there, by slot."""
    reach = Reach(chain, lambda _ref, _error: None)
    records: dict[int, SessionRecord] = {}
    for number in chain.listing:
        try:
            body = chain.entry(number).body
        except IntegrityError:
            continue
        if isinstance(body, SessionBody):
            records.update(reach.sessions(body))
    return records
