"""Frames of blocks into one pack: each sealed, laid out, hashed, and the trailer put behind.

Whose blocks they are and how they came to be is the caller's: a running session compresses them,
re-encryption takes them from another chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from strongroom.crypto import random
from strongroom.crypto.aead import OVERHEAD, VALUE_OVERHEAD, PackSealer, seal_value
from strongroom.crypto.content import fingerprint
from strongroom.format import block as blocks
from strongroom.format import pack as packs
from strongroom.format.block import BlockClass
from strongroom.format.codec import HASH_LENGTH, encode
from strongroom.format.pack import Contents, Directory, PackHeader
from strongroom.format.versions import SUITE_PLAIN, SUITE_SEALED

if TYPE_CHECKING:
    from collections.abc import Callable
    from mmap import mmap

    from strongroom.crypto.envelope import SessionSecrets

CONTENTS_LABEL = "pack contents"


@dataclass(frozen=True, slots=True)
class SealingSession:
    """Whose packs they are, and with what they are sealed."""

    origin_id: bytes
    """Of the chain."""
    session_id: bytes
    secrets: SessionSecrets | None
    """None in a plain chain."""

    def sealer(self, block_class: int, pack_id: bytes) -> PackSealer | None:
        """Return what seals and opens a pack's blocks; None in a plain chain."""
        if self.secrets is None:
            return None
        data = block_class == BlockClass.DATA
        return PackSealer(self.secrets.session_key if data else self.secrets.metakey, pack_id)

    def context(self, ordinal: int, place: int, block_class: int) -> bytes:
        """Return what a block is bound to."""
        return blocks.context(
            SUITE_SEALED if self.secrets else SUITE_PLAIN,
            self.origin_id,
            self.session_id,
            ordinal << blocks.PLACE_BITS | place,
            block_class,
        )


@dataclass(frozen=True, slots=True)
class SealedPack:
    """A pack, ready to be stored."""

    pack_id: bytes
    directory: bytes
    """Encoded."""
    buffer: bytearray | mmap
    length: int
    """How much of the buffer is the pack."""


def seal_pack(
    session: SealingSession,
    ordinal: int,
    block_class: BlockClass,
    places: list[int],
    frames: list[bytes],
    contents: Contents,
    room: Callable[[int], bytearray | mmap] = bytearray,
) -> SealedPack:
    """Return a pack under a fresh id.

    Args:
        session: Whose it is.
        ordinal: The pack's number in the session.
        block_class: Of all its blocks.
        places: Ascending.
        frames: One for each place; the list is emptied on the way.
        contents: What the blocks hold, in the order of places.
        room: Returns a buffer of at least so many bytes.
    """
    overhead = OVERHEAD if session.secrets else 0
    lengths = [len(frame) + overhead for frame in frames]
    aligned = any(length % packs.ALIGNED_HEADER == 0 for length in lengths)
    pack_id = random.token(32)
    header = packs.header_bytes(
        PackHeader(session.origin_id, session.session_id, pack_id, ordinal, block_class),
        aligned=aligned,
    )
    offsets = [0] * len(places)
    end = len(header)
    # Aligned blocks first: then each of them begins at a multiple of 4 KiB.
    for index in sorted(
        range(len(places)), key=lambda one: (lengths[one] % packs.ALIGNED_HEADER != 0, one)
    ):
        offsets[index] = end
        end += lengths[index]
    encoded_contents = encode(contents)
    named = partial(Directory, pack_id, ordinal, block_class, end, places, offsets, lengths)
    # Of the trailer only hashes and seal are to come, and they have their length.
    blank = bytes(len(encoded_contents) + (VALUE_OVERHEAD if session.secrets else 0))
    unhashed = encode(named(bytes(HASH_LENGTH * len(places))))
    whole = end + len(packs.finish(header, unhashed, blank))
    buffer = room(whole)
    view = memoryview(buffer)
    view[: len(header)] = header
    hashes = bytearray()
    sealer = session.sealer(block_class, pack_id)
    target = view
    for index, (place, offset, length) in enumerate(zip(places, offsets, lengths, strict=True)):
        target = view[offset : offset + length]
        # Let go as it is sealed: a pack that did not compress is in memory once, not twice.
        frame, frames[index] = frames[index], b""
        if sealer is None:
            target[:] = frame
        else:
            sealer.seal_into(place, session.context(ordinal, place, block_class), frame, target)
        hashes += fingerprint(target)
    directory = encode(named(bytes(hashes)))
    if session.secrets:
        encoded_contents = seal_value(
            session.secrets.metakey,
            CONTENTS_LABEL,
            packs.trailer_context(session.origin_id, session.session_id, directory),
            encoded_contents,
        )
    view[end:whole] = packs.finish(header, directory, encoded_contents)
    return SealedPack(pack_id, directory, buffer, whole)
