"""Which blocks a state uses, and how many bytes of each are live.

Counted anew from every page of the state's indexes, never by adding and subtracting: a block
that this count misses is a block that prune removes. `verify` counts again and compares.

A large disk comes to have millions of small blocks with age, and all of them are here: hence the
arrays, ten bytes a block where a dictionary took ninety.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

from strongroom.format.block import PLACE_BITS, BlockAddress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PLACE_MASK = (1 << PLACE_BITS) - 1


class _UsedPlaces:
    """The used places of one pack, ascending, and the live bytes of each."""

    __slots__ = ("live", "places")

    def __init__(self) -> None:
        self.places = array("H")
        self.live = array("Q")

    def add(self, place: int, live_bytes: int) -> None:
        places = self.places
        # Mostly a place is the next one, or the last once more.
        if not places or place > places[-1]:
            places.append(place)
            self.live.append(live_bytes)
            return
        at = bisect_left(places, place)
        if places[at] == place:
            self.live[at] += live_bytes
        else:
            places.insert(at, place)
            self.live.insert(at, live_bytes)

    def live_bytes(self, place: int) -> int:
        at = bisect_left(self.places, place)
        return self.live[at] if at < len(self.places) and self.places[at] == place else 0

    def __contains__(self, place: int) -> bool:
        at = bisect_left(self.places, place)
        return at < len(self.places) and self.places[at] == place


class BlockUsage:
    """Live bytes by block address, grouped by pack."""

    def __init__(self) -> None:
        self._packs: dict[tuple[int, int], _UsedPlaces] = {}

    def add(self, slot: int, number: int, live_bytes: int) -> None:
        """Count `live_bytes` more of a block; a page of an index counts with what it is long."""
        key = (slot, number >> PLACE_BITS)
        used = self._packs.get(key)
        if used is None:
            used = self._packs[key] = _UsedPlaces()
        used.add(number & _PLACE_MASK, live_bytes)

    def add_all(self, other: BlockUsage) -> None:
        """Count everything that `other` counted."""
        for key, theirs in other._packs.items():
            used = self._packs.get(key)
            if used is None:
                used = self._packs[key] = _UsedPlaces()
            for place, live in zip(theirs.places, theirs.live, strict=True):
                used.add(place, live)

    def live_bytes(self, slot: int, number: int) -> int:
        used = self._packs.get((slot, number >> PLACE_BITS))
        return 0 if used is None else used.live_bytes(number & _PLACE_MASK)

    def live_bytes_of_pack(self, slot: int, ordinal: int) -> int:
        used = self._packs.get((slot, ordinal))
        return 0 if used is None else sum(used.live)

    def __contains__(self, address: BlockAddress) -> bool:
        used = self._packs.get((address.slot, address.ordinal))
        return used is not None and address.place in used

    def __iter__(self) -> Iterator[BlockAddress]:
        for (slot, ordinal), used in self._packs.items():
            for place in used.places:
                yield BlockAddress(slot, ordinal << PLACE_BITS | place)

    def slots(self) -> set[int]:
        return {slot for slot, _ in self._packs}

    def bitmaps(self) -> dict[tuple[int, int], int]:
        """Return, by slot and pack ordinal, an integer whose bit i stands for place i."""
        return {key: _bits(used.places) for key, used in self._packs.items()}


def _bits(places: Iterable[int]) -> int:
    bits = 0
    for place in places:
        bits |= 1 << place
    return bits
