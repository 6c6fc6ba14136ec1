"""Writing indexes: pages cut, recognised if the chain has them, and nodes above them.

Every page goes through `PageStore`, which stores it only if the state before does not hold
the same page: so what did not change costs nothing, wherever in the tree it moved. Whatever
a page refers to is counted as used at the moment the page becomes part of the index.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from strongroom.format.block import BlockAddress, BlockClass
from strongroom.format.index import (
    CUT_MASK,
    DISK_FAN_OUT,
    HOLE,
    MAX_INLINE_PIECES,
    MAX_PAGE_ENTRIES,
    MIN_PAGE_ENTRIES,
    NOT_INLINE,
    AttributeRow,
    ChunkNode,
    ChunkPage,
    DiskLeaf,
    DiskNode,
    IndexPage,
    RecognitionPage,
    TreeNode,
    TreePage,
    encode_page,
)
from strongroom.format.point import DiskRoot, StreamRoot, TreeRoot
from strongroom.model.entry import EntryKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.crypto.content import ContentHasher
    from strongroom.engine.dedup import DedupIndex
    from strongroom.engine.pipeline import BlockPipeline
    from strongroom.repository.usage import BlockUsage

Pair = tuple[int, int]
"""Slot and number of a block: a `BlockAddress` as pages hold it."""
PiecePlace = tuple[int, int, int, int, bytes]
"""Slot, number, offset, length, hash; number `HOLE` for a range that reads as zeros."""

_LEAVE = int(EntryKind.LEAVE)
_DIRECTORY = int(EntryKind.DIRECTORY)
_FILE = int(EntryKind.FILE)
_MAX_PAGE_BYTES = 1 << 20
_MIN_CHILDREN, _MAX_CHILDREN, _CHILD_MASK = 16, 256, 0x3F
_MIN_PIECES, _MAX_PIECES, _PIECE_MASK = 32, 512, 0x7F
_NO_HASH = bytes(32)


class PageStore:
    """Stores index pages, each content once."""

    def __init__(
        self,
        pipeline: BlockPipeline,
        hasher: ContentHasher,
        dedup: DedupIndex,
        reusable: Callable[[int, int], bool],
        own_slot: int,
    ) -> None:
        """Write pages through `pipeline`.

        Args:
            pipeline: Seals and stores.
            hasher: Names content; pages are hashed apart from data.
            dedup: Where pages of the state before lie.
            reusable: Whether a block, by slot and number, may be referred to.
            own_slot: The session's own slot; its blocks are always reusable.
        """
        self._pipeline = pipeline
        self._hasher = hasher
        self._dedup = dedup
        self._reusable = reusable
        self._own_slot = own_slot
        self.confirm: Callable[[int, int], bool] | None = None
        """Asked of every page of the state before, once some of them turned out damaged."""

    def keep(self, pair: Pair, page: IndexPage, usage: BlockUsage) -> Pair:
        """Return where a page of the state before lies from now on, and count it as used.

        That is where it was, unless its block is given up.
        """
        if not self._reusable(*pair):
            return self.put(page, usage)
        usage.add(*pair, 1)
        return pair

    def put(self, page: IndexPage, usage: BlockUsage) -> Pair:
        """Return where `page` lies, storing it if it lies nowhere yet, and count it as used."""
        encoded = encode_page(page)
        page_hash = self._hasher.of_digests(self._hasher.digest(encoded))
        found = self._dedup.find(page_hash)
        if found is not None and (
            found.slot == self._own_slot
            or (
                self._reusable(found.slot, found.number)
                and (self.confirm is None or self.confirm(found.slot, found.number))
            )
        ):
            pair = (found.slot, found.number)
        else:
            address = self._pipeline.add(BlockClass.INDEX, encoded, [(0, len(encoded), page_hash)])
            self._dedup.add(page_hash, address.slot, address.number, 0, len(encoded))
            pair = (address.slot, address.number)
        usage.add(*pair, len(encoded))
        return pair


# --- trees ---------------------------------------------------------------------------------


class Content(NamedTuple):
    """What a file holds, as its entry will say."""

    size: int
    pieces: Sequence[PiecePlace]
    chunk_list: tuple[int, int, int] | None = None
    """Levels and address, where there are too many pieces for the entry."""


EMPTY = Content(0, ())


class Effect(NamedTuple):
    """How a page moves through the tree, and what a node says of it."""

    entries: int
    leaves: int
    lead: int
    """Directories left before the first entry."""
    enters: list[bytes]
    first: bytes


class OldPage:
    """A leaf of the tree before, with what is needed to compare and to reuse it."""

    __slots__ = (
        "address",
        "chunk_index",
        "doomed",
        "effect",
        "file_index",
        "page",
        "piece_start",
        "recognition",
        "recognition_address",
    )

    def __init__(
        self, address: Pair, page: TreePage, recognition_address: Pair, recognition: RecognitionPage
    ) -> None:
        self.address = address
        self.page = page
        self.recognition_address = recognition_address
        self.recognition = recognition
        self.effect = effect_of(page)
        self.doomed = False
        """Whether it refers to a block that is to be given up."""
        self.file_index: dict[int, int] = {}
        self.piece_start: list[int] = []
        self.chunk_index: dict[int, int] = {}
        start = chunk = file = 0
        for index, kind in enumerate(page.kinds):
            if kind == _FILE:
                self.file_index[index] = file
                self.piece_start.append(start)
                count = page.counts[file]
                if count == NOT_INLINE:
                    self.chunk_index[file] = chunk
                    chunk += 1
                else:
                    start += count
                file += 1

    def content(self, index: int) -> Content:
        """Return what the file at `index` holds."""
        page = self.page
        file = self.file_index[index]
        size = page.sizes[file]
        count = page.counts[file]
        if count == NOT_INLINE:
            return Content(size, (), page.chunk_lists[self.chunk_index[file]])
        start = self.piece_start[file]
        pieces: list[PiecePlace] = []
        for at in range(start, start + count):
            block = page.piece_blocks[at]
            slot, number = page.blocks[block] if block != HOLE else (0, HOLE)
            pieces.append(
                (
                    slot,
                    number,
                    page.piece_offsets[at],
                    page.piece_lengths[at],
                    page.piece_hashes[32 * at : 32 * at + 32],
                )
            )
        return Content(size, pieces)


def effect_of(page: TreePage) -> Effect:
    """Return how `page` moves through the tree."""
    leaves = lead = 0
    enters: list[bytes] = []
    first = b""
    for kind, name in zip(page.kinds, page.names, strict=True):
        if kind == _LEAVE:
            if enters:
                enters.pop()
            else:
                leaves += 1
            continue
        if not first:
            first, lead = name, leaves
        if kind == _DIRECTORY:
            enters.append(name)
    return Effect(len(page.kinds), leaves, lead if first else leaves, enters, first)


class _TreeLevel:
    """Nodes of one level on their way."""

    def __init__(self) -> None:
        self.pages: list[Pair] = []
        self.recognition: list[Pair] = []
        self.effects: list[Effect] = []


class TreeIndexWriter:
    """Cuts the stream of a tree's entries into pages."""

    def __init__(
        self, store: PageStore, usage: BlockUsage, chunk_usage: Callable[[int, int, int], None]
    ) -> None:
        """Begin an empty tree.

        Args:
            store: Takes the pages.
            usage: Counts every block the tree uses.
            chunk_usage: Counts the blocks of a chunk list that is taken over, by its levels
                and address.
        """
        self._store = store
        self._usage = usage
        self._chunk_usage = chunk_usage
        self._levels: list[_TreeLevel] = [_TreeLevel()]
        self._kept: OldPage | None = None
        self._kept_count = 0
        self._reset()

    def keep(self, old: OldPage, index: int) -> None:
        """Add an entry that is unchanged from the tree before.

        As long as a page consists of nothing but the same page's entries in order, nothing is
        copied; if it ends where the old one ends, the old page is the new one.
        """
        if index == self._kept_count and (
            self._kept is old or (index == 0 and self._kept is None and not self._kinds)
        ):
            self._kept = old
            self._kept_count = index + 1
            if self._kept_count == len(old.page.kinds):
                self._reuse(old)
            return
        self._unfold()
        self._copy(old, index)

    def add(
        self,
        kind: int,
        name: bytes,
        row: AttributeRow | None,
        mtime_ns: int,
        ctime_ns: int,
        inode: int,
        content: Content | None = None,
        link: bytes | None = None,
        rdev: int | None = None,
    ) -> None:
        """Add an entry; `ctime_ns` 0 makes sure that it is read again next time."""
        if self._kept is not None:
            self._unfold()
        at = len(self._kinds)
        self._kinds.append(kind)
        self._names.append(name)
        self._mtimes.append(mtime_ns)
        self._ctimes.append(ctime_ns)
        self._inodes.append(inode)
        self._bytes += 80 + len(name)
        if row is None:
            self._rows.append(0)
        else:
            place = self._row_of.get(row)
            if place is None:
                place = self._row_of[row] = len(self._row_of)
                self._bytes += 64 + sum(len(k) + len(v) for k, v in row[5])
            self._rows.append(place)
        if kind == _FILE:
            self._add_content(content or EMPTY)
        if link is not None:
            self._links[at] = link
            self._bytes += len(link)
        if rdev is not None:
            self._devices[at] = rdev
        if self._ends_page(kind, name, at + 1):
            self._cut()

    def finish(self) -> TreeRoot:
        """Store what is still open and return the root."""
        self._unfold()
        if self._kinds:
            self._cut()
        lowest = self._levels[0]
        if len(self._levels) == 1 and len(lowest.pages) == 1:
            return TreeRoot(0, lowest.pages[0], lowest.recognition[0])
        level = 0
        while True:
            here = self._levels[level]
            last = level == len(self._levels) - 1
            if last and level and len(here.pages) == 1:
                return TreeRoot(level, here.pages[0], None)
            if here.pages:
                self._cut_level(level)
            level += 1

    # --- leaves ----------------------------------------------------------------------------

    def _reset(self) -> None:
        self._kinds = bytearray()
        self._names: list[bytes] = []
        self._rows: list[int] = []
        self._mtimes: list[int] = []
        self._ctimes: list[int] = []
        self._inodes: list[int] = []
        self._row_of: dict[AttributeRow, int] = {}
        self._sizes: list[int] = []
        self._counts: list[int] = []
        self._piece_blocks: list[int] = []
        self._piece_offsets: list[int] = []
        self._piece_lengths: list[int] = []
        self._piece_hashes = bytearray()
        self._block_of: dict[Pair, int] = {}
        self._chunk_lists: list[tuple[int, int, int]] = []
        self._links: dict[int, bytes] = {}
        self._devices: dict[int, int] = {}
        self._bytes = 0
        self._kept_count = 0

    @staticmethod
    def _cuts(kind: int, name: bytes) -> bool:
        return zlib.crc32(name, kind) & CUT_MASK == 0

    def _ends_page(self, kind: int, name: bytes, count: int) -> bool:
        """Tell whether a page ends behind an entry.

        Its content decides, so that pages before and behind a change stay the same.
        """
        return (
            (count >= MIN_PAGE_ENTRIES and self._cuts(kind, name))
            or count >= MAX_PAGE_ENTRIES
            or self._bytes >= _MAX_PAGE_BYTES
        )

    def _add_content(self, content: Content) -> None:
        self._sizes.append(content.size)
        if content.chunk_list is not None:
            self._counts.append(NOT_INLINE)
            self._chunk_lists.append(content.chunk_list)
            return
        self._counts.append(len(content.pieces))
        for slot, number, offset, length, content_hash in content.pieces:
            if number == HOLE:
                block = HOLE
            else:
                pair = (slot, number)
                found = self._block_of.get(pair)
                block = (
                    self._block_of.setdefault(pair, len(self._block_of))
                    if (found is None)
                    else found
                )
            self._piece_blocks.append(block)
            self._piece_offsets.append(offset)
            self._piece_lengths.append(length)
            self._piece_hashes += content_hash

    def _copy(self, old: OldPage, index: int) -> None:
        page, seen = old.page, old.recognition
        kind = page.kinds[index]
        content = None
        if kind == _FILE:
            content = old.content(index)
            if content.chunk_list is not None:
                self._chunk_usage(*content.chunk_list)
        self.add(
            kind,
            page.names[index],
            None if kind == _LEAVE else page.attributes[page.rows[index]],
            page.mtimes[index],
            seen.ctimes[index],
            seen.inodes[index],
            content,
            page.links.get(index),
            page.devices.get(index),
        )

    def _unfold(self) -> None:
        """Copy the entries that were only counted: the page differs after all."""
        old, count = self._kept, self._kept_count
        if old is None:
            return
        self._kept, self._kept_count = None, 0
        for index in range(count):
            self._copy(old, index)

    def _reuse(self, old: OldPage) -> None:
        page = old.page
        usage = self._usage
        address = self._store.keep(old.address, page, usage)
        recognition = self._store.keep(old.recognition_address, old.recognition, usage)
        _count_pieces(usage, page.blocks, page.piece_blocks, page.piece_lengths)
        for chunk_list in page.chunk_lists:
            self._chunk_usage(*chunk_list)
        self._kept = None
        self._reset()
        self._append(address, recognition, old.effect)

    def _cut(self) -> None:
        blocks = list(self._block_of)
        page = TreePage(
            bytes(self._kinds),
            self._names,
            self._rows,
            self._mtimes,
            list(self._row_of),
            self._sizes,
            self._counts,
            self._piece_blocks,
            self._piece_offsets,
            self._piece_lengths,
            bytes(self._piece_hashes),
            blocks,
            self._chunk_lists,
            self._links,
            self._devices,
        )
        _count_pieces(self._usage, blocks, self._piece_blocks, self._piece_lengths)
        address = self._store.put(page, self._usage)
        recognition = self._store.put(RecognitionPage(self._ctimes, self._inodes), self._usage)
        effect = effect_of(page)
        self._reset()
        self._append(address, recognition, effect)

    # --- nodes -----------------------------------------------------------------------------

    def _append(
        self, address: Pair, recognition: Pair | None, effect: Effect, level: int = 0
    ) -> None:
        if level == len(self._levels):
            self._levels.append(_TreeLevel())
        here = self._levels[level]
        here.pages.append(address)
        if recognition is not None:
            here.recognition.append(recognition)
        here.effects.append(effect)
        count = len(here.pages)
        if count >= _MAX_CHILDREN or (count >= _MIN_CHILDREN and _cuts_after(address)):
            self._cut_level(level)

    def _cut_level(self, level: int) -> None:
        here = self._levels[level]
        node = TreeNode(
            here.pages,
            here.recognition,
            [effect.entries for effect in here.effects],
            [effect.leaves for effect in here.effects],
            [effect.lead for effect in here.effects],
            [effect.enters for effect in here.effects],
            [effect.first for effect in here.effects],
        )
        effect = composed(here.effects)
        self._levels[level] = _TreeLevel()
        self._append(self._store.put(node, self._usage), None, effect, level + 1)


