"""Content that lies on a disk twice, at offsets that do not fit clusters or areas.

A file system puts a copied file wherever there is room, at a multiple of 4 KiB. Whole areas and
clusters compared by their hashes find such a copy only by chance. So a few pages of every
area, chosen by what they hold, serve as *anchors*: where one turns up again, the clusters
around it are compared with what lies around the first one. A cluster of a copy then refers to
the block that holds the first, from an offset of its own.

What is compared is the disk itself, read again, and only after its clusters have been hashed:
the bytes that a place stands for are those that hash to what was recorded for it, whatever the
disk shows by now. Memory is bounded: only the areas passed last are remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from strongroom.format.index import CLUSTER
from strongroom.sources.image import is_zero

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.crypto.content import ContentHasher
    from strongroom.sources.image import ImageSource

PAGE: Final = 4096
"""File systems place their files at multiples of this."""
_ONE_IN: Final = 61
"""About as many pages make one anchor: four in an area of 1 MiB."""
_MOST_ANCHORS: Final = 8
_MOST_AREAS: Final = 8192
_TRIES: Final = 2


class Place(NamedTuple):
    """Where a cluster lies and what it hashes to."""

    slot: int
    number: int
    offset: int
    content_hash: bytes


class Anchor(NamedTuple):
    """A page that can be found again."""

    offset: int
    """From the beginning of its area."""
    name: bytes


class _Known(NamedTuple):
    """An area all of whose clusters lie in one block, one behind the other."""

    slot: int
    number: int
    first: int
    """The first cluster, of the area, that lies in the block."""
    offset: int
    """Where that cluster begins in the block."""
    hashes: tuple[bytes | None, ...]
    """From the first to the last that lies there; None for zeros."""
    anchors: Sequence[Anchor]


def anchors_of(data: bytes, hasher: ContentHasher) -> list[Anchor]:
    """Return the anchors of an area, whose length is a multiple of a page."""
    heads = memoryview(data).cast("Q")[:: PAGE // 8].tolist()
    chosen = [index for index, head in enumerate(heads) if head % _ONE_IN == 1]
    with memoryview(data) as view:
        return [
            Anchor(index * PAGE, hasher.digest(view[index * PAGE : (index + 1) * PAGE])[:16])
            for index in chosen[:_MOST_ANCHORS]
        ]


class DiskCopies:
    """Finds clusters whose content lies at another offset of the same disk."""

    def __init__(self, source: ImageSource, hasher: ContentHasher, area_bytes: int) -> None:
        self._source = source
        self._hasher = hasher
        self._area_bytes = area_bytes
        self._areas: OrderedDict[int, _Known] = OrderedDict()
        self._positions: dict[bytes, int] = {}
        """Of anchors, from the beginning of the disk."""
        self._read_again: OrderedDict[int, bytes | None] = OrderedDict()

    def remember(
        self, area: int, anchors: Sequence[Anchor], places: Sequence[Place | None]
    ) -> None:
        """Take note of an area that was placed; later ones may be copies of it."""
        if not anchors:
            return
        used = [index for index, place in enumerate(places) if place is not None]
        if len(used) < 2:
            return
        first, last = used[0], used[-1]
        begin = places[first]
        assert begin is not None
        for index in used:
            place = places[index]
            assert place is not None
            if (place.slot, place.number, place.offset) != (
                begin.slot,
                begin.number,
                begin.offset + (index - first) * CLUSTER,
            ):
                return
        hashes = tuple(place and place.content_hash for place in places[first : last + 1])
        self._areas[area] = _Known(begin.slot, begin.number, first, begin.offset, hashes, anchors)
        for anchor in anchors:
            self._positions[anchor.name] = area * self._area_bytes + anchor.offset
        if len(self._areas) > _MOST_AREAS:
            self._forget_oldest()

    def find(
        self, area: int, data: bytes, anchors: Sequence[Anchor], wanted: dict[int, bytes]
    ) -> dict[int, Place]:
        """Return where clusters of an area lie already.

        Args:
            area: Its number on the disk.
            data: Its content.
            anchors: Its anchors.
            wanted: Clusters of the area that were not found otherwise, with their hashes.

        Returns:
            Places by cluster; none where less than half of what is wanted would be found, since
            the rest is stored cluster by cluster then, which compresses less well.
        """
        if not wanted:
            return {}
        begin = area * self._area_bytes
        distances: dict[int, None] = {}
        for anchor in anchors:
            position = self._positions.get(anchor.name)
            if position is not None and position < begin:
                distances[begin + anchor.offset - position] = None
        for distance in list(distances)[:_TRIES]:
            found: dict[int, Place] = {}
            for index, content_hash in wanted.items():
                place = self._place_of(begin + index * CLUSTER - distance, data, index)
                if place is not None:
                    found[index] = Place(*place, content_hash)
            if 2 * len(found) >= len(wanted):
                return found
        return {}

    def _place_of(self, position: int, data: bytes, index: int) -> tuple[int, int, int] | None:
        """Return slot, number and offset of the cluster at `position`, if it is `data`'s."""
        area, offset = divmod(position, self._area_bytes)
        known = self._areas.get(area)
        if known is None:
            return None
        inside = offset - known.first * CLUSTER
        if inside < 0 or inside + CLUSTER > len(known.hashes) * CLUSTER:
            return None
        content = self._content_of(area, known)
        if content is None:
            return None
        with memoryview(data) as view:
            if not content.startswith(view[index * CLUSTER : (index + 1) * CLUSTER], inside):
                return None
        return known.slot, known.number, known.offset + inside

    def _content_of(self, area: int, known: _Known) -> bytes | None:
        """Return what lies in an area's block, or None where the disk shows something else now."""
        if area in self._read_again:
            return self._read_again[area]
        length = len(known.hashes) * CLUSTER
        content: bytes | None = self._source.read(
            area * self._area_bytes + known.first * CLUSTER, length
        ).ljust(length, b"\0")
        assert content is not None
        with memoryview(content) as view:
            for index, expected in enumerate(known.hashes):
                cluster = view[index * CLUSTER : (index + 1) * CLUSTER]
                if expected != (None if is_zero(cluster) else self._hasher.digest(cluster)):
                    content = None
                    break
        self._read_again[area] = content
        if len(self._read_again) > 2:
            self._read_again.popitem(last=False)
        return content

    def _forget_oldest(self) -> None:
        area, known = self._areas.popitem(last=False)
        for anchor in known.anchors:
            position = area * self._area_bytes + anchor.offset
            if self._positions.get(anchor.name) == position:
                del self._positions[anchor.name]
