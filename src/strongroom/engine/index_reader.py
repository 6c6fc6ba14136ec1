"""Reading indexes: trees, chunk lists and disks, page by page, each checked as it comes.

Everything here streams: at any time a tree holds one page a level. What a page says is
believed only as far as it fits what stands around it: pages do what their nodes say of them,
names ascend within a directory, every directory entered is left, pieces add up to their
content, and nothing is deeper than an index may be. So a walk visits every path once, in
order, and ends. Whatever breaks these rules is an `IntegrityError`.

A path here is a tuple of names that begins with the root's own: `b"."` for a directory, its
name for a source that is a single entry. `below` gives what follows that, as everything
outside wants it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from strongroom.errors import IntegrityError, MalformedError, PointDamagedError
from strongroom.format.block import BlockAddress, BlockClass
from strongroom.format.codec import HASH_LENGTH, decode
from strongroom.format.index import (
    CLUSTER,
    DISK_FAN_OUT,
    HOLE,
    LEAF_CLUSTERS,
    MAX_LEVELS,
    NOT_INLINE,
    ChunkNode,
    ChunkPage,
    DiskLeaf,
    DiskNode,
    TreeNode,
    TreePage,
    check_chunk_node,
    check_chunk_page,
    check_disk_leaf,
    check_disk_node,
    check_tree_node,
    check_tree_page,
)
from strongroom.format.point import DiskRoot, StreamRoot, TreeRoot, check_root
from strongroom.model.entry import Attributes, EntryKind

if TYPE_CHECKING:
    from strongroom.repository.reader import BlockReader

Path: TypeAlias = tuple[bytes, ...]
"""Names from a tree's root on, the root's own first."""
Pair: TypeAlias = tuple[int, int]
"""Slot and number of a block, as pages hold it."""

ROOT = b"."
"""The name of a tree's root, where that is a directory."""
MAX_DEPTH = 1 << 16
"""No tree is deeper: an index that claims more is hostile."""

_LEAVE = int(EntryKind.LEAVE)
_DIRECTORY = int(EntryKind.DIRECTORY)
_FILE = int(EntryKind.FILE)


# --- pieces --------------------------------------------------------------------------------


class Piece(NamedTuple):
    """A run of some content and where it lies."""

    position: int
    """Where it begins in the content."""
    length: int
    address: BlockAddress | None
    """None for a hole, which reads as zeros."""
    offset: int
    """Where it begins in its block."""
    content_hash: bytes
    """Of the whole piece."""


class ContentGap(NamedTuple):
    """Part of a content whose pages do not open, in a walk that goes on nevertheless."""

    position: int
    length: int
    error: IntegrityError


OnContentGap: TypeAlias = Callable[[ContentGap], None]


def walk_chunks(
    reader: BlockReader, levels: int, page: Pair, size: int, on_gap: OnContentGap | None = None
) -> Iterator[Piece]:
    """Yield the pieces of a chunk list in order.

    Args:
        reader: Opens the pages.
        levels: Levels of nodes above the lists's pages.
        page: The topmost page.
        size: Bytes of the content: what all pieces have to add up to.
        on_gap: Is told of pages that do not open, and the walk goes on behind them; without
            it the walk ends there.

    Raises:
        IntegrityError: a page does not open, or the pieces are not those of such a content.
    """
    if not 0 <= levels <= MAX_LEVELS:
        raise MalformedError(f"a chunk list claims {levels} levels")
    position = 0
    stack: list[tuple[Pair, int, int]] = [(page, levels, size)]
    while stack:
        pair, level, length = stack.pop()
        try:
            data = reader.read(BlockAddress(*pair), BlockClass.INDEX)
            if level:
                node = check_chunk_node(decode(ChunkNode, data, "a node of a chunk list"))
                _check_length(node.lengths, length)
                below = zip(reversed(node.pages), reversed(node.lengths), strict=True)
                stack.extend((child, level - 1, count) for child, count in below)
                continue
            chunks = check_chunk_page(decode(ChunkPage, data, "a page of a chunk list"))
            _check_length(chunks.piece_lengths, length)
        except IntegrityError as error:
            if on_gap is None:
                raise
            on_gap(ContentGap(position, length, error))
        else:
            yield from _pieces(chunks, 0, len(chunks.piece_blocks), position)
        position += length


