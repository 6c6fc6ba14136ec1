"""Opening everything that points need, without restoring any of it.

Every page of every index is opened and checked, every block is opened once however many points
use it, every piece has to lie inside its block, and the public block set of each point has to
name every block the point uses: one it missed would be removed by prune, unseen by any reader
until the restore. Nothing that is found ends the work; the report has all of it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from strongroom.engine.blocks_ahead import workers_for
from strongroom.engine.index_reader import (
    effect_of,
    effect_together,
    effects_in,
    paths_using,
)
from strongroom.engine.listing import absolute
from strongroom.engine.memory import keep_large_buffers
from strongroom.engine.selection import source_path
from strongroom.errors import (
    IntegrityError,
    MalformedError,
    ObjectMissingError,
    PointDamagedError,
    StrongroomError,
)
from strongroom.format.block import PLACE_BITS, BlockAddress, BlockClass
from strongroom.format.codec import decode
from strongroom.format.index import (
    CLUSTER,
    DISK_FAN_OUT,
    HOLE,
    LEAF_CLUSTERS,
    NOT_INLINE,
    ChunkNode,
    ChunkPage,
    DiskLeaf,
    DiskNode,
    RecognitionPage,
    TreeNode,
    TreePage,
    check_chunk_node,
    check_chunk_page,
    check_disk_leaf,
    check_disk_node,
    check_tree_node,
    check_tree_page,
)
from strongroom.format.point import DiskRoot, StreamRoot, TreeRoot
from strongroom.model.phrases import counted
from strongroom.repository.state import StateBlocks

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.points import PointView
    from strongroom.engine.progress import Progress
    from strongroom.repository.reader import BlockReader

Pair = tuple[int, int]

_PLACE_MASK: Final = (1 << PLACE_BITS) - 1
_MOST_PATHS: Final = 20
_MOST_DAMAGES: Final = 1000
_SHOWN: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Something that is not what was written, and what it concerns."""

    object: str | None
    """The pack that holds it; None where it lies in what the point itself says."""
    block: int | None
    """Number of the block in its session; None where a whole pack is missing."""
    session: str | None
    reason: str
    points: list[str]
    """Ids of the points that need it."""
    paths: list[str]
    """Of the newest of these, up to 20 paths with content in it, as far as they are known."""


@dataclass(slots=True, kw_only=True)
class VerifyReport:
    """What a verification found."""

    points: int = 0
    blocks: int = 0
    """Blocks that opened, pages of indexes included."""
    bytes: int = 0
    """What they hold."""
    seconds: float = 0.0
    damaged: list[Damage] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.damaged

    def text(self) -> str:
        """Return the report for people."""
        lines = [
            f"{counted(self.points, 'point')}: {counted(self.blocks, 'block')} opened, "
            f"{counted(self.bytes, 'byte')}, in {self.seconds:.1f} s"
        ]
        for damage in self.damaged[:_SHOWN]:
            lines.append(f"damaged: {damage.reason}")
            lines.append(f"  points: {', '.join(damage.points)}")
            lines.extend(f"  path: {path!r}" for path in damage.paths)
        if len(self.damaged) > _SHOWN:
            lines.append(f"and {len(self.damaged) - _SHOWN} more")
        lines.append("everything opens" if self.ok else f"{len(self.damaged)} damages")
        return "\n".join(lines)


def verify(views: Sequence[PointView], *, progress: Progress, cancel: Cancellation) -> VerifyReport:
    """Open everything that these points need.

    Raises:
        UnlockError: no key at hand opens one of them, or its data.
        CancelledError: on request.
    """
    keep_large_buffers()
    begun = time.monotonic()
    report = VerifyReport(points=len(views))
    by_chain: dict[bytes, list[PointView]] = {}
    for view in views:
        view.opened()
        view.hasher()
        by_chain.setdefault(view.chain.chain_id, []).append(view)
    for members in by_chain.values():
        _ChainVerification(members, report, progress, cancel).run()
    report.seconds = time.monotonic() - begun
    return report


# --- pages -----------------------------------------------------------------------------------


class _Ref(NamedTuple):
    """A page to look at, and what refers to it says of it."""

    pair: Pair
    kind: str
    level: int
    claim: tuple[object, ...] = ()
    """What the page has to be; empty where nothing is said."""
    place: int = 0
    """Of a disk's page: its place in the node above."""


