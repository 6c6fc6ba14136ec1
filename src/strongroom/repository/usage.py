"""Which blocks a state uses, and how many bytes of each are live.

Counted anew from every page of the state's indexes, never by adding and subtracting: a block
that this count misses is a block that prune removes. `verify` counts again and compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.format.block import PLACE_BITS, BlockAddress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PLACE_MASK = (1 << PLACE_BITS) - 1


class BlockUsage:
    """Live bytes by block address, grouped by pack."""

    def __init__(self) -> None:
        self._packs: dict[tuple[int, int], dict[int, int]] = {}

    def add(self, slot: int, number: int, live_bytes: int) -> None:
        """Count `live_bytes` more of a block; a page of an index counts with what it is long."""
        key = (slot, number >> PLACE_BITS)
        places = self._packs.get(key)
        if places is None:
            places = self._packs[key] = {}
        place = number & _PLACE_MASK
        places[place] = places.get(place, 0) + live_bytes

    def add_all(self, other: BlockUsage) -> None:
        """Count everything that `other` counted."""
        for key, theirs in other._packs.items():
            places = self._packs.setdefault(key, {})
            for place, live in theirs.items():
                places[place] = places.get(place, 0) + live

    def live_bytes(self, slot: int, number: int) -> int:
        places = self._packs.get((slot, number >> PLACE_BITS))
        return 0 if places is None else places.get(number & _PLACE_MASK, 0)

    def live_bytes_of_pack(self, slot: int, ordinal: int) -> int:
        return sum(self._packs.get((slot, ordinal), {}).values())

    def __contains__(self, address: BlockAddress) -> bool:
        places = self._packs.get((address.slot, address.ordinal))
        return places is not None and address.place in places

    def __iter__(self) -> Iterator[BlockAddress]:
        for (slot, ordinal), places in self._packs.items():
            for place in places:
                yield BlockAddress(slot, ordinal << PLACE_BITS | place)

    def slots(self) -> set[int]:
        return {slot for slot, _ in self._packs}

    def bitmaps(self) -> dict[tuple[int, int], int]:
        """Return, by slot and pack ordinal, an integer whose bit i stands for place i."""
        return {key: _bits(places) for key, places in self._packs.items() if places}


def _bits(places: Iterable[int]) -> int:
    bits = 0
    for place in places:
        bits |= 1 << place
    return bits