def _check_length(lengths: list[int], length: int) -> None:
    if sum(lengths) != length:
        raise MalformedError("a page of a chunk list is not as long as it should be")


def walk_stream(
    reader: BlockReader, root: StreamRoot, on_gap: OnContentGap | None = None
) -> Iterator[Piece]:
    """Yield the pieces of an object of bytes in order; as `walk_chunks`."""
    check_root(root)
    if root.page is None:
        return iter(())
    return walk_chunks(reader, root.levels, root.page, root.size, on_gap)


def _pieces(page: TreePage | ChunkPage, start: int, count: int, position: int) -> Iterator[Piece]:
    for at in range(start, start + count):
        block = page.piece_blocks[at]
        length = page.piece_lengths[at]
        yield Piece(
            position,
            length,
            None if block == HOLE else BlockAddress(*page.blocks[block]),
            page.piece_offsets[at],
            page.piece_hashes[HASH_LENGTH * at : HASH_LENGTH * (at + 1)],
        )
        position += length


# --- trees: pages ----------------------------------------------------------------------------


class Leaf(NamedTuple):
    """One page of a tree in the course of a walk."""

    before: Path
    """The directories that are open before its first entry."""
    page: TreePage
    pair: Pair


class Gap(NamedTuple):
    """Pages that do not open, in a walk that goes on nevertheless."""

    before: Path
    after: Path
    """The directories that are open behind the gap."""
    error: IntegrityError


class Effect(NamedTuple):
    """How a page moves through the tree: what the node above has to say of it."""

    entries: int
    leaves: int
    """Directories that were open before the page and that it leaves."""
    lead: int
    """Those of them that it leaves before its first entry."""
    enters: tuple[bytes, ...]
    """Directories that it enters and that are still open behind it."""
    first: bytes
    """Name of its first entry; empty if it has none."""


def effects_in(node: TreeNode) -> Iterator[Effect]:
    """Yield what a node says of each of its pages."""
    for entries, leaves, lead, enters, first in zip(
        node.entries, node.leaves, node.leads, node.enters, node.firsts, strict=True
    ):
        yield Effect(entries, leaves, lead, tuple(enters), first)


def effect_together(effects: Iterable[Effect]) -> Effect:
    """Return how pages that follow each other move through the tree together."""
    entries = leaves = lead = 0
    enters: list[bytes] = []
    first = b""
    for effect in effects:
        entries += effect.entries
        if not first:
            # Nothing was entered so far: what leads here are marks alone.
            first, lead = effect.first, leaves + effect.lead
        leaves += max(0, effect.leaves - len(enters))
        del enters[max(0, len(enters) - effect.leaves) :]
        enters.extend(effect.enters)
    return Effect(entries, leaves, lead, tuple(enters), first)


class _Below(NamedTuple):
    """A page that a node refers to."""

    pair: Pair
    level: int
    before: Path
    """The directories open before it."""
    effect: Effect | None
    """What the node says of it; None for the topmost page."""
    upper: Path | None = None
    """The page's last entry comes before this path; None where nothing comes behind."""

    @property
    def after(self) -> Path:
        """The directories open behind it."""
        if self.effect is None:
            return ()
        return (*self.before[: len(self.before) - self.effect.leaves], *self.effect.enters)

    @property
    def lower(self) -> Path:
        """The path of its first entry."""
        if self.effect is None:
            return ()
        outer = self.before[: len(self.before) - self.effect.lead]
        return (*outer, self.effect.first) if self.effect.first else outer


OnGap: TypeAlias = Callable[[Gap], None]


class Scope:
    """Which part of a tree a walk is about: some paths, all below them, and all above them.

    The walk reads only pages that may hold an entry of that part.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Take `paths`, each with the root's name first."""
        self._whole = frozenset(paths)
        self._keys = sorted({path[:end] for path in paths for end in range(1, len(path) + 1)})

    def touches(self, lower: Path, upper: Path | None) -> bool:
        """Tell whether entries from `lower` to before `upper` may be of that part."""
        at = bisect_left(self._keys, lower)
        if at < len(self._keys) and (upper is None or self._keys[at] < upper):
            return True
        return any(lower[:end] in self._whole for end in range(1, len(lower) + 1))


