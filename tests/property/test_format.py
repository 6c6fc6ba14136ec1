"""Whatever goes in comes out, and hostile bytes come out as errors of the format."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from strongroom.crypto.content import fingerprint
from strongroom.errors import MalformedError, PointDamagedError, UnsupportedVersionError
from strongroom.format import block, codec, header, index, journal, pack, padding, point, tables
from strongroom.format.paging import MAX_PAGE, Node, PageRef, Table, TableRoot
from strongroom.format.versions import ENVELOPE, HEADER, LINK, REPOSITORY, SESSION_KEYS, TABLES

Reader = Callable[[bytes], object]

PAGES: list[type[Any]] = [
    index.TreePage,
    index.RecognitionPage,
    index.TreeNode,
    index.ChunkPage,
    index.ChunkNode,
    index.DiskLeaf,
    index.DiskNode,
    point.PointDetails,
    pack.Contents,
    Node,
    tables.SessionRecord,
    tables.HistoryRecord,
]
READERS: dict[str, Reader] = {
    "marker": lambda data: header.read_marker(data, "it"),
    "header": lambda data: header.read_header(data, "it"),
    "envelope": lambda data: header.read_envelope(data, "it"),
    "link": lambda data: header.read_link(data, "it"),
    "session keys": lambda data: header.read_session_keys_signed(data, "it"),
    "entry": lambda data: journal.read_entry(data, "it"),
    "pack header": lambda data: pack.read_header(data, "it"),
    "pack footer": lambda data: pack.footer_trailer_length(data[-44:], len(data), "it"),
    "pack trailer": lambda data: pack.header_length(data, "it"),
    "pack": lambda data: pack.read_trailer(data[:80], data[80:-44], data[-44:], len(data), "it"),
    "directory": lambda data: codec.decode(pack.Directory, data, "it").check("it"),
    "frame": lambda data: block.read_frame(data, "it"),
    "bitmap": tables.places_of,
    "tree page": lambda data: index.check_tree_page(codec.decode(index.TreePage, data, "it")),
    "disk leaf": lambda data: index.check_disk_leaf(codec.decode(index.DiskLeaf, data, "it")),
    "chunk page": lambda data: index.check_chunk_page(codec.decode(index.ChunkPage, data, "it")),
} | {
    kind.__name__: lambda data, kind=kind: codec.decode(kind, data, "it")  # type: ignore[misc]
    for kind in PAGES
}
MAGIC = {
    "marker": REPOSITORY,
    "header": HEADER,
    "envelope": ENVELOPE,
    "link": LINK,
    "session keys": SESSION_KEYS,
    "entry": b"SRM1JRNL",
}


def refused_or_read(read: Reader, data: bytes) -> None:
    with suppress(MalformedError, UnsupportedVersionError):
        read(data)


# --- hostile bytes ---------------------------------------------------------------------------

plain_values = st.recursive(
    st.none()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=40)
    | st.text(max_size=10)
    | st.floats(allow_nan=False)
    | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=16) | st.dictionaries(st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=40,
)


@pytest.mark.parametrize("name", READERS)
@given(data=st.binary(max_size=400))
def test_random_bytes_are_refused_or_read(name: str, data: bytes) -> None:
    refused_or_read(READERS[name], data)


@pytest.mark.parametrize("name", READERS)
@given(value=plain_values)
def test_values_of_another_shape_are_refused_or_read(name: str, value: object) -> None:
    encoded = codec.encode(value)
    refused_or_read(READERS[name], encoded)
    if name in MAGIC:
        refused_or_read(READERS[name], codec.frame(MAGIC[name], encoded))


HUGE = [
    b"\xdd\xff\xff\xff\xff",  # an array of 2^32 - 1 items
    b"\xdf\xff\xff\xff\xff",  # a map of as many
    b"\xc6\xff\xff\xff\xff",  # bytes
    b"\xdb\xff\xff\xff\xff",  # text
    b"\x91" * 5000,  # nesting
    b"\xdc\xff\xff" * 1000,
]


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("claim", HUGE, ids=[claim[:5].hex() for claim in HUGE])
def test_what_a_length_claims_is_not_allocated(name: str, claim: bytes) -> None:
    columns = b"\x9f" + claim
    frames = [codec.frame(MAGIC[name], one) for one in (claim, columns)] if name in MAGIC else []
    tracemalloc.start()
    try:
        for data in [claim, columns, *frames]:
            refused_or_read(READERS[name], data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def bomb(size: int, *, declared: bool) -> bytes:
    compressor = zstandard.ZstdCompressor(level=3, write_content_size=declared)
    return compressor.compress(bytes(size))


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("claim", [0, 1, 1 << 20, block.MAX_RAW, block.MAX_RAW + 1, 0xFFFFFFFF])
def test_a_frame_that_explodes_takes_no_more_memory_than_it_claims(
    claim: int, declared: bool
) -> None:
    payload = bomb(200 << 20, declared=declared)
    frame = block.pad_frame(block.Codec.ZSTD, claim, payload, sealed=True)
    tracemalloc.start()
    try:
        with pytest.raises(MalformedError):
            block.read_frame(frame, "a block")
        assert tracemalloc.get_traced_memory()[1] < 2 * block.MAX_RAW
    finally:
        tracemalloc.stop()


# --- frames and padding ------------------------------------------------------------------------


@given(raw=st.binary(max_size=5000), compressed=st.booleans(), sealed=st.booleans())
def test_a_block_comes_out_of_its_frame(raw: bytes, compressed: bool, sealed: bool) -> None:
    payload = zstandard.ZstdCompressor().compress(raw) if compressed else raw
    chosen = block.Codec.ZSTD if compressed else block.Codec.RAW
    frame = block.pad_frame(chosen, len(raw), payload, sealed=sealed)
    assert block.read_frame(frame, "a block") == raw
    if sealed:
        stored = len(frame) + block.SEALING_OVERHEAD
        assert padding.padme(stored) == stored


@given(length=st.integers(0, 1 << 40))
def test_padding_is_never_short_and_never_dear(length: int) -> None:
    padded = padding.padme(length)
    assert length <= padded <= length * 1.12 + 1
    assert padding.padme(padded) == padded
    if padded >= 128 << 10:
        assert padded % 4096 == 0


@given(power=st.integers(17, 24))
def test_a_full_area_that_does_not_compress_costs_one_step_of_alignment(power: int) -> None:
    raw = bytes(1 << power)
    stored = len(block.pad_frame(block.Codec.RAW, len(raw), raw, sealed=True)) + (
        block.SEALING_OVERHEAD
    )
    assert stored == len(raw) + 4096
    assert stored < padding.padme(len(raw) + 37) or power == 17


@given(length=st.integers(1, 1 << 24), raw=st.integers(0, 1 << 24))
def test_every_other_block_has_a_padme_length(length: int, raw: int) -> None:
    if raw.bit_count() != 1:
        assert padding.stored_length(length, raw) == padding.padme(length)


@given(body=st.binary(max_size=300), signature=st.binary(max_size=80))
def test_a_framed_object_comes_apart_as_it_was_put_together(body: bytes, signature: bytes) -> None:
    framed = codec.unframe(TABLES, codec.frame(TABLES, body, signature), "it")
    assert (framed.body, framed.signature) == (body, signature)


@given(body=st.binary(max_size=60), at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_flipped_bit_of_a_framed_object_is_found(body: bytes, at: int, bit: int) -> None:
    data = bytearray(codec.frame(TABLES, body, b"signature"))
    data[at % len(data)] ^= 1 << bit
    with pytest.raises((MalformedError, UnsupportedVersionError)):
        codec.unframe(TABLES, bytes(data), "it")


@given(number=st.integers(0, 2**32 - 1), extra=st.binary(min_size=1, max_size=3))
def test_a_value_has_one_encoding(number: int, extra: bytes) -> None:
    ref = journal.EntryRef(bytes(16), number, bytes(32))
    encoded = codec.encode(ref)
    assert codec.decode(journal.EntryRef, encoded, "it") == ref
    longer = encoded.replace(msgspec.msgpack.encode(number), b"\xcf" + number.to_bytes(8, "big"), 1)
    for other in (longer, encoded + extra):
        with pytest.raises(MalformedError):
            codec.decode(journal.EntryRef, other, "it")


@given(st.sets(st.integers(0, 65535), min_size=1, max_size=200))
def test_a_bitmap_names_its_places(places: set[int]) -> None:
    bits = sum(1 << place for place in places)
    used = tables.bitmap(bits)
    assert tables.places_of(used) == bits
    with pytest.raises(MalformedError):
        tables.places_of(used + b"\0")


# --- tables --------------------------------------------------------------------------------------


class Pages:
    """Pages by reference, counting what is read."""

    def __init__(self) -> None:
        self._pages: dict[PageRef, bytes] = {}
        self.read: list[PageRef] = []
        self.written = 0

    def store(self, page: bytes) -> PageRef:
        assert len(page) <= MAX_PAGE
        ref = PageRef(bytes(16), 12 + self.written, len(page), fingerprint(page))
        self.written += len(page)
        self._pages[ref] = page
        return ref

    def load(self, ref: PageRef) -> bytes:
        self.read.append(ref)
        return self._pages[ref]

    def open(self, root: TableRoot, span: int = 2) -> Table[tables.PackSet]:
        return Table(tables.PackSet, span, root, self.load)


records = st.binary(max_size=3).map(tables.PackSet)
indexes = st.integers(0, 20) | st.integers(0, 40_000) | st.sampled_from([127, 128, 8191, 8192])
changes = st.dictionaries(indexes, st.none() | records, max_size=12)


def without_none(values: dict[int, tables.PackSet | None]) -> dict[int, tables.PackSet]:
    return {key: value for key, value in sorted(values.items()) if value is not None}


@given(st.lists(changes, max_size=6))
def test_a_table_is_a_dictionary_however_it_was_updated(
    steps: list[dict[int, tables.PackSet | None]],
) -> None:
    pages = Pages()
    root = TableRoot()
    expected: dict[int, tables.PackSet | None] = {}
    for step in steps:
        root = pages.open(root).updated(step, pages.store)
        expected |= step
        table = pages.open(root)
        assert dict(table.items()) == without_none(expected)
        for key in [*expected, 5, 129, 1 << 40]:
            assert table.get(key) == expected.get(key)
        assert [ref for ref in table.pages() if ref not in pages._pages] == []


@given(st.lists(changes, min_size=1, max_size=4), changes, changes)
def test_differences_are_those_of_the_dictionaries(
    common: list[dict[int, tables.PackSet | None]],
    ours: dict[int, tables.PackSet | None],
    theirs: dict[int, tables.PackSet | None],
) -> None:
    pages = Pages()
    root = TableRoot()
    base: dict[int, tables.PackSet | None] = {}
    for step in common:
        root = pages.open(root).updated(step, pages.store)
        base |= step
    a = pages.open(pages.open(root).updated(ours, pages.store))
    b = pages.open(pages.open(root).updated(theirs, pages.store))
    left, right = without_none(base | ours), without_none(base | theirs)
    expected = [
        (key, left.get(key), right.get(key))
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    ]
    assert list(a.differences(b)) == expected


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_pages_that_two_states_share_are_neither_written_nor_read_again(
    first: int, second: int
) -> None:
    pages = Pages()
    everything = {key: tables.PackSet(key.to_bytes(3, "big")) for key in range(5001)}
    before = pages.open(TableRoot(), 16).updated(everything, pages.store)
    size = pages.written
    change = {first: tables.PackSet(b"new"), second: tables.PackSet(b"new too")}
    after = pages.open(before, 16).updated(change, pages.store)
    # At most two leaves and the nodes above: not in proportion to the table.
    assert pages.written - size < 2 * (2 * 64 * 60 + 16 * 8) + 1000
    pages.read.clear()
    found = list(pages.open(after, 16).differences(pages.open(before, 16)))
    assert [key for key, _, _ in found] == sorted({first, second})
    assert len(pages.read) <= 2 * 2 * 3 + 2


def test_a_page_that_is_not_what_its_reference_says_is_refused() -> None:
    pages = Pages()
    root = pages.open(TableRoot()).updated({0: tables.PackSet(b"a")}, pages.store)
    other = pages.store(codec.encode([tables.PackSet(b"b")]))
    assert root.page is not None
    pages._pages[root.page] = pages._pages[other]
    with pytest.raises(PointDamagedError):
        pages.open(root).get(0)
