"""Raw blocks into frames, compressed where that gains something.

The same content framed the same way is the same bytes, as long as the compressor is: so a block
that was damaged can be made again from its content.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import zstandard

from strongroom.format import block as blocks
from strongroom.format.block import Codec

if TYPE_CHECKING:
    from strongroom.storage.base import Buffer

_SAMPLE = 16 << 10
_LEAST = 64
"""So little is never compressed."""


class Framer:
    """Makes frames; may be used by several threads at once."""

    def __init__(self, level: int | None, *, sealed: bool) -> None:
        """Compress with zstd's `level`, or not at all; pad if frames are going to be sealed."""
        self._level = level
        self._sealed = sealed
        self._local = threading.local()

    def frame(self, raw: Buffer) -> bytes:
        """Return the frame of a block's content."""
        length = len(raw)
        if self._level is not None and length > _LEAST:
            payload = self._compress(raw, length, self._level)
            if payload is not None:
                return blocks.pad_frame(Codec.ZSTD, length, payload, sealed=self._sealed)
        return blocks.pad_frame(Codec.RAW, length, memoryview(raw), sealed=self._sealed)

    def _compress(self, raw: Buffer, length: int, level: int) -> bytes | None:
        """Return the compressed block, or None where that would gain under 2 %."""
        if length >= 4 * _SAMPLE and not self._promising(raw, length):
            return None
        payload = self._compressor(level).compress(raw)
        return payload if len(payload) < length - length // 50 else None

    def _promising(self, raw: Buffer, length: int) -> bool:
        """Tell from three samples whether any of the block compresses."""
        compressor = self._compressor(1)
        view = memoryview(raw)
        for start in (0, (length - _SAMPLE) // 2, length - _SAMPLE):
            if len(compressor.compress(view[start : start + _SAMPLE])) < _SAMPLE * 31 // 32:
                return True
        return False

    def _compressor(self, level: int) -> zstandard.ZstdCompressor:
        held: dict[int, zstandard.ZstdCompressor] | None = getattr(self._local, "held", None)
        if held is None:
            held = self._local.held = {}
        compressor = held.get(level)
        if compressor is None:
            compressor = held[level] = zstandard.ZstdCompressor(level=level)
        return compressor