def tree_leaves(
    reader: BlockReader,
    root: TreeRoot,
    scope: Scope | None = None,
    on_gap: OnGap | None = None,
) -> Iterator[Leaf]:
    """Yield the pages of a tree in order.

    Args:
        reader: Opens them.
        root: The tree.
        scope: Leaves out pages that can have nothing of this part; then `before` of a page
            need not be where the one before it ended.
        on_gap: Is told of pages that do not open, and the walk goes on behind them; without
            it the walk ends there.

    Raises:
        IntegrityError: a page does not open, or says what cannot be.
    """
    check_root(root)
    last: Path = ()
    stack = [iter((_Below(root.page, root.levels, (), None),))]
    while stack:
        below = next(stack[-1], None)
        if below is None:
            stack.pop()
            continue
        try:
            data = reader.read(BlockAddress(*below.pair), BlockClass.INDEX)
            if below.level:
                node = decode(TreeNode, data, "a node of a tree's index")
                stack.append(_children(_checked_node(node, below), below, scope))
                continue
            page = check_tree_page(decode(TreePage, data, "a page of a tree's index"))
            last = check_leaf(page, below.before, below.effect, last)
        except IntegrityError as error:
            if on_gap is None:
                raise
            on_gap(Gap(below.before, below.after, error))
            continue
        yield Leaf(below.before, page, below.pair)


class TreeCursor:
    """Goes over a tree page by page, and lets the caller pass over what it knows already."""

    def __init__(self, reader: BlockReader, root: TreeRoot) -> None:
        check_root(root)
        self._reader = reader
        self._stack = [iter((_Below(root.page, root.levels, (), None),))]
        self._next: _Below | None = None
        self._last: Path = ()
        self.skip()

    @property
    def at(self) -> tuple[Pair, Path] | None:
        """The next page, a node maybe, and the directories open before it; None at the end."""
        return None if self._next is None else (self._next.pair, self._next.before)

    @property
    def level(self) -> int:
        """Levels between the next page and the leaves; -1 at the end."""
        return -1 if self._next is None else self._next.level

    def skip(self) -> None:
        """Pass over the next page and all below it."""
        self._next = None
        while self._stack and self._next is None:
            self._next = next(self._stack[-1], None)
            if self._next is None:
                self._stack.pop()

    def descend(self) -> None:
        """Make the first page below the next one, which is a node, the next."""
        assert self._next is not None
        node = decode(TreeNode, self._read(self._next), "a node of a tree's index")
        self._stack.append(_children(_checked_node(node, self._next), self._next, None))
        self.skip()

    def leaf(self) -> Leaf | None:
        """Return the next page of entries and go on behind it; None at the end."""
        while self.level > 0:
            self.descend()
        below = self._next
        if below is None:
            return None
        page = check_tree_page(decode(TreePage, self._read(below), "a page of a tree's index"))
        self._last = check_leaf(page, below.before, below.effect, self._last)
        self.skip()
        return Leaf(below.before, page, below.pair)

    def _read(self, below: _Below) -> bytes:
        return self._reader.read(BlockAddress(*below.pair), BlockClass.INDEX)


def _checked_node(node: TreeNode, above: _Below) -> TreeNode:
    """Return the node if its pages together do what the node above says of it."""
    check_tree_node(node, above.level)
    depth = len(above.before)
    for place, (leaves, enters) in enumerate(zip(node.leaves, node.enters, strict=True)):
        if leaves > depth or depth - leaves + len(enters) > MAX_DEPTH:
            raise MalformedError("a tree's index leaves a directory that was never entered")
        if depth == 0 and place:
            raise MalformedError("a tree's index goes on behind its root")
        depth += len(enters) - leaves
    _check_effect(effect_together(effects_in(node)), above.effect)
    return node


def _check_effect(found: Effect, said: Effect | None) -> None:
    """Go on if a page does what is said of it; of the topmost one, that it leaves all it enters."""
    if found != said and (said is not None or found.enters or found.leaves):
        raise MalformedError("a page of a tree's index is not what the node above says of it")


def _children(node: TreeNode, above: _Below, scope: Scope | None) -> Iterator[_Below]:
    """Yield the pages below a node that may have to do with `scope`."""
    before = above.before
    held: list[_Below] = []
    for pair, effect in zip(node.pages, effects_in(node), strict=True):
        child = _Below(pair, above.level - 1, before, effect)
        before = child.after
        if scope is None:
            yield child
            continue
        if effect.first:
            # How far a page reaches is known once the next one begins.
            yield from _touched(scope, held, child.lower)
            held.clear()
        held.append(child)
    if scope is not None:
        yield from _touched(scope, held, above.upper)


