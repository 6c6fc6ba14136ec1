"""One block: what is sealed as one, framed, compressed and padded.

    codec u8 │ raw length u32 │ payload length u32 │ payload │ zeros up to the padded length

The frame is what gets sealed. Its length, with nonce and tag, is padded (`padding`); raw and
payload lengths are inside, so that the store learns neither. A block is bound to its chain's
origin, session and number by the associated data that `context` returns, never to the place
where it lies: sealed blocks move as they are.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

import zstandard

from strongroom.errors import MalformedError
from strongroom.format.padding import stored_length

SEALING_OVERHEAD = 28
"""Nonce and tag around a sealed frame."""
FRAME_HEADER = 9
MAX_RAW = 16 << 20
"""No block holds more; a frame that claims more is refused before anything is allocated."""

PLACE_BITS = 16
"""A block's number is its pack's ordinal in the session, then this many bits of place."""
MAX_PLACES = 1 << PLACE_BITS
MAX_ORDINAL = (1 << 32) - 1


class BlockClass(IntEnum):
    """What a pack's blocks hold, and so which key seals them."""

    DATA = 0
    """Content of files, disks and streams, under the session key."""
    INDEX = 1
    """Pages of indexes, under the metakey."""


class Codec(IntEnum):
    """How a payload is compressed."""

    RAW = 0
    ZSTD = 1


class BlockAddress(NamedTuple):
    """Where a block was first sealed: it keeps this address wherever it moves."""

    slot: int
    """The session, as its slot in the chain's session table."""
    number: int
    """Pack ordinal in the session, shifted left by `PLACE_BITS`, plus the place in the pack."""

    @property
    def ordinal(self) -> int:
        return self.number >> PLACE_BITS

    @property
    def place(self) -> int:
        return self.number & (MAX_PLACES - 1)


def context(
    suite: int, origin_id: bytes, session_id: bytes, number: int, block_class: int
) -> bytes:
    """Return the associated data that binds a block to its origin, session and number.

    Without the session, a block of one session would open in another's place; without the
    class, a page could stand for data.
    """
    return b"".join(
        (b"block", bytes((suite,)), origin_id, session_id, struct.pack(">QB", number, block_class))
    )


def pad_frame(codec: Codec, raw_length: int, payload: bytes | memoryview, *, sealed: bool) -> bytes:
    """Return the frame around `payload`, padded for the length it will be stored with."""
    zeros = 0
    if sealed:
        length = FRAME_HEADER + len(payload) + SEALING_OVERHEAD
        zeros = stored_length(length, raw_length if codec == Codec.RAW else 0) - length
    return b"".join((struct.pack(">BII", codec, raw_length, len(payload)), payload, bytes(zeros)))


def unpadded(frame: bytes | memoryview) -> bytes:
    """Return a frame without its padding, as a plain chain stores it."""
    if len(frame) < FRAME_HEADER:
        raise MalformedError("a block is shorter than a frame")
    length = FRAME_HEADER + struct.unpack_from(">BII", frame)[2]
    return bytes(frame[:length])


def read_frame(frame: bytes | bytearray | memoryview, what: str) -> bytes:
    """Return the raw content of a frame that was opened and so is authentic.

    Raises:
        MalformedError: lengths that cannot be, padding that is not zero, an unknown codec,
            or a payload that does not decompress to exactly the length it claims.
    """
    if len(frame) < FRAME_HEADER:
        raise MalformedError(f"{what} is shorter than a frame")
    codec, raw_length, payload_length = struct.unpack_from(">BII", frame)
    if raw_length > MAX_RAW or payload_length > len(frame) - FRAME_HEADER:
        raise MalformedError(f"{what} claims {raw_length} bytes out of {payload_length}")
    view = memoryview(frame)
    payload = view[FRAME_HEADER : FRAME_HEADER + payload_length]
    rest = view[FRAME_HEADER + payload_length :]
    # As bytes they are compared at once, as views item by item: 100 times as long.
    if rest.nbytes and bytes(rest) != bytes(rest.nbytes):
        raise MalformedError(f"{what} has padding that is not zero")
    if codec == Codec.RAW:
        raw = bytes(payload)
    elif codec == Codec.ZSTD:
        raw = _decompress(payload, raw_length, what)
    else:
        raise MalformedError(f"{what} has the unknown codec {codec}")
    if len(raw) != raw_length:
        raise MalformedError(f"{what} holds {len(raw)} bytes where it claims {raw_length}")
    return raw


def _decompress(payload: memoryview, raw_length: int, what: str) -> bytes:
    """Decompress without ever allocating more than the claim, which was checked."""
    try:
        if zstandard.frame_content_size(payload) not in (raw_length, -1):
            raise MalformedError(f"{what} is compressed from another length than it claims")
        # A decompressor is not to be shared by threads; making one costs a microsecond.
        return zstandard.ZstdDecompressor(max_window_size=MAX_RAW).decompress(
            payload, max_output_size=raw_length, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise MalformedError(f"{what} does not decompress: {error}") from error
