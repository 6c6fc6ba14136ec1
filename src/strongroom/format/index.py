"""The index: trees of files, chunk lists of large contents, and block maps of disks.

Every page is MessagePack, compressed and sealed as a block of class INDEX under its session's
metakey. Pages refer to pages by block address, so an unchanged page is shared by every point
that has it.

**Trees** are one stream of entries in walk order, cut by content into leaf pages, with nodes
above. Entries name their last path component only and a directory's end is a mark, so a
renamed directory changes the page it is named in and none below. A node says of each page how
it moves through the tree (directories left, directories entered), so a path is found by
reading one page a level. What recognises an unchanged file stands in a page of its own beside
each leaf: a source that moves to another disk rewrites those and no others.

**Chunk lists** hold the pieces of a file that has too many for its entry, cut by content.

**Disks** are positional: a leaf covers 64 clusters, a node 64 pages, whatever they hold.
"""

from __future__ import annotations

import msgspec

from strongroom.errors import MalformedError
from strongroom.format.block import MAX_ORDINAL, MAX_RAW, PLACE_BITS
from strongroom.format.codec import HASH_LENGTH, Value

CLUSTER = 64 << 10
"""Bytes of a disk that are compared, hashed and mapped as one."""
LEAF_CLUSTERS = 64
DISK_FAN_OUT = 64
MAX_INLINE_PIECES = 16
"""A file with more pieces has them in a chunk list."""
HOLE = -1
"""In a column of blocks: a range that reads as zeros and is stored nowhere."""
NOT_INLINE = -1
"""In the column of piece counts: the pieces are in a chunk list."""

MIN_PAGE_ENTRIES = 64
MAX_PAGE_ENTRIES = 1024
CUT_MASK = 0xFF
"""An entry whose hash ends in these bits at zero ends its page: 256 entries on average."""
MAX_PAGE_BYTES = 4 << 20
MAX_CHILDREN = 1024
"""Pages in a node of a tree or a chunk list; what writes them stops far earlier."""
MAX_PAGE_PIECES = 4096
MAX_LEVELS = 8
"""No index is deeper."""
MAX_SLOT = (1 << 32) - 1

_LEAVE, _FILE, _LAST_KIND = 0, 2, 8
_LINKS = frozenset((3, 4))
_DEVICES = frozenset((5, 6))

AttributeRow = tuple[int, int, int, str, str, tuple[tuple[bytes, bytes], ...]]
"""mode, uid, gid, user, group, extended attributes."""


class TreePage(Value, frozen=True):
    """A leaf of a tree: entries as columns, for speed in reading and for compression."""

    kinds: bytes
    """One `model.entry.EntryKind` an entry."""
    names: list[bytes]
    """Last path component; empty for a mark that leaves a directory."""
    rows: list[int]
    """Each entry's row in `attributes`; 0 and meaningless for a LEAVE."""
    mtimes: list[int]
    """Nanoseconds since 1970; 0 for a LEAVE."""
    attributes: list[AttributeRow]
    sizes: list[int]
    """From here on one item a FILE, not an entry."""
    counts: list[int]
    """Pieces of each file; `NOT_INLINE`: in a chunk list."""
    piece_blocks: list[int]
    """Of each piece: index in `blocks`, or `HOLE`."""
    piece_offsets: list[int]
    piece_lengths: list[int]
    piece_hashes: bytes
    """32 bytes a piece; zeros for a hole."""
    blocks: list[tuple[int, int]]
    """Addresses of the blocks that this page uses, each once."""
    chunk_lists: list[tuple[int, int, int]]
    """Levels and address of each chunk list, in the order of the files that have one."""
    links: dict[int, bytes]
    """By entry: a symlink's target; a hard link's first name as a path from the root."""
    devices: dict[int, int]
    """By entry: a device's number."""


class RecognitionPage(Value, frozen=True):
    """What recognises the entries of a leaf as unchanged, in the same order."""

    ctimes: list[int]
    """Nanoseconds; 0 where the entry must be read again next time."""
    inodes: list[int]


class TreeNode(Value, frozen=True):
    """Pages of a tree and how each moves through it."""

    pages: list[tuple[int, int]]
    recognition: list[tuple[int, int]]
    """Of each leaf, its recognition page; empty in nodes above the lowest."""
    entries: list[int]
    """Entries below each page."""
    leaves: list[int]
    """How many directories that were open before the page it leaves."""
    leads: list[int]
    """How many of those it leaves before its first entry that is not a LEAVE."""
    enters: list[list[bytes]]
    """Names of the directories that it enters and that are still open behind it."""
    firsts: list[bytes]
    """Name of the first entry that is not a LEAVE; empty if there is none."""


