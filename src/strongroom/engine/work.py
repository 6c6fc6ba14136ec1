"""What the parts of one session share while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.format.block import PLACE_BITS, BlockAddress

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.clock import Clock
    from strongroom.crypto.content import ContentHasher
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.content import ContentStore
    from strongroom.engine.dedup import DedupIndex
    from strongroom.engine.index_writer import PageStore
    from strongroom.engine.pipeline import BlockPipeline
    from strongroom.engine.progress import Progress
    from strongroom.format.point import DiskRoot, StreamRoot, TreeRoot
    from strongroom.repository.reader import BlockReader
    from strongroom.repository.usage import BlockUsage


_LEAST_BUDGET = 8 << 20


@dataclass(slots=True)
class Wear:
    """Blocks and packs of the state that are mostly dead, and are to be given up.

    A block is stored and removed as a whole, and so is a pack. Once half of what is
    known of a block is dead, or half of a pack's blocks, what lives there is stored again
    from the source, and the old place can go (docs/decisions, "Cluster grouping"). What that
    may cost a session is bounded by what changed anyway.
    """

    lost: dict[tuple[int, int], int] = field(default_factory=dict)
    """Bytes that died, by slot and number, as earlier sessions saw it."""
    places: dict[tuple[int, int], int] = field(default_factory=dict)
    """How many blocks each pack was born with, by slot and ordinal, as far as is known."""
    blocks: frozenset[tuple[int, int]] = frozenset()
    """Blocks to give up, by slot and number."""
    packs: frozenset[tuple[int, int]] = frozenset()
    """Packs to give up, by slot and ordinal."""
    budget: int = _LEAST_BUDGET
    """Bytes that may still be stored again for the sake of giving up."""

    @property
    def active(self) -> bool:
        """Whether anything is to be given up at all."""
        return bool(self.blocks or self.packs)

    def lose(self, slot: int, number: int, byte_count: int) -> None:
        """So many bytes of a block are no longer used where they were."""
        key = (slot, number)
        self.lost[key] = self.lost.get(key, 0) + byte_count

    def regain(self, slot: int, number: int, byte_count: int) -> None:
        """So many bytes of a block were recognised: what moved is not dead."""
        self.lose(slot, number, -byte_count)

    def is_doomed(self, slot: int, number: int) -> bool:
        """Tell whether a block is to be given up."""
        return (slot, number) in self.blocks or (slot, number >> PLACE_BITS) in self.packs

    def earn(self, byte_count: int) -> None:
        """So much was stored because it changed: as much may be stored again."""
        self.budget += byte_count

    def spend(self, byte_count: int) -> bool:
        """Tell whether so much may be stored again, and count it."""
        if byte_count > self.budget:
            return False
        self.budget -= byte_count
        return True


@dataclass(slots=True, kw_only=True)
class Work:
    """A running session's tools."""

    pipeline: BlockPipeline
    hasher: ContentHasher
    dedup: DedupIndex
    pages: PageStore
    content: ContentStore
    reusable: Callable[[int, int], bool]
    own_slot: int
    reader: BlockReader | None
    """Reads the state before; none in a chain's first session."""
    wear: Wear
    block_size: int
    clock: Clock
    progress: Progress
    cancel: Cancellation
    workers: int = 2


@dataclass(slots=True)
class SourceOutcome:
    """What reading one source came to."""

    root: TreeRoot | DiskRoot | StreamRoot
    usage: BlockUsage
    size_bytes: int = 0
    read_bytes: int = 0
    changed_bytes: int = 0
    files: int = 0
    recognition: bytes = b""


__all__ = ["BlockAddress", "SourceOutcome", "Wear", "Work"]
