"""Where content goes: recognised, packed with others, or cut into chunks.

Small contents are packed together into blocks in the order in which they come; large ones
are cut by content, so that an insertion moves no boundary but its own. Both are recognised
first: what the state before already holds is referred to and not stored again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pyfastcdc

from strongroom.format.block import BlockClass
from strongroom.format.index import HOLE

if TYPE_CHECKING:
    from strongroom.crypto.content import ContentHasher
    from strongroom.engine.dedup import DedupIndex
    from strongroom.engine.index_writer import PiecePlace
    from strongroom.engine.pipeline import BlockPipeline, Reserved

SMALL = 1 << 20
"""Contents up to this size are one piece and share blocks with their neighbours."""
_SHARED_BLOCK = 1 << 20
_LARGEST_AVERAGE = 4 << 20
_NO_HASH = bytes(32)

ReadInto = Callable[[memoryview], int]


class ContentStore:
    """Stores content as pieces of blocks."""

    def __init__(
        self,
        pipeline: BlockPipeline,
        hasher: ContentHasher,
        dedup: DedupIndex,
        reusable: Callable[[int, int], bool],
        regain: Callable[[int, int, int], None],
        own_slot: int,
        chunker_seed: int,
        block_size: int,
    ) -> None:
        """Store through `pipeline`.

        Args:
            pipeline: Takes the blocks.
            hasher: Names content.
            dedup: Where content lies already.
            reusable: Whether a block of the state before may be referred to.
            regain: Is told of every content that was recognised: slot, number, length.
            own_slot: Blocks of this slot are this session's.
            chunker_seed: The chain's; boundaries depend on it (0: unseeded, plain chains).
            block_size: Average length of a chunk of a large content.
        """
        self._pipeline = pipeline
        self._hasher = hasher
        self._dedup = dedup
        self._reusable = reusable
        self._regain = regain
        self._own_slot = own_slot
        average = min(block_size, _LARGEST_AVERAGE)
        self._chunker = pyfastcdc.FastCDC(
            avg_size=average,
            min_size=average // 4,
            max_size=average * 4,
            seed=chunker_seed,
        )
        self._longest = average * 4
        self._window: bytearray | None = None
        self._reserved: Reserved | None = None
        self._parts: list[bytes] = []
        self._pieces: list[tuple[int, int, bytes]] = []
        self._filled = 0
        self.stored_raw_bytes = 0
        """Bytes of content that were not recognised."""

    def put_small(self, data: bytes) -> PiecePlace:
        """Return where `data` lies, at most `SMALL` bytes and not empty."""
        content_hash = self._hasher.digest(data)
        return self.recognise(content_hash) or self._pack(data, content_hash)

    def recognise(self, content_hash: bytes) -> PiecePlace | None:
        """Return where content with this hash lies and may be referred to, if anywhere."""
        found = self._dedup.find(content_hash)
        if found is None or not (
            found.slot == self._own_slot or self._reusable(found.slot, found.number)
        ):
            return None
        self._regain(found.slot, found.number, found.length)
        return (found.slot, found.number, found.offset, found.length, content_hash)

    def put_stream(self, read_into: ReadInto) -> Iterator[PiecePlace]:
        """Cut what `read_into` gives into chunks and yield where each lies.

        `read_into` fills a buffer as far as it can and returns how much it did; 0 is the end.
        """
        if self._window is None:
            self._window = bytearray(4 * self._longest)
        window = self._window
        view = memoryview(window)
        held = 0
        ended = False
        while not ended or held:
            while not ended and held < len(window):
                count = read_into(view[held:])
                ended = count == 0
                held += count
            used = 0
            for chunk in self._chunker.cut_buf(view[:held]):
                if not ended and held - chunk.offset < self._longest:
                    # More input could move this boundary.
                    break
                yield self._put_chunk(view[chunk.offset : chunk.offset + chunk.length])
                used = chunk.offset + chunk.length
            rest = held - used
            window[:rest] = window[used:held]
            held = rest

    def flush(self) -> None:
        """Complete the block that small contents are being packed into."""
        if self._reserved is None:
            return
        raw = b"".join(self._parts)
        self._pipeline.fill(self._reserved, raw, self._pieces)
        self._reserved = None
        self._parts = []
        self._pieces = []
        self._filled = 0

    # --- inside ----------------------------------------------------------------------------

    def _put_chunk(self, view: memoryview) -> PiecePlace:
        content_hash = self._hasher.digest(view)
        found = self.recognise(content_hash)
        if found is not None:
            return found
        data = bytes(view)
        if len(data) <= _SHARED_BLOCK // 4:
            return self._pack(data, content_hash)
        self.stored_raw_bytes += len(data)
        address = self._pipeline.add(BlockClass.DATA, data, [(0, len(data), content_hash)])
        if self._reserved is not None and self._reserved.is_due:
            self.flush()
        self._dedup.add(content_hash, address.slot, address.number, 0, len(data))
        return (address.slot, address.number, 0, len(data), content_hash)

    def _pack(self, data: bytes, content_hash: bytes) -> PiecePlace:
        length = len(data)
        if self._reserved is None:
            self._reserved = self._pipeline.reserve(BlockClass.DATA, _SHARED_BLOCK + SMALL)
        address = self._reserved.address
        offset = self._filled
        self._parts.append(data)
        self._pieces.append((offset, length, content_hash))
        self._filled += length
        self.stored_raw_bytes += length
        self._dedup.add(content_hash, address.slot, address.number, offset, length)
        if self._filled >= _SHARED_BLOCK:
            self.flush()
        return (address.slot, address.number, offset, length, content_hash)


def hole(length: int) -> PiecePlace:
    """Return the piece for a range that reads as zeros and is stored nowhere."""
    return (0, HOLE, 0, length, _NO_HASH)


def reader_of(fd: int) -> ReadInto:
    """Return a `ReadInto` over an open file's content from its present position."""

    def read_into(view: memoryview) -> int:
        return os.readv(fd, [view])

    return read_into
