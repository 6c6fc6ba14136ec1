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
        MalformedError: a column too short or long, an index into nothing, or more of it than a
            page may hold.
    """
    count = len(page.kinds)
    pieces = len(page.piece_blocks)
    files = page.kinds.count(2)
    inline = sum(n for n in page.counts if n > 0)
    if not (
        count == len(page.names) == len(page.rows) == len(page.mtimes)
        and 0 < count <= MAX_PAGE_ENTRIES
        and files == len(page.sizes) == len(page.counts)
        and pieces == len(page.piece_offsets) == len(page.piece_lengths) == inline
        and len(page.piece_hashes) == HASH_LENGTH * pieces
        and page.counts.count(NOT_INLINE) == len(page.chunk_lists)
        and all(NOT_INLINE <= n <= MAX_INLINE_PIECES for n in page.counts)
        and all(HOLE <= b < len(page.blocks) for b in page.piece_blocks)
        and all(0 <= r < max(1, len(page.attributes)) for r in page.rows)
        and max(page.kinds) <= 8
    ):
        raise MalformedError("a page of a tree's index has columns that do not fit each other")
    return page


def check_chunk_page(page: ChunkPage) -> ChunkPage:
    """Return the page if its columns fit each other, else raise MalformedError."""
    pieces = len(page.piece_blocks)
    if not (
        pieces == len(page.piece_offsets) == len(page.piece_lengths)
        and len(page.piece_hashes) == HASH_LENGTH * pieces
        and all(HOLE <= b < len(page.blocks) for b in page.piece_blocks)
        and all(length > 0 for length in page.piece_lengths)
    ):
        raise MalformedError("a page of a chunk list has columns that do not fit each other")
    return page


def check_disk_leaf(leaf: DiskLeaf) -> DiskLeaf:
    """Return the leaf if its runs are in order and inside it, else raise MalformedError."""
    end = clusters = 0
    columns = (leaf.starts, leaf.counts, leaf.run_blocks, leaf.run_offsets)
    if len({len(column) for column in columns}) != 1:
        raise MalformedError("a page of a disk's map has columns that do not fit each other")
    for start, count, block in zip(leaf.starts, leaf.counts, leaf.run_blocks, strict=True):
        if start < end or count <= 0 or not 0 <= block < len(leaf.blocks):
            raise MalformedError("a page of a disk's map has runs out of order")
        end = start + count
        clusters += count
    if end > LEAF_CLUSTERS or len(leaf.hashes) != HASH_LENGTH * clusters:
        raise MalformedError("a page of a disk's map reaches beyond what it covers")
    return leaf


IndexPage = (
    TreePage | RecognitionPage | TreeNode | ChunkPage | ChunkNode | DiskLeaf | DiskNode
)
_encoder = msgspec.msgpack.Encoder()


def encode_page(page: IndexPage) -> bytes:
    """Return the bytes that get compressed and sealed."""
    return _encoder.encode(page)
