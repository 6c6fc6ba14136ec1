"""How two points of a source differ, from their indexes alone.

Both trees are walked side by side in their common order. Where both refer to the same page at
the same place, neither reads it: two points that share most of their index are compared by
reading little more than what differs. Content is compared by size and content hashes; only
between chains, whose hashes cannot be compared, is it read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from strongroom.engine.index_reader import (
    Path,
    Piece,
    TreeCursor,
    TreeEntry,
    disk_pages,
    entries_of,
    part_of,
    pieces_of,
    read_disk_leaf,
    runs_of,
    walk_stream,
)
from strongroom.engine.listing import absolute
from strongroom.engine.selection import source_path
from strongroom.errors import InvalidInputError
from strongroom.format.block import BlockClass
from strongroom.format.codec import HASH_LENGTH
from strongroom.format.index import CLUSTER, LEAF_CLUSTERS, NOT_INLINE
from strongroom.format.point import DiskRoot, StreamRoot, TreeRoot
from strongroom.model.entry import EntryKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.engine.points import PointView
    from strongroom.repository.reader import BlockReader

ADDED: Final = "added"
REMOVED: Final = "removed"
CHANGED: Final = "changed"
_ZEROS: Final = memoryview(bytes(1 << 20))

METADATA: Final = "metadata"
"""Owner, mode, times or extended attributes differ, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference of a point from another."""

    path: str
    """Absolute, as it was at the source."""
    change: str
    """`added`, `removed`, `changed` or `metadata`."""
    offset: int | None = None
    """Of a disk: where the range that changed begins."""
    length: int | None = None


def diff(before: PointView, after: PointView) -> Iterator[Change]:
    """Yield how `after` differs from `before`: paths in walk order, ranges of a disk ascending.

    Raises:
        UnlockError: nothing at hand opens a point.
        InvalidInputError: a tree cannot be compared with a disk.
        IntegrityError: a page does not open; what came before is true.
    """
    one, other = before.opened(), after.opened()
    if isinstance(one.root, TreeRoot) and isinstance(other.root, TreeRoot):
        return _TreeDiff(before, after, one.root, other.root).run()
    if isinstance(one.root, DiskRoot) and isinstance(other.root, DiskRoot):
        return _diff_disks(before, after, one.root, other.root)
    if isinstance(one.root, StreamRoot) and isinstance(other.root, StreamRoot):
        return _diff_streams(before, after, one.root, other.root)
    raise InvalidInputError(
        f"{one.source} and {other.source} hold different kinds of things and cannot be compared"
    )


# --- trees -----------------------------------------------------------------------------------


class _Side:
    """The entries of one of two trees, one after the other."""

    def __init__(self, reader: BlockReader, root: TreeRoot, base: Path) -> None:
        self.reader = reader
        self.base = base
        self.cursor = TreeCursor(reader, root)
        self._entries: Iterator[TreeEntry] = iter(())
        self.entry: TreeEntry | None = None

    def ends_page(self) -> bool:
        """Go to the next entry of the page; tell if there is none."""
        self.entry = next(self._entries, None)
        return self.entry is None

    def next_page(self) -> None:
        """Go to the first entry behind the page."""
        while self.entry is None:
            leaf = self.cursor.leaf()
            if leaf is None:
                return
            self._entries = entries_of(leaf)
            self.entry = next(self._entries, None)

    def path(self) -> str:
        assert self.entry is not None
        return absolute(self.base, self.entry.below)


class _TreeDiff:
    def __init__(self, before: PointView, after: PointView, one: TreeRoot, other: TreeRoot) -> None:
        self._old = _Side(before.reader(), one, source_path(before.opened().source))
        self._new = _Side(after.reader(), other, source_path(after.opened().source))
        self._shares = _same_chain(before, after)
        self._hashes_compare = _hashes_compare(before, after)

    def run(self) -> Iterator[Change]:
        old, new = self._old, self._new
        self._next_both()
        while old.entry is not None or new.entry is not None:
            one, other = old.entry, new.entry
            if other is None or (one is not None and one.below < other.below):
                yield Change(path=old.path(), change=REMOVED)
                if old.ends_page():
                    old.next_page()
            elif one is None or other.below < one.below:
                yield Change(path=new.path(), change=ADDED)
                if new.ends_page():
                    new.next_page()
            else:
                what = self._what(one, other)
                if what is not None:
                    yield Change(path=new.path(), change=what)
                self._next_both()

    def _next_both(self) -> None:
        """Go on in both trees, over pages that both have at the same place."""
        old, new = self._old, self._new
        ended = old.ends_page(), new.ends_page()
        if all(ended) and self._shares:
            self._skip_shared()
        for side, at_end in zip((old, new), ended, strict=True):
            if at_end:
                side.next_page()

    def _skip_shared(self) -> None:
        one, other = self._old.cursor, self._new.cursor
        while one.at is not None and other.at is not None:
            if one.at == other.at:
                one.skip()
                other.skip()
            elif one.level <= 0 and other.level <= 0:
                return
            else:
                # The taller one is gone into first, so that both come to stand at one level.
                tall = one if one.level >= other.level else other
                tall.descend()

    def _what(self, one: TreeEntry, other: TreeEntry) -> str | None:
        """Return how two entries of one path differ, or None."""
        if (
            one.kind != other.kind
            or one.size != other.size
            or one.link != other.link
            or one.device != other.device
            or (one.kind == EntryKind.FILE and not self._same_content(one, other))
        ):
            return CHANGED
        return METADATA if one.attributes != other.attributes else None

    def _same_content(self, one: TreeEntry, other: TreeEntry) -> bool:
        """Tell whether two files of one size hold the same."""
        lists = _chunk_list(one), _chunk_list(other)
        if self._shares and lists[0] is not None and lists[0] == lists[1]:
            return True
        return _same_pieces(
            self._old.reader,
            lambda: pieces_of(self._old.reader, one),
            self._new.reader,
            lambda: pieces_of(self._new.reader, other),
            hashes_compare=self._hashes_compare,
        )


def _chunk_list(entry: TreeEntry) -> tuple[int, int, int] | None:
    page = entry.page
    if page.counts[entry.file] != NOT_INLINE:
        return None
    return page.chunk_lists[page.counts[: entry.file].count(NOT_INLINE)]


# --- contents --------------------------------------------------------------------------------


def _same_chain(before: PointView, after: PointView) -> bool:
    """Tell whether an address means the same block in both."""
    return before.chain.chain_id == after.chain.chain_id


def _hashes_compare(before: PointView, after: PointView) -> bool:
    """Tell whether content hashes mean the same in both: they are keyed by the chain."""
    return _same_chain(before, after) or not (before.encrypted or after.encrypted)


def _same_pieces(
    old: BlockReader,
    one: Callable[[], Iterator[Piece]],
    new: BlockReader,
    other: Callable[[], Iterator[Piece]],
    *,
    hashes_compare: bool,
) -> bool:
    """Tell whether two contents of one length are the same.

    Where both are cut alike their hashes tell; otherwise they are read.
    """
    if hashes_compare:
        for left, right in zip(one(), other(), strict=False):
            if left.length != right.length or (left.address is None) != (right.address is None):
                break
            if left.content_hash != right.content_hash:
                return False
        else:
            return True
    return _same_bytes(_bytes(old, one()), _bytes(new, other()))


def _bytes(reader: BlockReader, pieces: Iterator[Piece]) -> Iterator[memoryview]:
    for piece in pieces:
        if piece.address is None:
            left = piece.length
            while left > 0:
                yield _ZEROS[: min(left, len(_ZEROS))]
                left -= min(left, len(_ZEROS))
            continue
        block = reader.read(piece.address, BlockClass.DATA)
        yield part_of(block, piece.offset, piece.length, "a piece of a file")


def _same_bytes(one: Iterator[memoryview], other: Iterator[memoryview]) -> bool:
    left = right = _ZEROS[:0]
    while True:
        left = left or next(one, left)
        right = right or next(other, right)
        step = min(len(left), len(right))
        if not step:
            return not left and not right
        # As bytes they are compared at once, as views item by item.
        if bytes(left[:step]) != bytes(right[:step]):
            return False
        left, right = left[step:], right[step:]


def _diff_streams(
    before: PointView, after: PointView, one: StreamRoot, other: StreamRoot
) -> Iterator[Change]:
    if one == other and _same_chain(before, after):
        return
    old, new = before.reader(), after.reader()
    if one.size != other.size or not _same_pieces(
        old,
        lambda: walk_stream(old, one),
        new,
        lambda: walk_stream(new, other),
        hashes_compare=_hashes_compare(before, after),
    ):
        yield Change(path=after.opened().source.partition(":")[2], change=CHANGED)


# --- disks -----------------------------------------------------------------------------------


def _diff_disks(
    before: PointView, after: PointView, one: DiskRoot, other: DiskRoot
) -> Iterator[Change]:
    """Yield the ranges that changed, neighbours put together.

    What only one of them has is a change, whatever it holds.
    """
    path = after.opened().source.partition(":")[2]
    size = max(one.size, other.size)
    shared = min(one.size, other.size)
    start = end = 0
    for cluster in _changed_clusters(before, after, one, other):
        position = cluster * CLUSTER
        if position >= shared and one.size != other.size:
            break
        if position != end:
            if start < end:
                yield Change(path=path, change=CHANGED, offset=start, length=end - start)
            start = position
        end = min(position + CLUSTER, size)
    if one.size != other.size:
        if end < shared:
            if start < end:
                yield Change(path=path, change=CHANGED, offset=start, length=end - start)
            start = shared
        end = size
    if start < end:
        yield Change(path=path, change=CHANGED, offset=start, length=end - start)


def _changed_clusters(
    before: PointView, after: PointView, one: DiskRoot, other: DiskRoot
) -> Iterator[int]:
    """Yield the clusters that differ."""
    shares = _same_chain(before, after)
    old, new = _Map(before, after, before, one), _Map(before, after, after, other)
    while old.at is not None or new.at is not None:
        first = min(side.at[0] for side in (old, new) if side.at is not None)
        pairs = [side.take(first) for side in (old, new)]
        if shares and pairs[0] == pairs[1]:
            continue
        left = old.clusters(first, pairs[0])
        right = new.clusters(first, pairs[1])
        for cluster in range(LEAF_CLUSTERS):
            if left[cluster] != right[cluster]:
                yield first + cluster


class _Map:
    """The pages of one disk's map, read only where they are compared."""

    def __init__(
        self, before: PointView, after: PointView, view: PointView, root: DiskRoot
    ) -> None:
        self._reader = view.reader()
        self._root = root
        self._hashes_compare = _hashes_compare(before, after)
        self._pages = disk_pages(self._reader, root)
        self.at = next(self._pages, None)

    def take(self, first: int) -> tuple[int, int] | None:
        """Return the address of the page that begins at a cluster, and go on behind it."""
        if self.at is None or self.at[0] != first:
            return None
        pair = self.at[1]
        self.at = next(self._pages, None)
        return pair

    def clusters(self, first: int, pair: tuple[int, int] | None) -> list[bytes | None]:
        """Return what tells the clusters of a page apart: hashes, or else what they hold."""
        found: list[bytes | None] = [None] * LEAF_CLUSTERS
        if pair is None:
            return found
        leaf = read_disk_leaf(self._reader, self._root, first, pair)
        for run in runs_of(first, leaf, self._root.size):
            start = run.position // CLUSTER - first
            for index in range(len(run.hashes) // HASH_LENGTH):
                if self._hashes_compare:
                    value = run.hashes[HASH_LENGTH * index : HASH_LENGTH * (index + 1)]
                else:
                    block = self._reader.read(run.address, BlockClass.DATA)
                    offset = run.offset + index * CLUSTER
                    value = bytes(part_of(block, offset, CLUSTER, "a cluster of a disk"))
                found[start + index] = value
        return found
