"""What the parts of one session share while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.format.block import BlockAddress

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


@dataclass(slots=True)
class Wear:
    """Blocks of the state that lost some of what they hold, and which to give up.

    A block is stored and moved as a whole, so one that is mostly dead costs its full size for
    the little that lives. Once three quarters of what is known of it are dead, what lives is
    stored again and the block can go; `budget` bounds what that may cost a session.
    """

    lost: dict[tuple[int, int], int] = field(default_factory=dict)
    """Bytes that died, by slot and number, as earlier sessions saw it."""
    doomed: frozenset[tuple[int, int]] = frozenset()
    """Blocks whose live content is to be stored again."""

    def lose(self, slot: int, number: int, byte_count: int) -> None:
        """So many bytes of a block are no longer used where they were."""
        key = (slot, number)
        self.lost[key] = self.lost.get(key, 0) + byte_count

    def is_doomed(self, slot: int, number: int) -> bool:
        return (slot, number) in self.doomed


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