def _touched(scope: Scope, pages: list[_Below], upper: Path | None) -> Iterator[_Below]:
    for page in pages:
        if scope.touches(page.lower, upper):
            yield page._replace(upper=upper)


def check_leaf(page: TreePage, before: Path, said: Effect | None, last: Path) -> Path:
    """Go on if a page does what the node above says, and its paths follow those before it.

    Args:
        page: A page whose columns fit each other.
        before: The directories that are open before it.
        said: What the node above says of it; None where there is none.
        last: Path of the last entry of a page before it.

    Returns:
        The path of its own last entry.

    Raises:
        MalformedError: it does not.
    """
    effect = effect_of(page)
    depth = len(before)
    if effect.leaves > depth:
        raise MalformedError("a tree's index leaves a directory that was never entered")
    if depth + len(page.kinds) > MAX_DEPTH:
        raise MalformedError(f"a tree's index is deeper than {MAX_DEPTH} directories")
    _check_effect(effect, said)
    if effect.first and (*before[: depth - effect.lead], effect.first) <= last:
        raise MalformedError("a tree's index has names out of order")
    # The name that came last at each depth: of an open directory its own.
    names = [*before, b""]
    for index, (kind, name) in enumerate(zip(page.kinds, page.names, strict=True)):
        if kind == _LEAVE:
            depth -= 1
            continue
        # A tree has one entry at its top: `ROOT` with all it holds, or a single one.
        if depth == 0 and (index or before):
            raise MalformedError("a tree's index goes on behind its root")
        if (name == ROOT) != (depth == 0 and kind == _DIRECTORY):
            raise MalformedError("a tree's index has another root than a tree can have")
        if name <= names[depth]:
            raise MalformedError("a tree's index has names out of order")
        names[depth:] = (name, b"")
        last = ()
        if kind == _DIRECTORY:
            depth += 1
    # Behind the last entry are marks alone, and they change no name.
    return last or tuple(names[:-1])


def effect_of(page: TreePage) -> Effect:
    """Return what a node has to say of a page.

    Raises:
        MalformedError: the page's names are out of order.
    """
    leaves = lead = 0
    enters: list[bytes] = []
    # The name that came last in each open directory, as far as this page knows.
    last = [b""]
    first = b""
    for kind, name in zip(page.kinds, page.names, strict=True):
        if kind == _LEAVE:
            last.pop()
            if enters:
                enters.pop()
            else:
                leaves += 1
                last.append(b"")
            continue
        if name <= last[-1]:
            raise MalformedError("a tree's index has names out of order")
        if not first:
            first, lead = name, leaves
        last[-1] = name
        if kind == _DIRECTORY:
            enters.append(name)
            last.append(b"")
    return Effect(len(page.kinds), leaves, lead if first else leaves, tuple(enters), first)


# --- trees: entries --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One entry of a tree. Not for the fast path of a restore, which uses the page's columns."""

    path: Path
    """With the root's own name first."""
    kind: EntryKind
    attributes: Attributes
    size: int
    """Bytes of a file; 0 for anything else."""
    link: bytes
    """A symlink's target, or a hard link's first name as a path below the root."""
    device: int
    page: TreePage
    index: int
    """Its place in the page."""
    file: int
    """Its place among the page's files; -1 for anything else."""

    @property
    def below(self) -> Path:
        """Its path below the source's root: empty for the root itself."""
        return self.path[1:]


def walk_tree(
    reader: BlockReader,
    root: TreeRoot,
    under: Path | None = None,
    on_gap: OnGap | None = None,
) -> Iterator[TreeEntry]:
    """Yield the entries of a tree in order, without the marks that leave directories.

    Args:
        reader: Opens the pages.
        root: The tree.
        under: Only the entry with this path below the root, and what lies below that.
        on_gap: As for `tree_leaves`.
    """
    if under is None:
        for leaf in tree_leaves(reader, root, on_gap=on_gap):
            yield from entries_of(leaf)
        return
    wanted = (root_name(reader, root), *under)
    for leaf in tree_leaves(reader, root, Scope([wanted]), on_gap):
        for entry in entries_of(leaf):
            if entry.path[: len(wanted)] == wanted:
                yield entry


