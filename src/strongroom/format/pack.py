"""Packs: many sealed blocks in one object, and the trailer that says where.

    header │ blocks │ trailer │ footer

    header   magic 8 │ origin 16 │ session 16 │ pack id 32 │ ordinal u32 │ class u8 │ zeros
    trailer  MessagePack [directory, sealed contents]
    footer   trailer length u32 │ BLAKE3 of header and trailer, 32 │ end magic 8

The *directory* is public: which places hold a block, where each lies, how long it is and the
BLAKE3 of its stored bytes. The same bytes stand in the session's ledger, whose root is
signed; the trailer's copy only makes a pack understandable by itself. The *contents* are
sealed under the metakey: which pieces, by content hash, the blocks hold. They let the next
session take over a dead one's packs, and rebuild the cache that recognises content.

Blocks fill the pack without gaps, those with lengths that are multiples of 4 KiB first, behind
a header that is 4 KiB itself where such blocks exist: so they lie aligned for reflinks.
"""

from __future__ import annotations

import struct

from strongroom.crypto.content import fingerprint
from strongroom.errors import MalformedError
from strongroom.format.block import MAX_ORDINAL, MAX_PLACES, MAX_RAW, BlockClass
from strongroom.format.codec import (
    HASH_LENGTH,
    Hash,
    Id,
    Number,
    Value,
    decode,
    encode,
    refuse_other_version,
)
from strongroom.format.versions import PACK, PACK_END

HEADER_LENGTH = 77
"""The header without its padding."""
SHORT_HEADER = 80
ALIGNED_HEADER = 4096
FOOTER_LENGTH = 4 + HASH_LENGTH + 8
MAX_PACK = 256 << 20
MAX_TRAILER = 32 << 20
MAX_BLOCKS = 16_384
"""No pack holds more: its directory has to fit into one page of the ledger."""

_HEADER = struct.Struct(">8s16s16s32sIB")
_FOOTER = struct.Struct(">I32s8s")


class PackHeader(Value, frozen=True):
    """Whose pack this is."""

    origin_id: Id
    """The origin of the chain: packs move between chains that share it."""
    session_id: Id
    pack_id: Hash
    ordinal: Number
    block_class: Number


class Directory(Value, frozen=True):
    """What lies where in a pack: public, and the same bytes as its page in the ledger."""

    pack_id: Hash
    ordinal: Number
    block_class: Number
    size: Number
    """Bytes from the pack's start to the end of its last block."""
    places: list[int]
    """Ascending; not every place need be taken."""
    offsets: list[int]
    lengths: list[int]
    hashes: bytes
    """BLAKE3 of each block's stored bytes, 32 bytes each, in the order of `places`."""

    def check(self, what: str) -> Directory:
        """Return self if every number can be true.

        Raises:
            MalformedError: columns of different lengths, places out of order, or blocks that
                overlap, leave gaps or do not end where the directory says.
        """
        count = len(self.places)
        if not (
            count == len(self.offsets) == len(self.lengths)
            and len(self.hashes) == HASH_LENGTH * count
            and len(self.pack_id) == HASH_LENGTH
            and 0 < count <= MAX_BLOCKS
        ):
            raise MalformedError(f"{what} has columns that do not fit each other")
        if not 0 <= self.ordinal <= MAX_ORDINAL or self.block_class not in tuple(BlockClass):
            raise MalformedError(
                f"{what} is pack {self.ordinal} of class {self.block_class}, which cannot be"
            )
        if any(a >= b for a, b in zip(self.places, self.places[1:], strict=False)) or not (
            self.places[0] >= 0 and self.places[-1] < MAX_PLACES
        ):
            raise MalformedError(f"{what} has places out of order")
        at = None
        for offset, length in sorted(zip(self.offsets, self.lengths, strict=True)):
            if at is None and offset not in (SHORT_HEADER, ALIGNED_HEADER):
                raise MalformedError(f"{what} begins its blocks at {offset}")
            if (at is not None and offset != at) or length <= 0:
                raise MalformedError(f"{what} has blocks that overlap or leave a gap")
            at = offset + length
        if at != self.size or self.size > MAX_PACK:
            raise MalformedError(f"{what} ends its blocks elsewhere than it says")
        return self


class Piece(Value, frozen=True):
    """A run of content in a block, recognised by its hash."""

    place: Number
    offset: Number
    length: Number
    content_hash: Hash


class Contents(Value, frozen=True):
    """What a pack's blocks hold; sealed under the session's metakey."""

    raw_lengths: list[int]
    """Length of each block before compression, in the order of the directory's places."""
    pieces: list[Piece]

    def check(self, directory: Directory, what: str) -> Contents:
        """Return self if it can be about the blocks of `directory`.

        Raises:
            MalformedError: another number of blocks, or a piece that reaches beyond its block.
        """
        if len(self.raw_lengths) != len(directory.places) or not all(
            0 <= length <= MAX_RAW for length in self.raw_lengths
        ):
            raise MalformedError(f"{what} has contents of other blocks than it holds")
        raw = dict(zip(directory.places, self.raw_lengths, strict=True))
        if any(piece.offset + piece.length > raw.get(piece.place, -1) for piece in self.pieces):
            raise MalformedError(f"{what} names a piece that reaches beyond its block")
        return self


