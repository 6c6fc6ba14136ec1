"""What the parts of one session share while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    from strongroom.engine.wear import Wear
    from strongroom.format.point import DiskRoot, StreamRoot, TreeRoot
    from strongroom.repository.reader import BlockReader
    from strongroom.repository.usage import BlockUsage


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
