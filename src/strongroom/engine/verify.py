"""Opening everything that points need, without restoring any of it.

Every page of every index is opened and checked, every block is opened once however many points
use it, every piece has to lie inside its block, and the public block set of each point has to
name every block the point uses: one it missed would be removed by prune, unseen by any reader
until the restore. Nothing that is found ends the work; the report has all of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from strongroom.engine.index_reader import check_leaf_alone, tree_effect
from strongroom.errors import (
    IntegrityError,
    MalformedError,
    StrongroomError,
)
from strongroom.format.block import PLACE_BITS, BlockAddress, BlockClass
from strongroom.format.codec import decode
from strongroom.format.index import (
    ChunkNode,
    ChunkPage,
    TreeNode,
    TreePage,
    check_chunk_node,
    check_chunk_page,
    check_tree_node,
    check_tree_page,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.points import PointView
    from strongroom.engine.progress import Progress
    from strongroom.repository.reader import BlockReader

Pair = tuple[int, int]

_PLACE_MASK: Final = (1 << PLACE_BITS) - 1
_MOST_PATHS: Final = 20
_MOST_DAMAGES: Final = 1000
_SHOWN: Final = 50
_BATCH_BYTES: Final = 2 << 20
_IN_FLIGHT: Final = 8


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
            f"{self.points} points: {self.blocks} blocks opened, {self.bytes} bytes, "
            f"in {self.seconds:.1f} s"
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


class _Seen:
    """A page that was opened: what it refers to, and what it is."""

    __slots__ = ("claim", "error", "refs", "used")

    def __init__(self) -> None:
        self.refs: list[_Ref] = []
        self.used: dict[Pair, int] = {}
        """Places of data blocks as bits, by slot and pack ordinal."""
        self.claim: tuple[object, ...] = ()
        self.error: StrongroomError | None = None

    def use(self, pair: Pair) -> None:
        key = (pair[0], pair[1] >> PLACE_BITS)
        self.used[key] = self.used.get(key, 0) | 1 << (pair[1] & _PLACE_MASK)


class _Found(NamedTuple):
    """A damage before it is known whom it concerns."""

    pair: Pair | None
    whole_pack: bool
    error: StrongroomError


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
        self._page: _Seen = _Seen()

    def run(self) -> None:
        self._progress.begin("read indexes")
        for view in self._views:
            self._cancel.check()
            self._used.append(self._walk(view))
        self._check_sets()
        for found in self._open_data():
            self._tell(found)
        self._progress.finish()

    def _walk(self, view: PointView) -> dict[Pair, int]:
        """Look at every page of a point that no point before it had; return what it uses."""
        used: dict[Pair, int] = {}
        reader = view.reader()
        pending = list(_roots(view))
        while pending:
            ref = pending.pop()
            key = (ref.pair, ref.kind, ref.level)
            page = self._seen.get(key)
            if page is None:
                page = self._seen[key] = self._look(reader, ref)
            self._readers.setdefault(ref.pair[0], reader)
            own = (ref.pair[0], ref.pair[1] >> PLACE_BITS)
            used[own] = used.get(own, 0) | 1 << (ref.pair[1] & _PLACE_MASK)
            for place, bits in page.used.items():
                self._readers.setdefault(place[0], reader)
                used[place] = used.get(place, 0) | bits
            if page.error is not None:
                self._add(page.error, ref.pair, [view])
            elif ref.claim and page.claim != ref.claim:
                error = MalformedError("a page of an index is not what the page above says of it")
                self._add(error, ref.pair, [view])
            pending.extend(page.refs)
        return used

    def _look(self, reader: BlockReader, ref: _Ref) -> _Seen:
        """Open a page and check it."""
        self._page = page = _Seen()
        try:
            data = reader.read(BlockAddress(*ref.pair), BlockClass.INDEX)
            self._report.blocks += 1
            self._report.bytes += len(data)
            self._progress.advance(len(data))
            if ref.kind == "tree":
                self._look_at_tree(reader, data, ref)
            elif ref.kind == "chunks":
                self._look_at_chunks(data, ref)
            elif ref.kind == "disk":
                self._look_at_disk(data, ref)
        except IntegrityError as error:
            page.error = error
        return page

    def _look_at_tree(self, reader: BlockReader, data: bytes, ref: _Ref) -> None:
        page = self._page
        if ref.level:
            node = check_tree_node(decode(TreeNode, data, "a node of a tree's index"), ref.level)
            effects = list(
                zip(node.entries, node.leaves, map(tuple, node.enters), node.firsts, strict=True)
            )
            page.claim = _composed(effects)
            page.refs.extend(
                _Ref(pair, "tree", ref.level - 1, effect)
                for pair, effect in zip(node.pages, effects, strict=True)
            )
            if ref.level == 1:
                for pair, leaf in zip(node.recognition, node.entries, strict=True):
                    page.refs.append(_Ref(pair, "recognition", 0, (leaf,)))
            return
        leaf_page = check_tree_page(decode(TreePage, data, "a page of a tree's index"))
        check_leaf_alone(leaf_page)
        page.claim = tree_effect(leaf_page)
        self._count(leaf_page)
        file = chunk = 0
        for size, count in zip(leaf_page.sizes, leaf_page.counts, strict=True):
            if count < 0:
                levels, slot, number = leaf_page.chunk_lists[chunk]
                page.refs.append(_Ref((slot, number), "chunks", levels, (size,)))
                chunk += 1
            file += 1

    def _look_at_chunks(self, data: bytes, ref: _Ref) -> None:
        page = self._page
        if ref.level:
            node = check_chunk_node(decode(ChunkNode, data, "a node of a chunk list"))
            page.claim = (sum(node.lengths),)
            page.refs.extend(
                _Ref(pair, "chunks", ref.level - 1, (length,))
                for pair, length in zip(node.pages, node.lengths, strict=True)
            )
            return
        chunks = check_chunk_page(decode(ChunkPage, data, "a page of a chunk list"))
        page.claim = (sum(chunks.piece_lengths),)
        self._count(chunks)