def entries_of(leaf: Leaf) -> Iterator[TreeEntry]:
    """Yield the entries of one page."""
    page = leaf.page
    attributes = page.attributes
    path = leaf.before
    file = -1
    for index, kind in enumerate(page.kinds):
        if kind == _LEAVE:
            path = path[:-1]
            continue
        own = (*path, page.names[index])
        size = 0
        if kind == _FILE:
            file += 1
            size = page.sizes[file]
        yield TreeEntry(
            own,
            EntryKind(kind),
            attributes_of(attributes[page.rows[index]], page.mtimes[index]),
            size,
            page.links.get(index, b""),
            page.devices.get(index, 0),
            page,
            index,
            file if kind == _FILE else -1,
        )
        if kind == _DIRECTORY:
            path = own


def attributes_of(
    row: tuple[int, int, int, str, str, tuple[tuple[bytes, bytes], ...]], mtime_ns: int
) -> Attributes:
    """Return a page's row of attributes with an entry's own time."""
    mode, uid, gid, user, group, xattrs = row
    return Attributes(mode, uid, gid, user, group, mtime_ns, xattrs)


def root_name(reader: BlockReader, root: TreeRoot) -> bytes:
    """Return the name of a tree's first entry: `ROOT`, or that of a single entry."""
    check_root(root)
    data = reader.read(BlockAddress(*root.page), BlockClass.INDEX)
    if root.levels:
        node = check_tree_node(decode(TreeNode, data, "a node of a tree's index"), root.levels)
        return node.firsts[0]
    return check_tree_page(decode(TreePage, data, "a page of a tree's index")).names[0]


def find_entry(reader: BlockReader, root: TreeRoot, path: Path) -> TreeEntry | None:
    """Return the entry with this path below the root, reading about one page a level."""
    wanted = (root_name(reader, root), *path)
    for leaf in tree_leaves(reader, root, _Exactly(wanted)):
        for entry in entries_of(leaf):
            if entry.path == wanted:
                return entry
    return None


class _Exactly(Scope):
    """A single entry, without what is above and below."""

    def __init__(self, path: Path) -> None:
        super().__init__(())
        self._path = path

    def touches(self, lower: Path, upper: Path | None) -> bool:
        return lower <= self._path and (upper is None or self._path < upper)


def pieces_of(reader: BlockReader, entry: TreeEntry) -> Iterator[Piece]:
    """Yield the pieces of a file in order; nothing for anything else."""
    if entry.file < 0:
        return iter(())
    return file_pieces(reader, entry.page, entry.file)


def file_pieces(
    reader: BlockReader, page: TreePage, file: int, on_gap: OnContentGap | None = None
) -> Iterator[Piece]:
    """Yield the pieces of the `file`th file of a page; as `walk_chunks`."""
    counts = page.counts
    if counts[file] == NOT_INLINE:
        levels, slot, number = page.chunk_lists[counts[:file].count(NOT_INLINE)]
        return walk_chunks(reader, levels, (slot, number), page.sizes[file], on_gap)
    start = sum(count for count in counts[:file] if count > 0)
    return _pieces(page, start, counts[file], 0)


# --- disks -----------------------------------------------------------------------------------


class DiskRun(NamedTuple):
    """Neighbouring clusters of a disk that lie behind each other in one block."""

    position: int
    """Where it begins on the disk."""
    length: int
    """Bytes; the last run of a disk may end within a cluster."""
    address: BlockAddress
    offset: int
    hashes: bytes
    """32 bytes for each cluster; a cluster that the disk ends in is hashed with zeros behind."""


