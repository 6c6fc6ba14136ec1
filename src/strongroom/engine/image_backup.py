"""Backing up a disk: compared cluster by cluster with the point before.

The disk is read area by area (an area is as long as the job's block size). An area all of
whose clusters are new is sealed as one block; in any other, each changed cluster is sealed by
itself. So an area holds at most one whole block and singles, and however writes are
scattered, what is stored stays under twice what is live (`disk_policy`). What lies elsewhere on
the disk already is referred to there (`disk_copies`).

Reading and hashing run on workers ahead of the comparison; holes are not read where the file
system can tell, and zeros are not stored.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from strongroom.engine.disk_copies import Anchor, DiskCopies, Place, anchors_of
from strongroom.engine.disk_policy import Seal, plan_area
from strongroom.engine.index_writer import DiskIndexWriter, disk_levels
from strongroom.engine.work import SourceOutcome, Work
from strongroom.errors import MalformedError
from strongroom.format.block import BlockAddress, BlockClass
from strongroom.format.codec import decode
from strongroom.format.index import (
    CLUSTER,
    DISK_FAN_OUT,
    LEAF_CLUSTERS,
    DiskLeaf,
    DiskNode,
    check_disk_leaf,
)
from strongroom.format.point import DiskRoot
from strongroom.repository.usage import BlockUsage
from strongroom.sources.image import ImageSource, is_zero

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.repository.reader import BlockReader

_AHEAD = 6
"""Areas that may be read and hashed before they are compared."""


class _Area(NamedTuple):
    """An area as it was read."""

    data: bytes
    hashes: list[bytes | None]
    """One a cluster; None for zeros."""
    anchors: list[Anchor]


def back_up_image(source: ImageSource, previous: DiskRoot | None, work: Work) -> SourceOutcome:
    """Read a disk and write its index.

    Args:
        source: The disk, opened.
        previous: The root of the same source's newest index, if there is one.
        work: The session's tools.

    Raises:
        SourceUnavailableError: a part of the disk cannot be read.
    """
    return _ImageBackup(source, previous, work).run()


class _ImageBackup:
    def __init__(self, source: ImageSource, previous: DiskRoot | None, work: Work) -> None:
        self._source = source
        self._work = work
        self._previous = previous
        self._clusters_in_area = work.block_size // CLUSTER
        self._copies = DiskCopies(source, work.hasher, work.block_size)
        self._usage = BlockUsage()
        self._index = DiskIndexWriter(work.pages, self._usage)
        self._outcome = SourceOutcome(DiskRoot(0, None, 0, 0), self._usage)
        self._old_leaves: dict[int, tuple[int, int]] = (
            old_leaves(work.reader, previous) if previous and work.reader else {}
        )

    def run(self) -> SourceOutcome:
        """Compare every area in order and put the leaves together as they fill."""
        size = self._source.size
        clusters = -(-size // CLUSTER)
        leaf_count = -(-clusters // LEAF_CLUSTERS)
        step = self._clusters_in_area
        places: list[Place | None] = []
        old: list[Place | None] = []
        next_leaf = 0
        loaded = 0
        kept: dict[int, DiskLeaf | None] = {}
        with ThreadPoolExecutor(self._work.workers, "read") as pool:
            for first, area in self._areas(pool, clusters):
                self._work.cancel.check()
                end = min(first + step, clusters)
                while loaded * LEAF_CLUSTERS < end:
                    leaf = self._old_leaf(loaded)
                    kept[loaded] = leaf
                    old.extend(_places(leaf))
                    loaded += 1
                base = next_leaf * LEAF_CLUSTERS
                places.extend(self._compare(first, end, area, old[first - base : end - base]))
                while len(places) >= LEAF_CLUSTERS:
                    self._put_leaf(next_leaf, places, old, kept.pop(next_leaf))
                    del places[:LEAF_CLUSTERS]
                    del old[:LEAF_CLUSTERS]
                    next_leaf += 1
        if places:
            self._put_leaf(next_leaf, places, old, kept.pop(next_leaf))
        outcome = self._outcome
        outcome.root = self._index.finish(size, self._work.block_size)
        outcome.size_bytes = size
        outcome.files = 1
        assert isinstance(outcome.root, DiskRoot)
        assert outcome.root.levels == disk_levels(leaf_count)
        return outcome

    # --- reading -----------------------------------------------------------------------------

    def _areas(self, pool: ThreadPoolExecutor, clusters: int) -> Iterator[tuple[int, _Area | None]]:
        """Yield every area in order with its first cluster; None for one that is a hole."""
        step = self._clusters_in_area
        wanted = self._data_areas(step * CLUSTER)
        ahead: deque[tuple[int, Future[_Area]]] = deque()
        upcoming = next(wanted, None)
        for first in range(0, clusters, step):
            while upcoming is not None and len(ahead) < _AHEAD:
                start, end = upcoming
                ahead.append((start // CLUSTER, pool.submit(self._read_area, start, end)))
                upcoming = next(wanted, None)
            if ahead and ahead[0][0] == first:
                yield first, ahead.popleft()[1].result()
            else:
                yield first, None

    def _data_areas(self, length: int) -> Iterator[tuple[int, int]]:
        """Yield begin and end of every area that may hold data."""
        size = self._source.size
        last = -1
        for extent in self._source.extents():
            first = extent.offset // length
            end = -(-(extent.offset + extent.length) // length)
            for area in range(max(first, last + 1), end):
                yield area * length, min((area + 1) * length, size)
                last = area

    def _read_area(self, start: int, end: int) -> _Area:
        """Read an area and hash its clusters; runs on a worker."""
        data = self._source.read(start, end - start)
        if len(data) % CLUSTER:
            data = data.ljust(-(-len(data) // CLUSTER) * CLUSTER, b"\0")
        hashes: list[bytes | None] = []
        hasher = self._work.hasher
        with memoryview(data) as view:
            for at in range(0, len(data), CLUSTER):
                cluster = view[at : at + CLUSTER]
                hashes.append(None if is_zero(cluster) else hasher.digest(cluster))
        return _Area(data, hashes, anchors_of(data, hasher))

    # --- comparing ---------------------------------------------------------------------------

    def _compare(
        self, first: int, end: int, area: _Area | None, old: list[Place | None]
    ) -> list[Place | None]:
        """Return where the area's clusters lie from now on."""
        work, outcome = self._work, self._outcome
        count = end - first
        if area is None:
            for place in old:
                self._lose(place)
            return [None] * count
        outcome.read_bytes += len(area.data)
        work.progress.advance(len(area.data))
        hashes = area.hashes
        wear = work.wear
        again = 0
        new: list[int] = []
        result: list[Place | None] = []
        for index in range(count):
            before = old[index] if index < len(old) else None
            found = hashes[index]
            if found is None:
                self._lose(before)
                result.append(None)
            elif before is not None and before.content_hash == found:
                if wear.active and wear.gives_up(before.slot, before.number, CLUSTER):
                    new.append(index)
                    again += 1
                    result.append(None)
                else:
                    result.append(before)
            else:
                self._lose(before)
                new.append(index)
                result.append(None)
        if new:
            changed = len(new) - again
            outcome.changed_bytes += changed * CLUSTER
            wear.earn(changed * CLUSTER)
            self._place(first, area, new, result)
        self._copies.remember(first // self._clusters_in_area, area.anchors, result)
        return result

    def _place(self, first: int, area: _Area, new: list[int], result: list[Place | None]) -> None:
        """Find or store the clusters of an area that are not where they were."""
        used = [value is not None for value in area.hashes]
        unknown = [seal for seal in plan_area(new, used) if not self._recognise(area, seal, result)]
        wanted = {
            index: content_hash
            for start, count in unknown
            for index in range(start, start + count)
            if (content_hash := area.hashes[index]) is not None
        }
        number = first // self._clusters_in_area
        wear = self._work.wear
        found = {
            index: place
            for index, place in self._copies.find(number, area.data, area.anchors, wanted).items()
            if not wear.is_doomed(place.slot, place.number)
        }
        if found:
            for index, place in found.items():
                wear.regain(place.slot, place.number, CLUSTER)
                result[index] = place
            singles = [(index, 1) for index in wanted if index not in found]
            unknown = [seal for seal in singles if not self._recognise(area, seal, result)]
        for seal in unknown:
            self._store(area, seal, result)

    def _recognise(self, area: _Area, seal: Seal, result: list[Place | None]) -> bool:
        """Refer to a block with the same content, if there is one; tell if there is."""
        found = self._work.content.recognise(self._name_of(area, seal))
        if found is not None:
            self._refer(area, seal, found[0], found[1], found[2], result)
        return found is not None

    def _store(self, area: _Area, seal: Seal, result: list[Place | None]) -> None:
        work = self._work
        first, count = seal
        part = memoryview(area.data)[first * CLUSTER : (first + count) * CLUSTER]
        # A single cluster is copied, or it would keep its whole area in memory.
        raw: memoryview | bytes = bytes(part) if count == 1 else part
        name = self._name_of(area, seal)
        address = work.pipeline.add(BlockClass.DATA, raw, [(0, len(raw), name)])
        work.dedup.add(name, address.slot, address.number, 0, len(raw))
        work.content.stored_raw_bytes += len(raw)
        self._refer(area, seal, address.slot, address.number, 0, result)

    def _name_of(self, area: _Area, seal: Seal) -> bytes:
        """Return the content hash of a cluster, or the name of a run of them."""
        first, count = seal
        hashes = [one or _ZERO_HASH for one in area.hashes[first : first + count]]
        return hashes[0] if count == 1 else self._work.hasher.of_digests(b"".join(hashes))

    @staticmethod
    def _refer(
        area: _Area, seal: Seal, slot: int, number: int, begin: int, result: list[Place | None]
    ) -> None:
        first, count = seal
        for index in range(count):
            content_hash = area.hashes[first + index]
            if content_hash is not None:
                result[first + index] = Place(slot, number, begin + index * CLUSTER, content_hash)

    def _lose(self, place: Place | None) -> None:
        if place is not None:
            self._work.wear.lose(place.slot, place.number, CLUSTER)

    # --- leaves ------------------------------------------------------------------------------

    def _old_leaf(self, index: int) -> DiskLeaf | None:
        address = self._old_leaves.get(index)
        if address is None or self._work.reader is None:
            return None
        return read_leaf(self._work.reader, address)

    def _put_leaf(
        self,
        index: int,
        places: list[Place | None],
        old: list[Place | None],
        before: DiskLeaf | None,
    ) -> None:
        now = places[:LEAF_CLUSTERS]
        # A page that maps more than a disk cut short has is not its page any more.
        missing = [None] * (LEAF_CLUSTERS - len(now))
        if before is not None and [*now, *missing] == old[:LEAF_CLUSTERS]:
            self._index.keep(self._old_leaves[index], before)
        else:
            self._index.add(leaf_of(now))


_ZERO_HASH = bytes(32)


def leaf_of(places: list[Place | None]) -> DiskLeaf:
    """Return the page that says where these clusters lie."""
    block_of: dict[tuple[int, int], int] = {}
    starts: list[int] = []
    counts: list[int] = []
    run_blocks: list[int] = []
    run_offsets: list[int] = []
    hashes = bytearray()
    previous: Place | None = None
    for index, place in enumerate(places):
        if place is None:
            previous = None
            continue
        hashes += place.content_hash
        block = block_of.setdefault((place.slot, place.number), len(block_of))
        if (
            previous is not None
            and (previous.slot, previous.number) == (place.slot, place.number)
            and previous.offset + CLUSTER == place.offset
        ):
            counts[-1] += 1
        else:
            starts.append(index)
            counts.append(1)
            run_blocks.append(block)
            run_offsets.append(place.offset)
        previous = place
    return DiskLeaf(list(block_of), starts, counts, run_blocks, run_offsets, bytes(hashes))


def _places(leaf: DiskLeaf | None) -> list[Place | None]:
    """Return where each of a leaf's 64 clusters lies."""
    places: list[Place | None] = [None] * LEAF_CLUSTERS
    if leaf is None:
        return places
    at = 0
    for start, count, block, offset in zip(
        leaf.starts, leaf.counts, leaf.run_blocks, leaf.run_offsets, strict=True
    ):
        slot, number = leaf.blocks[block]
        for index in range(count):
            places[start + index] = Place(
                slot, number, offset + index * CLUSTER, leaf.hashes[at : at + 32]
            )
            at += 32
    return places


def read_leaf(reader: BlockReader, address: tuple[int, int]) -> DiskLeaf:
    """Return a leaf of a disk's index."""
    data = reader.read(BlockAddress(*address), BlockClass.INDEX)
    return check_disk_leaf(decode(DiskLeaf, data, "a page of a disk's map"))


def old_leaves(reader: BlockReader, root: DiskRoot) -> dict[int, tuple[int, int]]:
    """Return the addresses of a disk's leaves by their index; all-zero ones are absent."""
    return {index: address for level, index, address in disk_pages(reader, root) if level == 0}


def disk_pages(reader: BlockReader, root: DiskRoot) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Yield level, index in that level and address of every page, top down."""
    if root.page is None:
        return
    if not 0 <= root.levels <= 8:
        raise MalformedError(f"a disk's map claims {root.levels} levels")
    stack = [(root.levels, 0, root.page)]
    while stack:
        level, index, address = stack.pop()
        yield level, index, address
        if level == 0:
            continue
        data = reader.read(BlockAddress(*address), BlockClass.INDEX)
        node = decode(DiskNode, data, "a node of a disk's map")
        if len(node.children) > DISK_FAN_OUT:
            raise MalformedError("a node of a disk's map has too many children")
        stack.extend(
            (level - 1, index * DISK_FAN_OUT + place, child)
            for place, child in enumerate(node.children)
            if child is not None
        )


def count_disk(reader: BlockReader, usage: BlockUsage, root: DiskRoot) -> None:
    """Count every block that a disk's index uses, its pages included."""
    for level, _, address in disk_pages(reader, root):
        usage.add(*address, 1)
        if level == 0:
            leaf = read_leaf(reader, address)
            for block, count in zip(leaf.run_blocks, leaf.counts, strict=True):
                usage.add(*leaf.blocks[block], count * CLUSTER)
