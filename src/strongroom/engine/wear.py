"""Blocks and packs that age has worn or damage has hit, and what the next session gives up.

A block is stored and removed as a whole, and so is a pack. Once half of what is known of a block
is dead, or half of a pack's blocks, what lives there may be stored again from the source, and
the old place can go (docs/decisions, "Cluster grouping").

What that costs a session is bounded by what changed in the one before. So the deadest go first,
and no more of them than fit: were everything worn given up at once, each session would move a
little out of every place and empty none.

A damaged block is given up whatever that costs: a new point is to be whole.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from strongroom.format.block import PLACE_BITS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from strongroom.repository.usage import BlockUsage

_LEAST_BUDGET: Final = 8 << 20


@dataclass(slots=True)
class Wear:
    """What a session knows of the state's dead bytes, and what it is to give up."""

    lost: dict[tuple[int, int], int] = field(default_factory=dict)
    """Bytes that died, by slot and number, as earlier sessions saw it."""
    places: dict[tuple[int, int], int] = field(default_factory=dict)
    """How many blocks each pack was born with, by slot and ordinal, as far as is known."""
    blocks: frozenset[tuple[int, int]] = frozenset()
    """Blocks to give up, by slot and number."""
    packs: frozenset[tuple[int, int]] = frozenset()
    """Packs to give up, by slot and ordinal."""
    budget: int = 0
    """Bytes that may still be stored again for the sake of giving up."""
    changed_bytes: int = 0
    """Bytes that were stored because they changed."""
    damaged: frozenset[tuple[int, int]] = frozenset()
    """Blocks that cannot be read any more, by slot and number, as far as is known."""

    @property
    def active(self) -> bool:
        """Whether anything is to be given up at all."""
        return bool(self.blocks or self.packs or self.damaged)

    def lose(self, slot: int, number: int, byte_count: int) -> None:
        """So many bytes of a block are no longer used where they were."""
        key = (slot, number)
        self.lost[key] = self.lost.get(key, 0) + byte_count

    def regain(self, slot: int, number: int, byte_count: int) -> None:
        """So many bytes of a block were recognised: what moved is not dead."""
        self.lose(slot, number, -byte_count)

    def is_doomed(self, slot: int, number: int) -> bool:
        """Tell whether a block is to be given up."""
        key = (slot, number)
        return (
            key in self.damaged or key in self.blocks or (slot, number >> PLACE_BITS) in self.packs
        )

    def gives_up(self, slot: int, number: int, byte_count: int) -> bool:
        """Tell whether so much of a block is to be stored again now, and count it."""
        if (slot, number) in self.damaged:
            return True
        return self.is_doomed(slot, number) and self.spend(byte_count)

    def earn(self, byte_count: int) -> None:
        """So much was stored because it changed: as much may be stored again next time."""
        self.changed_bytes += byte_count

    def spend(self, byte_count: int) -> bool:
        """Tell whether so much may be stored again, and count it."""
        if byte_count > self.budget:
            return False
        self.budget -= byte_count
        return True

    def successor(self, usage: BlockUsage, born_with: Callable[[int, int], int]) -> Wear:
        """Return what the next session is to know.

        Args:
            usage: What the state uses from now on.
            born_with: Tells how many blocks a pack was born with, by slot and ordinal.
        """
        following = Wear(budget=max(_LEAST_BUDGET, self.changed_bytes))
        worn: list[tuple[float, int, bool, tuple[int, int]]] = []
        """Share that lives, bytes that live, whether it is a pack, and which."""
        for (slot, number), dead in self.lost.items():
            live = usage.live_bytes(slot, number)
            if live and dead > 0:
                following.lost[slot, number] = dead
                if dead >= live:
                    worn.append((live / (live + dead), live, False, (slot, number)))
        for (slot, ordinal), bits in usage.bitmaps().items():
            born = self.places.get((slot, ordinal)) or born_with(slot, ordinal)
            following.places[slot, ordinal] = born
            used = bits.bit_count()
            if 2 * used <= born:
                live = usage.live_bytes_of_pack(slot, ordinal)
                worn.append((used / born, live, True, (slot, ordinal)))
        following._give_up(sorted(worn))
        return following

    def _give_up(self, worn: list[tuple[float, int, bool, tuple[int, int]]]) -> None:
        blocks: set[tuple[int, int]] = set()
        packs: set[tuple[int, int]] = set()
        counted: Counter[tuple[int, int]] = Counter()
        """Live bytes by pack of what is given up already."""
        room = self.budget
        for _, live, is_pack, key in worn:
            if room <= 0:
                # The last one may not fit: a part of it is moved, and the rest next time.
                break
            pack = key if is_pack else (key[0], key[1] >> PLACE_BITS)
            if pack in packs:
                continue
            (packs if is_pack else blocks).add(key)
            room -= live - (counted[pack] if is_pack else 0)
            counted[pack] += live
        self.blocks, self.packs = frozenset(blocks), frozenset(packs)


# --- kept between sessions -------------------------------------------------------------------


class _Kept(msgspec.Struct, array_like=True, frozen=True):
    """A session's wear as its cache keeps it."""

    number: int
    """Of the entry that was published with it."""
    entry_hash: bytes
    lost: list[tuple[int, int, int]]
    places: list[tuple[int, int, int]]
    blocks: list[tuple[int, int]]
    packs: list[tuple[int, int]]
    budget: int


def save_wear(folder: Path, wear: Wear, number: int, entry_hash: bytes) -> None:
    """Keep what the session after the one that published this entry is to know.

    Raises:
        OSError: it could not be written.
    """
    kept = _Kept(
        number,
        entry_hash,
        [(slot, at, count) for (slot, at), count in wear.lost.items()],
        [(slot, at, count) for (slot, at), count in wear.places.items()],
        list(wear.blocks),
        list(wear.packs),
        wear.budget,
    )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = folder / "wear.tmp"
    temporary.write_bytes(msgspec.msgpack.encode(kept))
    temporary.replace(folder / "wear")


def load_wear(folder: Path | None, hash_of: Callable[[int], bytes | None]) -> Wear:
    """Return what the session before kept; nothing when it belongs to another history."""
    if folder is None:
        return Wear()
    try:
        kept = msgspec.msgpack.decode((folder / "wear").read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError):
        return Wear()
    if hash_of(kept.number) != kept.entry_hash:
        return Wear()
    return Wear(
        {(slot, at): count for slot, at, count in kept.lost},
        {(slot, at): count for slot, at, count in kept.places},
        frozenset(kept.blocks),
        frozenset(kept.packs),
        kept.budget,
    )