class ChunkPage(Value, frozen=True):
    """Pieces of one large content, in order."""

    blocks: list[tuple[int, int]]
    piece_blocks: list[int]
    piece_offsets: list[int]
    piece_lengths: list[int]
    piece_hashes: bytes


class ChunkNode(Value, frozen=True):
    """Pages of a chunk list, with the bytes each stands for."""

    pages: list[tuple[int, int]]
    lengths: list[int]


class DiskLeaf(Value, frozen=True):
    """64 clusters of a disk: runs of clusters in blocks; clusters in no run are zeros."""

    blocks: list[tuple[int, int]]
    starts: list[int]
    """First cluster of each run, in the leaf; ascending."""
    counts: list[int]
    run_blocks: list[int]
    run_offsets: list[int]
    """Where the run begins in its block, in bytes."""
    hashes: bytes
    """Content hash of each cluster that is in a run, 32 bytes each, in order."""


class DiskNode(Value, frozen=True):
    """64 pages of a disk; None where all is zeros."""

    children: list[tuple[int, int] | None]


def check_tree_page(page: TreePage) -> TreePage:
    """Return the page if its columns fit each other.

    Raises:
        MalformedError: a column too short or long, an index into nothing, a name that is no
            name, pieces that do not add up to their file, or more than a page may hold.
    """
    kinds = page.kinds
    count = len(kinds)
    pieces = len(page.piece_blocks)
    files = kinds.count(_FILE)
    inline = sum(n for n in page.counts if n > 0)
    if not (
        count == len(page.names) == len(page.rows) == len(page.mtimes)
        and 0 < count <= MAX_PAGE_ENTRIES
        and files == len(page.sizes) == len(page.counts)
        and pieces == inline
        and page.counts.count(NOT_INLINE) == len(page.chunk_lists)
        and all(NOT_INLINE <= n <= MAX_INLINE_PIECES for n in page.counts)
        and all(
            0 <= row < len(page.attributes) or kind == _LEAVE
            for row, kind in zip(page.rows, kinds, strict=True)
        )
        and max(kinds) <= _LAST_KIND
        and _pieces_fit(page)
        and _sizes_fit(page)
        and all(
            0 <= levels <= MAX_LEVELS and _is_address((s, n)) for levels, s, n in page.chunk_lists
        )
    ):
        raise MalformedError("a page of a tree's index has columns that do not fit each other")
    _check_names(page)
    return page


def _check_names(page: TreePage) -> None:
    """Refuse names that could lead a restore out of its target, and columns by entry."""
    together = b"".join(page.names)
    if b"/" in together or b"\0" in together or b".." in page.names:
        raise MalformedError("a page of a tree's index holds a name that no directory can hold")
    links, devices = set(), set()
    for index, (kind, name) in enumerate(zip(page.kinds, page.names, strict=True)):
        if bool(name) == (kind == _LEAVE):
            raise MalformedError("a page of a tree's index has an entry without a name")
        if kind in _LINKS:
            links.add(index)
        elif kind in _DEVICES:
            devices.add(index)
    if page.links.keys() != links or page.devices.keys() != devices:
        raise MalformedError("a page of a tree's index has links or devices of other entries")


def _sizes_fit(page: TreePage) -> bool:
    at = 0
    lengths = page.piece_lengths
    for size, count in zip(page.sizes, page.counts, strict=True):
        if count == NOT_INLINE:
            if size <= 0:
                return False
            continue
        if sum(lengths[at : at + count]) != size:
            return False
        at += count
    return True


def _pieces_fit(page: TreePage | ChunkPage) -> bool:
    """Tell whether every piece lies in a block that can be, and every block has a piece."""
    count, blocks = len(page.piece_blocks), len(page.blocks)
    if not (
        count == len(page.piece_offsets) == len(page.piece_lengths)
        and len(page.piece_hashes) == HASH_LENGTH * count
        and all(_is_address(pair) for pair in page.blocks)
    ):
        return False
    for block, offset, length in zip(
        page.piece_blocks, page.piece_offsets, page.piece_lengths, strict=True
    ):
        if length <= 0 or not HOLE <= block < blocks:
            return False
        if (offset != 0) if block == HOLE else (offset < 0 or offset + length > MAX_RAW):
            return False
    return True