def composed(effects: Sequence[Effect]) -> Effect:
    """Return how pages that follow each other move through the tree together."""
    entries = leaves = lead = 0
    enters: list[bytes] = []
    first = b""
    for effect in effects:
        entries += effect.entries
        if not first:
            # Nothing was entered so far, so what leads here are marks alone.
            first, lead = effect.first, leaves + effect.lead
        kept = max(0, len(enters) - effect.leaves)
        leaves += effect.leaves - (len(enters) - kept)
        enters = enters[:kept] + effect.enters
    return Effect(entries, leaves, lead, enters, first)


def _cuts_after(address: Pair) -> bool:
    return zlib.crc32(struct.pack(">IQ", *address)) & _CHILD_MASK == 0


def _count_pieces(
    usage: BlockUsage, blocks: Sequence[Pair], piece_blocks: Sequence[int], lengths: Sequence[int]
) -> None:
    live = [0] * len(blocks)
    for block, length in zip(piece_blocks, lengths, strict=True):
        if block != HOLE:
            live[block] += length
    for (slot, number), count in zip(blocks, live, strict=True):
        usage.add(slot, number, count)


# --- chunk lists ---------------------------------------------------------------------------


class ChunkListWriter:
    """Cuts the pieces of one large content into pages."""

    def __init__(self, store: PageStore, usage: BlockUsage) -> None:
        self._store = store
        self._usage = usage
        self._pieces: list[PiecePlace] = []
        self._levels: list[tuple[list[Pair], list[int]]] = [([], [])]

    def add(self, piece: PiecePlace) -> None:
        self._pieces.append(piece)
        count = len(self._pieces)
        if count >= _MAX_PIECES or (
            count >= _MIN_PIECES and piece[4][-1] & _PIECE_MASK == _PIECE_MASK
        ):
            self._cut()

    def finish(self) -> tuple[int, Pair | None]:
        """Return levels and address of the topmost page; no address for no pieces at all."""
        if self._pieces:
            self._cut()
        level = 0
        while True:
            pages = self._levels[level][0]
            if level == len(self._levels) - 1 and len(pages) <= 1:
                return level, pages[0] if pages else None
            if pages:
                self._cut_level(level)
            level += 1

    def _cut(self) -> None:
        block_of: dict[Pair, int] = {}
        indexes: list[int] = []
        for slot, number, _, _, _ in self._pieces:
            if number == HOLE:
                indexes.append(HOLE)
            else:
                indexes.append(block_of.setdefault((slot, number), len(block_of)))
        lengths = [piece[3] for piece in self._pieces]
        page = ChunkPage(
            list(block_of),
            indexes,
            [piece[2] for piece in self._pieces],
            lengths,
            b"".join(piece[4] for piece in self._pieces),
        )
        _count_pieces(self._usage, page.blocks, indexes, lengths)
        self._pieces = []
        self._append(self._store.put(page, self._usage), sum(lengths), 0)

    def _append(self, address: Pair, length: int, level: int) -> None:
        if level == len(self._levels):
            self._levels.append(([], []))
        pages, lengths = self._levels[level]
        pages.append(address)
        lengths.append(length)
        if len(pages) >= _MAX_CHILDREN or (len(pages) >= _MIN_CHILDREN and _cuts_after(address)):
            self._cut_level(level)

    def _cut_level(self, level: int) -> None:
        pages, lengths = self._levels[level]
        self._levels[level] = ([], [])
        self._append(
            self._store.put(ChunkNode(pages, lengths), self._usage), sum(lengths), level + 1
        )


