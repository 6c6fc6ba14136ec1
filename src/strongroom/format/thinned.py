"""Thinned packs: what compaction leaves of a pack when most of its blocks are dead.

    header │ blocks │ trailer │ footer

    header   the pack's own, but for its magic
    trailer  MessagePack [directory, contents, places, offsets]
    footer   trailer length u32 │ BLAKE3 of header and trailer, 32 │ end magic 8

Directory and contents are the pack's, byte for byte, so that a thinned pack is judged by the same
signed ledger, and read with the same keys, as the whole one. Nothing in it is new but where the
remaining blocks lie, and a wrong word about that shows in their hashes. Whoever thins a pack
needs no key.

Remaining blocks keep their order, so those with lengths that are multiples of 4 KiB stay first
and aligned: a file system that shares extents moves them without copying.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import MalformedError
from strongroom.format import pack as packs
from strongroom.format.codec import Value, decode, encode, refuse_other_version
from strongroom.format.pack import ALIGNED_HEADER, HEADER_LENGTH, SHORT_HEADER, Directory
from strongroom.format.versions import PACK, THINNED

if TYPE_CHECKING:
    from collections.abc import Container


class ThinnedTrailer(Value, frozen=True):
    """A thinned pack's last part."""

    directory: bytes
    """The pack's, with all the blocks it was born with."""
    contents: bytes
    """The pack's, likewise."""
    places: list[int]
    """Of the blocks that remain, ascending."""
    offsets: list[int]
    """Where each of them begins in this object."""


def arrange(
    directory: Directory, keep: Container[int], header_length: int
) -> tuple[list[int], list[int], list[int], int]:
    """Say where remaining blocks are to lie.

    Args:
        directory: The pack's.
        keep: Places of the blocks that remain.
        header_length: Of the object.

    Returns:
        Places, ascending; the offset of each; indexes of the blocks in the directory's columns
        in the order in which they lie; and where the last block ends.
    """
    order = [
        index
        for index in sorted(range(len(directory.places)), key=directory.offsets.__getitem__)
        if directory.places[index] in keep
    ]
    at: dict[int, int] = {}
    end = header_length
    for index in order:
        at[directory.places[index]] = end
        end += directory.lengths[index]
    places = sorted(at)
    return places, [at[place] for place in places], order, end


def header_of(pack_header: bytes) -> bytes:
    """Return a thinned pack's header, made from the whole pack's, or another thinned one's."""
    return THINNED + pack_header[len(PACK) :]


def finish(header: bytes, trailer: ThinnedTrailer) -> bytes:
    """Return trailer and footer, to be written behind the blocks."""
    return packs.end(header, encode(trailer))


def header_length(trailer: bytes, what: str) -> int:
    """Return how long the header is, as the trailer says; nothing is authentic yet.

    Raises:
        MalformedError: the trailer is none.
    """
    first = min(decode(ThinnedTrailer, trailer, what).offsets, default=0)
    if first not in (SHORT_HEADER, ALIGNED_HEADER):
        raise MalformedError(f"{what} begins its blocks at {first}")
    return first


def read_trailer(
    header: bytes, trailer: bytes, footer: bytes, size: int, what: str
) -> tuple[Directory, ThinnedTrailer]:
    """Return a thinned pack's directory and trailer.

    Args:
        header: The object's first bytes, up to its first block.
        trailer: The bytes before the footer that the footer names.
        footer: The object's last `pack.FOOTER_LENGTH` bytes.
        size: Of the whole object.
        what: Names it in messages.

    Raises:
        MalformedError: anything does not fit; a thinned pack is whole or it is nothing.
    """
    packs.check_end(header, trailer, footer, size, what)
    said = read_header(header, what)
    read = decode(ThinnedTrailer, trailer, what)
    directory = decode(Directory, read.directory, what).check(what)
    if (said.pack_id, said.ordinal, said.block_class) != (
        directory.pack_id,
        directory.ordinal,
        directory.block_class,
    ) or header[HEADER_LENGTH:] != bytes(len(header) - HEADER_LENGTH):
        raise MalformedError(f"{what} has a header and a directory of different packs")
    places, offsets, _, end = arrange(directory, frozenset(read.places), len(header))
    if (places, offsets) != (read.places, read.offsets) or not places:
        raise MalformedError(f"{what} has its blocks elsewhere than it says")
    if end + len(trailer) + packs.FOOTER_LENGTH != size:
        raise MalformedError(f"{what} has bytes that belong to nothing")
    return directory, read


def read_header(data: bytes, what: str) -> packs.PackHeader:
    """Return the header at the start of a thinned pack.

    Raises:
        MalformedError: these bytes do not begin one.
    """
    refuse_other_version(THINNED, data, what)
    if data[: len(THINNED)] != THINNED:
        raise MalformedError(f"{what} is not a thinned pack")
    return packs.read_header(PACK + data[len(PACK) :], what)
