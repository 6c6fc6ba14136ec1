"""A pack is whole or it is nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from strongroom.crypto.content import fingerprint
from strongroom.errors import MalformedError, UnsupportedVersionError
from strongroom.format import pack
from strongroom.format.codec import encode
from strongroom.format.pack import Contents, Directory, PackHeader, Piece

HEADER = PackHeader(bytes(16), b"s" * 16, b"p" * 32, 3, 0)
BLOCKS = [b"a" * 50, b"b" * 60, b"c" * 70]
DIRECTORY = Directory(
    pack_id=b"p" * 32,
    ordinal=3,
    block_class=0,
    size=80 + 180,
    places=[4, 9, 63],
    offsets=[80 + 60, 80, 80 + 110],
    lengths=[50, 60, 70],
    hashes=b"".join(map(fingerprint, BLOCKS)),
)
CONTENTS = Contents([50, 60, 70], [Piece(4, 0, 50, bytes(32)), Piece(63, 60, 10, bytes(32))])


def altered(value: Any, **fields: object) -> Any:
    return msgspec.structs.replace(value, **fields)


def a_pack(header: PackHeader = HEADER, directory: Directory = DIRECTORY) -> bytes:
    head = pack.header_bytes(header, aligned=False)
    blocks = BLOCKS[1] + BLOCKS[0] + BLOCKS[2]
    return head + blocks + pack.finish(head, encode(directory), encode(CONTENTS))


def read(data: bytes) -> tuple[Directory, pack.Trailer]:
    footer = data[-pack.FOOTER_LENGTH :]
    length = pack.footer_trailer_length(footer, len(data), "it")
    trailer = data[-pack.FOOTER_LENGTH - length : -pack.FOOTER_LENGTH]
    begin = pack.header_length(trailer, "it")
    return pack.read_trailer(data[:begin], trailer, footer, len(data), "it")


def test_a_pack_tells_what_lies_where() -> None:
    directory, trailer = read(a_pack())
    assert directory == DIRECTORY
    assert trailer.directory == encode(DIRECTORY)
    assert pack.read_header(a_pack(), "it") == HEADER


@pytest.mark.parametrize(
    "fields",
    [
        {"places": [], "offsets": [], "lengths": [], "hashes": b""},
        {"places": [4, 9]},
        {"places": [4, 4, 63]},
        {"places": [9, 4, 63]},
        {"places": [-1, 4, 63]},
        {"places": [4, 9, 65536]},
        {"offsets": [80, 130]},
        {"offsets": [140, 81, 190]},
        {"offsets": [141, 80, 190]},
        {"offsets": [120, 80, 190]},
        {"offsets": [140, 90, 190]},
        {"lengths": [50, 60, 71]},
        {"lengths": [0, 60, 120]},
        {"lengths": [50, 60, -70]},
        {"hashes": bytes(95)},
        {"size": 261},
        {"ordinal": 1 << 32},
        {"block_class": 2},
        {"lengths": [50, 60, 1 << 40], "size": 190 + (1 << 40)},
    ],
    ids=str,
)
def test_a_directory_that_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(MalformedError):
        altered(DIRECTORY, **fields).check("it")


def test_a_directory_fits_into_a_page_of_the_ledger() -> None:
    count = pack.MAX_BLOCKS
    length = 16_000
    directory = Directory(
        b"p" * 32,
        (1 << 32) - 1,
        1,
        4096 + count * length,
        list(range(65536 - count, 65536)),
        [4096 + index * length for index in range(count)],
        [length] * count,
        bytes(32 * count),
    )
    assert len(encode(directory.check("it"))) < 1 << 20
    more = altered(
        directory,
        places=[0, *directory.places],
        offsets=[*directory.offsets, directory.size],
        lengths=[*directory.lengths, 1],
        hashes=bytes(32 * (count + 1)),
        size=directory.size + 1,
    )
    with pytest.raises(MalformedError, match="columns"):
        more.check("it")


@pytest.mark.parametrize(
    "header",
    [
        altered(HEADER, pack_id=b"q" * 32),
        altered(HEADER, ordinal=4),
        altered(HEADER, block_class=1),
    ],
)
def test_header_and_directory_are_of_one_pack(header: PackHeader) -> None:
    with pytest.raises(MalformedError, match="different packs"):
        read(a_pack(header))


def test_every_flipped_bit_outside_the_blocks_is_found() -> None:
    whole = a_pack()
    for at in [*range(80), *range(80 + 180, len(whole))]:
        data = bytearray(whole)
        data[at] ^= 4
        with pytest.raises((MalformedError, UnsupportedVersionError)):
            read(bytes(data))


@pytest.mark.parametrize("keep", [0, 10, 43, 44, 80, 200, 400])
def test_a_pack_cut_short_is_nothing(keep: int) -> None:
    with pytest.raises(MalformedError):
        read(a_pack()[:keep])


def test_bytes_that_belong_to_nothing_are_refused() -> None:
    head = pack.header_bytes(HEADER, aligned=False)
    tail = pack.finish(head, encode(DIRECTORY), encode(CONTENTS))
    with pytest.raises(MalformedError, match="belong to nothing"):
        read(head + b"".join(BLOCKS) + b"more" + tail)


def test_padding_of_the_header_is_zeros() -> None:
    head = pack.header_bytes(HEADER, aligned=False)[:-1] + b"\1"
    tail = pack.finish(head, encode(DIRECTORY), encode(CONTENTS))
    with pytest.raises(MalformedError, match="than zeros"):
        read(head + b"".join(BLOCKS) + tail)


def test_a_pack_of_another_major_version_is_not_called_damaged() -> None:
    with pytest.raises(UnsupportedVersionError):
        pack.read_header(b"SRM2PACK" + bytes(100), "it")


@pytest.mark.parametrize(
    "contents",
    [
        Contents([50, 60], []),
        Contents([50, 60, (16 << 20) + 1], []),
        Contents([50, 60, -1], []),
        Contents([50, 60, 70], [Piece(5, 0, 1, bytes(32))]),
        Contents([50, 60, 70], [Piece(4, 1, 50, bytes(32))]),
    ],
)
def test_contents_of_other_blocks_are_refused(contents: Contents) -> None:
    assert CONTENTS.check(DIRECTORY, "it") is CONTENTS
    with pytest.raises(MalformedError):
        contents.check(DIRECTORY, "it")