def disk_pages(
    reader: BlockReader, root: DiskRoot, on_gap: OnContentGap | None = None
) -> Iterator[tuple[int, Pair]]:
    """Yield the addresses of the pages of a disk's map, each with its first cluster's index.

    Only nodes are read: one page in 65.

    Raises:
        IntegrityError: a node does not open, or maps what the disk does not have.
    """
    check_root(root)
    if root.page is None:
        return
    clusters = -(-root.size // CLUSTER)
    stack: list[tuple[Pair, int, int]] = [(root.page, root.levels, 0)]
    while stack:
        pair, level, index = stack.pop()
        first = index * LEAF_CLUSTERS * DISK_FAN_OUT**level
        if not level:
            yield first, pair
            continue
        below = LEAF_CLUSTERS * DISK_FAN_OUT ** (level - 1)
        try:
            data = reader.read(BlockAddress(*pair), BlockClass.INDEX)
            node = check_disk_node(decode(DiskNode, data, "a node of a disk's map"))
            if first + (len(node.children) - 1) * below >= clusters:
                raise MalformedError("a node of a disk's map reaches beyond the disk")
        except IntegrityError as error:
            if on_gap is None:
                raise
            position = first * CLUSTER
            length = min(below * DISK_FAN_OUT * CLUSTER, root.size - position)
            on_gap(ContentGap(position, length, error))
            continue
        stack.extend(
            (child, level - 1, index * DISK_FAN_OUT + place)
            for place, child in reversed(list(enumerate(node.children)))
            if child is not None
        )


def read_disk_leaf(reader: BlockReader, root: DiskRoot, first: int, pair: Pair) -> DiskLeaf:
    """Return a page of a disk's map.

    Raises:
        IntegrityError: it does not open, or maps what the disk does not have.
    """
    data = reader.read(BlockAddress(*pair), BlockClass.INDEX)
    leaf = check_disk_leaf(decode(DiskLeaf, data, "a page of a disk's map"))
    if first + leaf.starts[-1] + leaf.counts[-1] > -(-root.size // CLUSTER):
        raise MalformedError("a page of a disk's map reaches beyond the disk")
    return leaf


def walk_disk(
    reader: BlockReader, root: DiskRoot, on_gap: OnContentGap | None = None
) -> Iterator[DiskRun]:
    """Yield what of a disk is not zeros, in order.

    Args:
        reader: Opens the pages.
        root: The disk.
        on_gap: Is told of pages that do not open, and the walk goes on behind them; without
            it the walk ends there.

    Raises:
        IntegrityError: a page does not open, or maps what the disk does not have.
    """
    for first, pair in disk_pages(reader, root, on_gap):
        try:
            leaf = read_disk_leaf(reader, root, first, pair)
        except IntegrityError as error:
            if on_gap is None:
                raise
            position = first * CLUSTER
            length = min(LEAF_CLUSTERS * CLUSTER, root.size - position)
            on_gap(ContentGap(position, length, error))
            continue
        yield from runs_of(first, leaf, root.size)


def runs_of(first: int, leaf: DiskLeaf, size: int) -> Iterator[DiskRun]:
    """Yield the runs of one page of a disk's map.

    Args:
        first: Index of the page's first cluster on the disk.
        leaf: The page.
        size: Bytes of the disk.
    """
    at = 0
    for start, count, block, offset in zip(
        leaf.starts, leaf.counts, leaf.run_blocks, leaf.run_offsets, strict=True
    ):
        position = (first + start) * CLUSTER
        end = at + HASH_LENGTH * count
        yield DiskRun(
            position,
            min(count * CLUSTER, size - position),
            BlockAddress(*leaf.blocks[block]),
            offset,
            leaf.hashes[at:end],
        )
        at = end


def paths_using(
    reader: BlockReader, root: TreeRoot, addresses: Collection[BlockAddress], most: int
) -> list[Path]:
    """Return paths below the root of files that have a part in one of some blocks.

    Args:
        reader: Opens the pages.
        root: The tree.
        addresses: The blocks.
        most: No more paths than this; pages that do not open are passed over.
    """
    found: list[Path] = []
    for leaf in tree_leaves(reader, root, on_gap=lambda _: None):
        page = leaf.page
        if not page.chunk_lists and not any(pair in addresses for pair in page.blocks):
            continue
        for entry in entries_of(leaf):
            if entry.file < 0:
                continue
            pieces = file_pieces(reader, page, entry.file, lambda _: None)
            if any(piece.address in addresses for piece in pieces):
                found.append(entry.below)
                if len(found) >= most:
                    return found
    return found


# --- blocks ----------------------------------------------------------------------------------


def part_of(block: bytes, offset: int, length: int, what: str) -> memoryview:
    """Return a piece of an opened block.

    Raises:
        PointDamagedError: the piece does not lie inside the block.
    """
    if offset < 0 or length < 0 or offset + length > len(block):
        raise PointDamagedError(
            f"{what} is said to lie at {offset} to {offset + length} of a block that has "
            f"{len(block)} bytes"
        )
    return memoryview(block)[offset : offset + length]