def content_of(
    size: int, pieces: Sequence[PiecePlace], store: PageStore, usage: BlockUsage
) -> Content:
    """Return a file's content, with its pieces in a chunk list if they are many."""
    if len(pieces) <= MAX_INLINE_PIECES:
        return Content(size, pieces)
    writer = ChunkListWriter(store, usage)
    for piece in pieces:
        writer.add(piece)
    levels, address = writer.finish()
    assert address is not None, "there are pieces, so there is a page"
    return Content(size, (), (levels, *address))


def stream_root(writer: ChunkListWriter, size: int) -> StreamRoot:
    """Return the root of a stream whose pieces were all added."""
    levels, address = writer.finish()
    return StreamRoot(levels, address, size)


# --- disks ---------------------------------------------------------------------------------


def disk_levels(leaves: int) -> int:
    """Return how many levels of nodes stand above so many leaves."""
    levels = 0
    while DISK_FAN_OUT**levels < leaves:
        levels += 1
    return levels


class DiskIndexWriter:
    """Collects a disk's leaves and builds the nodes above them."""

    def __init__(self, store: PageStore, usage: BlockUsage) -> None:
        self._store = store
        self._usage = usage
        self._leaves: list[Pair | None] = []

    def add(self, leaf: DiskLeaf) -> None:
        """Add the next 64 clusters."""
        if not leaf.starts:
            self._leaves.append(None)
            return
        self._count(leaf)
        self._leaves.append(self._store.put(leaf, self._usage))

    def keep(self, address: Pair | None, leaf: DiskLeaf | None) -> None:
        """Add the next 64 clusters, which are as they were."""
        if address is not None and leaf is not None:
            self._count(leaf)
            address = self._store.keep(address, leaf, self._usage)
        self._leaves.append(address)

    def finish(self, size: int, block_size: int) -> DiskRoot:
        """Return the root of the whole disk."""
        levels = disk_levels(len(self._leaves))
        pages = self._leaves
        for _ in range(levels):
            pages = [
                self._node(pages[first : first + DISK_FAN_OUT])
                for first in range(0, len(pages), DISK_FAN_OUT)
            ]
        return DiskRoot(levels, pages[0] if pages else None, size, block_size)

    def _node(self, children: list[Pair | None]) -> Pair | None:
        if all(child is None for child in children):
            return None
        return self._store.put(DiskNode(children), self._usage)

    def _count(self, leaf: DiskLeaf) -> None:
        live = [0] * len(leaf.blocks)
        for block, count in zip(leaf.run_blocks, leaf.counts, strict=True):
            live[block] += count << 16
        for (slot, number), count in zip(leaf.blocks, live, strict=True):
            self._usage.add(slot, number, count)


__all__ = [
    "EMPTY",
    "BlockAddress",
    "ChunkListWriter",
    "Content",
    "DiskIndexWriter",
    "OldPage",
    "PageStore",
    "TreeIndexWriter",
    "content_of",
    "disk_levels",
    "stream_root",
]