class Trailer(Value, frozen=True):
    """A pack's last part."""

    directory: bytes
    """A `Directory`, encoded: hashed as these bytes by the ledger."""
    contents: bytes
    """A `Contents`, sealed (plain chains: encoded)."""


def header_bytes(header: PackHeader, *, aligned: bool) -> bytes:
    """Return the header, padded so that blocks begin where alignment wants them."""
    bare = _HEADER.pack(
        PACK,
        header.origin_id,
        header.session_id,
        header.pack_id,
        header.ordinal,
        header.block_class,
    )
    return bare.ljust(ALIGNED_HEADER if aligned else SHORT_HEADER, b"\0")


def read_header(data: bytes, what: str) -> PackHeader:
    """Return the header at the start of a pack.

    Raises:
        MalformedError: these bytes do not begin a pack.
    """
    refuse_other_version(PACK, data, what)
    if len(data) < HEADER_LENGTH or data[:8] != PACK:
        raise MalformedError(f"{what} is not a pack")
    _, origin_id, session_id, pack_id, ordinal, block_class = _HEADER.unpack_from(data)
    return PackHeader(origin_id, session_id, pack_id, ordinal, block_class)


def trailer_context(origin_id: bytes, session_id: bytes, directory: bytes) -> bytes:
    """Return what a pack's sealed contents are bound to: its session and its directory."""
    return b"".join((b"pack contents", origin_id, session_id, fingerprint(directory)))


def finish(header: bytes, directory: bytes, contents: bytes) -> bytes:
    """Return trailer and footer, to be written behind the blocks."""
    return end(header, encode(Trailer(directory, contents)))


def end(header: bytes, trailer: bytes) -> bytes:
    """Return a trailer with its footer, whatever the trailer's kind."""
    return trailer + _FOOTER.pack(len(trailer), fingerprint(header + trailer), PACK_END)


def footer_trailer_length(footer: bytes, pack_size: int, what: str) -> int:
    """Return how long the trailer is that lies before `footer`, the pack's last bytes.

    Raises:
        MalformedError: no footer, or a trailer that would not fit into the pack.
    """
    if len(footer) != FOOTER_LENGTH or footer[-8:] != PACK_END:
        raise MalformedError(f"{what} is cut short: it has no footer")
    length = int(_FOOTER.unpack(footer)[0])
    if length > MAX_TRAILER or length + FOOTER_LENGTH + SHORT_HEADER > pack_size:
        raise MalformedError(f"{what} claims a trailer of {length} bytes")
    return length


def check_end(header: bytes, trailer: bytes, footer: bytes, size: int, what: str) -> None:
    """Go on if a footer belongs to this header and trailer.

    Raises:
        MalformedError: it does not.
    """
    length = footer_trailer_length(footer, size, what)
    if length != len(trailer) or fingerprint(header + trailer) != footer[4 : 4 + HASH_LENGTH]:
        raise MalformedError(f"{what} does not match its checksum: changed or damaged in storage")


def header_length(trailer: bytes, what: str) -> int:
    """Return how long the header is, as the trailer's directory says.

    Nothing is authentic yet: `read_trailer` compares everything.

    Raises:
        MalformedError: the trailer is none.
    """
    directory = decode(Directory, decode(Trailer, trailer, what).directory, what)
    first = min(directory.offsets, default=0)
    if first not in (SHORT_HEADER, ALIGNED_HEADER):
        raise MalformedError(f"{what} begins its blocks at {first}")
    return first


def read_trailer(
    header: bytes, trailer: bytes, footer: bytes, pack_size: int, what: str
) -> tuple[Directory, Trailer]:
    """Return a pack's directory and trailer.

    Args:
        header: The pack's first bytes, up to its first block.
        trailer: The bytes before the footer that the footer names.
        footer: The pack's last `FOOTER_LENGTH` bytes.
        pack_size: Size of the whole object.
        what: Names the pack in messages.

    Raises:
        MalformedError: anything does not fit; a pack is whole or it is nothing.
    """
    check_end(header, trailer, footer, pack_size, what)
    if header[HEADER_LENGTH:] != bytes(len(header) - HEADER_LENGTH):
        raise MalformedError(f"{what} has a header padded with something else than zeros")
    read = decode(Trailer, trailer, what)
    directory = decode(Directory, read.directory, what).check(what)
    if directory.size + len(trailer) + FOOTER_LENGTH != pack_size:
        raise MalformedError(f"{what} has bytes that belong to nothing")
    said = read_header(header, what)
    if (said.pack_id, said.ordinal, said.block_class) != (
        directory.pack_id,
        directory.ordinal,
        directory.block_class,
    ) or min(directory.offsets) != len(header):
        raise MalformedError(f"{what} has a header and a directory of different packs")
    return directory, read