def _is_address(pair: tuple[int, int]) -> bool:
    slot, number = pair
    return 0 < slot <= MAX_SLOT and 0 <= number >> PLACE_BITS <= MAX_ORDINAL


def check_recognition(page: RecognitionPage, leaf: TreePage) -> RecognitionPage:
    """Return the page if it has one item for every entry of `leaf`, else raise MalformedError."""
    if not len(page.ctimes) == len(page.inodes) == len(leaf.kinds):
        raise MalformedError("a recognition page does not fit the page that it stands beside")
    return page


def check_tree_node(node: TreeNode, level: int) -> TreeNode:
    """Return the node if its columns fit each other and its level, else raise MalformedError."""
    count = len(node.pages)
    if not (
        0 < count <= MAX_CHILDREN
        and count == len(node.entries) == len(node.leaves) == len(node.leads)
        and count == len(node.enters) == len(node.firsts)
        and len(node.recognition) == (count if level == 1 else 0)
        and all(n > 0 for n in node.entries)
        and all(0 <= lead <= n for lead, n in zip(node.leads, node.leaves, strict=True))
        and all(map(_is_address, node.pages))
        and all(map(_is_address, node.recognition))
    ):
        raise MalformedError("a node of a tree's index has columns that do not fit each other")
    return node


def check_chunk_page(page: ChunkPage) -> ChunkPage:
    """Return the page if its columns fit each other, else raise MalformedError."""
    if not 0 < len(page.piece_blocks) <= MAX_PAGE_PIECES or not _pieces_fit(page):
        raise MalformedError("a page of a chunk list has columns that do not fit each other")
    return page


def check_chunk_node(node: ChunkNode) -> ChunkNode:
    """Return the node if its columns fit each other, else raise MalformedError."""
    if not (
        0 < len(node.pages) == len(node.lengths) <= MAX_CHILDREN
        and all(length > 0 for length in node.lengths)
        and all(map(_is_address, node.pages))
    ):
        raise MalformedError("a node of a chunk list has columns that do not fit each other")
    return node


def check_disk_leaf(leaf: DiskLeaf) -> DiskLeaf:
    """Return the leaf if its runs are in order and inside it, else raise MalformedError."""
    end = clusters = 0
    columns = (leaf.starts, leaf.counts, leaf.run_blocks, leaf.run_offsets)
    if len({len(column) for column in columns}) != 1 or not leaf.starts:
        raise MalformedError("a page of a disk's map has columns that do not fit each other")
    for start, count, block, offset in zip(*columns, strict=True):
        if start < end or count <= 0 or not 0 <= block < len(leaf.blocks):
            raise MalformedError("a page of a disk's map has runs out of order")
        if offset < 0 or offset + count * CLUSTER > MAX_RAW:
            raise MalformedError("a page of a disk's map has a run that reaches beyond its block")
        end = start + count
        clusters += count
    if end > LEAF_CLUSTERS or len(leaf.hashes) != HASH_LENGTH * clusters:
        raise MalformedError("a page of a disk's map reaches beyond what it covers")
    if not all(map(_is_address, leaf.blocks)):
        raise MalformedError("a page of a disk's map names a block that cannot be")
    return leaf


def check_disk_node(node: DiskNode) -> DiskNode:
    """Return the node if it has as many pages as it may, else raise MalformedError."""
    if not 0 < len(node.children) <= DISK_FAN_OUT or not all(
        child is None or _is_address(child) for child in node.children
    ):
        raise MalformedError("a node of a disk's map has pages that cannot be")
    return node


def disk_levels(size: int) -> int:
    """Return how many levels of nodes stand above the leaves of a disk of `size` bytes."""
    leaves = -(-size // (CLUSTER * LEAF_CLUSTERS))
    levels = 0
    while DISK_FAN_OUT**levels < leaves:
        levels += 1
    return levels


IndexPage = TreePage | RecognitionPage | TreeNode | ChunkPage | ChunkNode | DiskLeaf | DiskNode
_encoder = msgspec.msgpack.Encoder()


def encode_page(page: IndexPage) -> bytes:
    """Return the bytes that get compressed and sealed."""
    return _encoder.encode(page)