class _Seen:
    """A page that was opened: what it refers to, and what it is."""

    __slots__ = ("claim", "clusters", "error", "refs", "used")

    def __init__(self) -> None:
        self.refs: list[_Ref] = []
        self.used: dict[Pair, int] = {}
        """Places of data blocks as bits, by slot and pack ordinal."""
        self.claim: tuple[object, ...] = ()
        self.clusters = 0
        """How many clusters a disk needs at least to have such a page at its place."""
        self.error: StrongroomError | None = None


class _ChainVerification:
    """Points of one chain, which share pages and blocks."""

    def __init__(
        self,
        views: Sequence[PointView],
        report: VerifyReport,
        progress: Progress,
        cancel: Cancellation,
    ) -> None:
        self._views = views
        self._report = report
        self._progress = progress
        self._cancel = cancel
        self._seen: dict[tuple[Pair, str, int], _Seen] = {}
        self._ends: dict[Pair, int] = {}
        """How far into each data block pieces reach."""
        self._readers: dict[int, BlockReader] = {}
        """By slot: the reader of a point that uses the session."""
        self._used: list[dict[Pair, int]] = []
        """Of each point, places by slot and ordinal, its index included."""
        self._told: dict[tuple[Pair | None, str], Damage] = {}
        self._lock = threading.Lock()

    def run(self) -> None:
        self._progress.begin("read indexes")
        for view in self._views:
            self._cancel.check()
            self._used.append(self._walk(view))
        self._check_sets()
        self._open_data()
        self._progress.finish()

    def _walk(self, view: PointView) -> dict[Pair, int]:
        """Look at every page of a point that no point before it had; return what it uses."""
        used: dict[Pair, int] = {}
        reader = view.reader()
        reader.expect_whole_index()
        root = view.opened().root
        # Of pages of a disk: how many clusters of it are left from their first one on.
        pending: list[tuple[_Ref, int]] = []
        if isinstance(root, DiskRoot):
            clusters = -(-root.size // CLUSTER)
            if root.page is not None:
                pending.append((_Ref(root.page, "disk", root.levels), clusters))
        elif isinstance(root, StreamRoot):
            if root.page is not None:
                pending.append((_Ref(root.page, "chunks", root.levels, (root.size,)), 0))
        else:
            pending.append((_Ref(root.page, "tree", root.levels), 0))
            if root.recognition is not None:
                pending.append((_Ref(root.recognition, "recognition", 0), 0))
        while pending:
            ref, room = pending.pop()
            self._cancel.check()
            key = (ref.pair, ref.kind, ref.level)
            page = self._seen.get(key)
            if page is None:
                page = self._seen[key] = self._look(reader, ref)
            self._use(reader, used, (ref.pair[0], ref.pair[1] >> PLACE_BITS), _bit(ref.pair))
            for pack, bits in page.used.items():
                self._use(reader, used, pack, bits)
            if page.error is not None:
                self._add(ref.pair, page.error, [view])
            elif (ref.claim and page.claim != ref.claim) or page.clusters > room:
                self._add(
                    ref.pair,
                    MalformedError("a page of an index is not what the page above says of it"),
                    [view],
                )
            span = LEAF_CLUSTERS * DISK_FAN_OUT ** max(0, ref.level - 1)
            pending.extend((below, max(0, room - below.place * span)) for below in page.refs)
        return used

    def _use(self, reader: BlockReader, used: dict[Pair, int], pack: Pair, bits: int) -> None:
        self._readers.setdefault(pack[0], reader)
        used[pack] = used.get(pack, 0) | bits

    def _look(self, reader: BlockReader, ref: _Ref) -> _Seen:
        """Open a page and check it."""
        page = _Seen()
        try:
            data = reader.read(BlockAddress(*ref.pair), BlockClass.INDEX)
            self._report.blocks += 1
            self._report.bytes += len(data)
            self._progress.advance(len(data))
            if ref.kind == "tree":
                self._look_at_tree(page, data, ref.level)
            elif ref.kind == "chunks":
                self._look_at_chunks(page, data, ref.level)
            elif ref.kind == "disk":
                self._look_at_disk(page, data, ref.level)
            else:
                seen = decode(RecognitionPage, data, "a recognition page")
                page.claim = (len(seen.ctimes),)
                if len(seen.inodes) != len(seen.ctimes):
                    raise MalformedError("a recognition page has columns of different lengths")
        except IntegrityError as error:
            page.error = error
        return page

    def _look_at_tree(self, page: _Seen, data: bytes, level: int) -> None:
        if level:
            node = check_tree_node(decode(TreeNode, data, "a node of a tree's index"), level)
            page.claim = effect_together(effects_in(node))
            for pair, effect in zip(node.pages, effects_in(node), strict=True):
                page.refs.append(_Ref(pair, "tree", level - 1, effect))
            for pair, entries in zip(node.recognition, node.entries, strict=False):
                page.refs.append(_Ref(pair, "recognition", 0, (entries,)))
            return
        leaf = check_tree_page(decode(TreePage, data, "a page of a tree's index"))
        page.claim = effect_of(leaf)
        self._count(page, leaf)
        sizes = [size for size, n in zip(leaf.sizes, leaf.counts, strict=True) if n == NOT_INLINE]
        for (levels, slot, number), size in zip(leaf.chunk_lists, sizes, strict=True):
            page.refs.append(_Ref((slot, number), "chunks", levels, (size,)))

    def _look_at_chunks(self, page: _Seen, data: bytes, level: int) -> None:
        if level:
            node = check_chunk_node(decode(ChunkNode, data, "a node of a chunk list"))
            page.claim = (sum(node.lengths),)
            for pair, length in zip(node.pages, node.lengths, strict=True):
                page.refs.append(_Ref(pair, "chunks", level - 1, (length,)))
            return
        chunks = check_chunk_page(decode(ChunkPage, data, "a page of a chunk list"))
        page.claim = (sum(chunks.piece_lengths),)
        self._count(page, chunks)

    def _look_at_disk(self, page: _Seen, data: bytes, level: int) -> None:
        if level:
            node = check_disk_node(decode(DiskNode, data, "a node of a disk's map"))
            below = LEAF_CLUSTERS * DISK_FAN_OUT ** (level - 1)
            page.clusters = (len(node.children) - 1) * below + 1
            for place, pair in enumerate(node.children):
                if pair is not None:
                    page.refs.append(_Ref(pair, "disk", level - 1, (), place))
            return
        leaf = check_disk_leaf(decode(DiskLeaf, data, "a page of a disk's map"))
        page.clusters = leaf.starts[-1] + leaf.counts[-1]
        for block, offset, count in zip(
            leaf.run_blocks, leaf.run_offsets, leaf.counts, strict=True
        ):
            self._reach(page, leaf.blocks[block], offset + count * CLUSTER)

    def _count(self, page: _Seen, pieces: TreePage | ChunkPage) -> None:
        for block, offset, length in zip(
            pieces.piece_blocks, pieces.piece_offsets, pieces.piece_lengths, strict=True
        ):
            if block != HOLE:
                self._reach(page, pieces.blocks[block], offset + length)

    def _reach(self, page: _Seen, pair: Pair, end: int) -> None:
        """Note that a piece ends there in a data block."""
        pack = (pair[0], pair[1] >> PLACE_BITS)
        page.used[pack] = page.used.get(pack, 0) | _bit(pair)
        if end > self._ends.get(pair, 0):
            self._ends[pair] = end

    # --- blocks ----------------------------------------------------------------------------

    def _check_sets(self) -> None:
        """See that prune would keep every block that a point uses."""
        for view, used in zip(self._views, self._used, strict=True):
            public = StateBlocks(view.chain, view.live.body)
            missing = 0
            try:
                for (slot, ordinal), bits in used.items():
                    missing += (bits & ~public.bits(slot, ordinal)).bit_count()
            except IntegrityError as error:
                self._add(None, error, [view])
                continue
            if missing:
                self._add(
                    None,
                    PointDamagedError(
                        f"the public block set of point {view.id} lacks {missing} blocks that the "
                        "point uses: prune would remove them"
                    ),
                    [view],
                )

    def _open_data(self) -> None:
        """Open every data block, pack by pack in the order in which they lie there."""
        by_pack: dict[Pair, list[Pair]] = {}
        for pair in self._ends:
            by_pack.setdefault((pair[0], pair[1] >> PLACE_BITS), []).append(pair)
        self._progress.begin("open blocks")
        pending: deque[Future[list[tuple[Pair, StrongroomError]]]] = deque()
        workers = workers_for(self._views[0].reader())
        with ThreadPoolExecutor(workers, "open") as pool:
            try:
                for pack in sorted(by_pack):
                    self._cancel.check()
                    while len(pending) >= 2 * workers:
                        self._take(pending.popleft().result())
                    pending.append(pool.submit(self._open_pack, by_pack[pack]))
                while pending:
                    self._take(pending.popleft().result())
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _open_pack(self, pairs: list[Pair]) -> list[tuple[Pair, StrongroomError]]:
        """Open blocks of one pack; runs on a worker."""
        reader = self._readers[pairs[0][0]]
        damaged: list[tuple[Pair, StrongroomError]] = []
        blocks = count = 0
        try:
            pairs.sort(key=lambda pair: reader.offset(BlockAddress(*pair), BlockClass.DATA))
        except IntegrityError:
            pairs.sort()  # some are in no ledger, and will say so
        addresses = (BlockAddress(*pair) for pair in pairs)
        for pair, (address, stored) in zip(
            pairs, reader.with_stored(addresses, BlockClass.DATA), strict=False
        ):
            if self._cancel.requested:
                break
            try:
                length = len(reader.read_uncached(address, BlockClass.DATA, stored))
                if length < self._ends[pair]:
                    raise PointDamagedError(
                        f"block {pair[1]} of session {pair[0]} has {length} bytes, and a piece "
                        f"is said to end at {self._ends[pair]}"
                    )
            except ObjectMissingError as error:
                damaged.append((pair, error))
                break
            except IntegrityError as error:
                damaged.append((pair, error))
                continue
            blocks += 1
            count += length
            self._progress.advance(length)
        with self._lock:
            self._report.blocks += blocks
            self._report.bytes += count
        return damaged

    def _take(self, damaged: list[tuple[Pair, StrongroomError]]) -> None:
        for pair, error in damaged:
            pack = (pair[0], pair[1] >> PLACE_BITS)
            bits = -1 if isinstance(error, ObjectMissingError) else _bit(pair)
            concerned = [
                view
                for view, used in zip(self._views, self._used, strict=True)
                if used.get(pack, 0) & bits
            ]
            addresses = {
                BlockAddress(*other)
                for other in (self._ends if bits == -1 else (pair,))
                if (other[0], other[1] >> PLACE_BITS) == pack
            }
            self._add(pair, error, concerned, addresses)

    # --- report ----------------------------------------------------------------------------

    def _add(
        self,
        pair: Pair | None,
        error: StrongroomError,
        views: Sequence[PointView],
        addresses: Collection[BlockAddress] = (),
    ) -> None:
        """Put a damage into the report, or another point to one that is there."""
        known = self._told.get((pair, str(error)))
        if known is not None:
            known.points.extend(view.id for view in views)
            return
        if len(self._report.damaged) >= _MOST_DAMAGES:
            return
        fields = error.fields
        missing = isinstance(error, ObjectMissingError)
        damage = Damage(
            object=_text(fields.get("object")),
            block=None if missing or pair is None else pair[1],
            session=_text(fields.get("session")),
            reason=str(error),
            points=[view.id for view in views],
            paths=self._paths(views, addresses),
        )
        self._told[(pair, str(error))] = damage
        self._report.damaged.append(damage)

    def _paths(self, views: Sequence[PointView], addresses: Collection[BlockAddress]) -> list[str]:
        """Return paths with content in some blocks, of the newest point that has them."""
        if not addresses or not views:
            return []
        view = views[-1]
        details = view.opened()
        if not isinstance(details.root, TreeRoot):
            return [details.source.partition(":")[2]]
        base = source_path(details.source)
        with suppress(StrongroomError):
            found = paths_using(view.reader(), details.root, addresses, _MOST_PATHS)
            return [absolute(base, below) for below in found]
        return []


def _bit(pair: Pair) -> int:
    return 1 << (pair[1] & _PLACE_MASK)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
