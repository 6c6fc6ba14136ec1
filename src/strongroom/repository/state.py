"""The blocks that a published state uses, looked up in its public block sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.format.block import PLACE_BITS
from strongroom.format.tables import PackSet, places_of

if TYPE_CHECKING:
    from strongroom.format.journal import SessionBody
    from strongroom.format.paging import Table
    from strongroom.repository.chain import Chain

_PLACE_MASK = (1 << PLACE_BITS) - 1


class StateBlocks:
    """Membership in a state's block sets; pages are read as they are asked for."""

    def __init__(self, chain: Chain, body: SessionBody | None) -> None:
        self._chain = chain
        self._sets = chain.sets(body) if body else None
        self._tables: dict[int, Table[PackSet] | None] = {}
        self._bits: dict[tuple[int, int], int] = {}

    def contains(self, slot: int, number: int) -> bool:
        """Tell whether the state uses the block."""
        return bool(self.bits(slot, number >> PLACE_BITS) >> (number & _PLACE_MASK) & 1)

    def bits(self, slot: int, ordinal: int) -> int:
        """Return the used places of one pack as the bits of an integer."""
        key = (slot, ordinal)
        bits = self._bits.get(key)
        if bits is None:
            table = self._table(slot)
            record = table.get(ordinal) if table else None
            bits = self._bits[key] = places_of(record.used) if record else 0
        return bits

    def all_bits(self) -> dict[tuple[int, int], int]:
        """Return, by slot and pack ordinal, the used places of every pack."""
        if self._sets is None:
            return {}
        found = {}
        for slot, record in self._sets.items():
            for ordinal, packs in self._chain.pack_sets(record).items():
                found[(slot, ordinal)] = places_of(packs.used)
        return found

    def _table(self, slot: int) -> Table[PackSet] | None:
        if slot not in self._tables:
            record = self._sets.get(slot) if self._sets else None
            self._tables[slot] = self._chain.pack_sets(record) if record else None
        return self._tables[slot]
