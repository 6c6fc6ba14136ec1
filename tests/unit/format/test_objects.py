"""Frames, headers, entries and tables: each rule broken once."""

from __future__ import annotations

import pytest

from strongroom.crypto.content import fingerprint
from strongroom.errors import MalformedError, UnsupportedVersionError
from strongroom.format import block, codec, header, journal, versions
from strongroom.format.paging import MAX_PAGE, Node, PageRef, Table, TableRoot
from strongroom.format.tables import HistoryRecord, PackSet

CHAIN = b"c" * 16
MARKER = header.RepositoryMarker(1, b"r" * 16, 5)


def an_entry(body: journal.Body, signer: bytes = b"i" * 32, version: int = 1) -> bytes:
    return journal.encode_entry(CHAIN, 7, b"h" * 32, 9, signer, body, version)


DEATH = journal.DeathBody(b"s" * 16, b"")
CONDEMNATION = journal.CondemnationBody([3], ["packs/aa/aa"], 0)


def test_objects_come_out_as_they_went_in() -> None:
    assert header.read_marker(header.frame_marker(MARKER), "it") == MARKER
    entry = journal.read_entry(journal.frame_entry(an_entry(DEATH), b"signature"), "it")
    assert (entry.body, entry.number, entry.signature) == (DEATH, 7, b"signature")
    assert entry.hash == fingerprint(an_entry(DEATH))
    keys = header.SessionKeysObject(CHAIN, b"s" * 16, b"k" * 32, b"sealed", b"m" * 32)
    framed = header.frame_session_keys(keys, b"signature")
    assert header.read_session_keys(framed, "it") == keys
    assert header.read_session_keys_signed(framed, "it") == (keys, codec.encode(keys), b"signature")


def test_the_hash_of_an_entry_does_not_depend_on_its_signature() -> None:
    one = journal.read_entry(journal.frame_entry(an_entry(DEATH), b"a"), "it")
    other = journal.read_entry(journal.frame_entry(an_entry(DEATH), b"b"), "it")
    assert one.hash == other.hash


@pytest.mark.parametrize(
    ("signer", "signature"), [(b"i" * 32, b""), (b"", b"signature")], ids=["stripped", "stray"]
)
def test_signer_and_signature_come_together(signer: bytes, signature: bytes) -> None:
    data = journal.frame_entry(an_entry(CONDEMNATION, signer), signature)
    with pytest.raises(MalformedError, match="signer"):
        journal.read_entry(data, "it")
    unsigned = journal.read_entry(journal.frame_entry(an_entry(CONDEMNATION, b""), b""), "it")
    assert unsigned.body == CONDEMNATION


def test_what_is_newer_is_called_unsupported() -> None:
    newer = codec.frame(b"SRM2JRNL", b"")
    unknown = journal.RawEntry(1, CHAIN, 1, 99, b"", 0, b"i" * 32, b"")
    later = codec.frame(versions.REPOSITORY, codec.encode(header.RepositoryMarker(2, CHAIN, 0)))
    for read in (
        lambda: journal.read_entry(newer, "it"),
        lambda: journal.read_entry(journal.frame_entry(an_entry(DEATH, version=2), b"s"), "it"),
        lambda: journal.read_entry(journal.frame_entry(codec.encode(unknown), b"s"), "it"),
        lambda: header.read_marker(later, "it"),
        lambda: versions.check_suite(1, 3, "it"),
    ):
        with pytest.raises(UnsupportedVersionError):
            read()


@pytest.mark.parametrize("length", [0, 15, 17])
def test_ids_have_one_length(length: int) -> None:
    data = codec.frame(
        versions.REPOSITORY, codec.encode(header.RepositoryMarker(1, bytes(length), 5))
    )
    with pytest.raises(MalformedError):
        header.read_marker(data, "it")


@pytest.mark.parametrize("cut", [1, 31, 33, 40])
def test_a_frame_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(MalformedError):
        header.read_marker(header.frame_marker(MARKER)[:-cut], "it")


def test_a_frame_is_of_its_kind() -> None:
    with pytest.raises(MalformedError, match="is not a LINK object"):
        header.read_link(header.frame_marker(MARKER), "it")


@pytest.mark.parametrize("missing", [1, 2])
def test_no_field_may_be_left_out(missing: int) -> None:
    full = [1, None]
    with pytest.raises(MalformedError):
        codec.decode(TableRoot, codec.encode(full[:-missing]), "it")
    assert codec.decode(TableRoot, codec.encode(full), "it") == TableRoot(1, None)


def test_exact_length() -> None:
    assert codec.exact_length(b"abc", 3, "it") == b"abc"
    with pytest.raises(MalformedError):
        codec.exact_length(b"abc", 4, "it")


# --- blocks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\0" * 8,
        b"\2" + b"\0" * 8,
        b"\0\0\0\0\2\0\0\0\1x",
        b"\0\0\0\0\1\0\0\0\2x",
        b"\0\0\0\0\1\0\0\0\1x\0\1",
        b"\1\0\0\0\1\0\0\0\1x",
        b"\0\xff\0\0\1\0\0\0\1x",
    ],
)
def test_a_frame_that_cannot_be_is_refused(frame: bytes) -> None:
    with pytest.raises(MalformedError):
        block.read_frame(frame, "a block")


def test_every_part_of_a_context_tells_blocks_apart() -> None:
    one = (1, CHAIN, b"s" * 16, 5, 0)
    others = [(2, *one[1:]), (1, b"d" * 16, *one[2:]), (1, CHAIN, b"t" * 16, 5, 0)]
    others += [(*one[:3], 6, 0), (*one[:4], 1)]
    assert len({block.context(*each) for each in [one, *others]}) == 6


def test_an_address_knows_its_pack_and_place() -> None:
    address = block.BlockAddress(3, 5 << 16 | 77)
    assert (address.ordinal, address.place) == (5, 77)


# --- tables ----------------------------------------------------------------------------------


def a_table(page: bytes, levels: int = 0, **fields: object) -> Table[PackSet]:
    ref = PageRef(bytes(16), 12, len(page), fingerprint(page))
    return Table(PackSet, 4, TableRoot(levels, ref), lambda _: page)


@pytest.mark.parametrize(
    ("levels", "page"),
    [
        (0, codec.encode([])),
        (0, codec.encode([PackSet(b"\1")] * 5)),
        (0, codec.encode([PackSet(b"\1"), None])),
        (0, codec.encode([[b"\1", 2]])),
        (0, b""),
        (1, codec.encode(Node([]))),
        (1, codec.encode(Node([None]))),
        (1, codec.encode(Node([PageRef(bytes(16), 1, 1, bytes(32))] * 65))),
        (1, codec.encode(Node([PageRef(bytes(15), 1, 1, bytes(32))]))),
    ],
)
def test_a_page_that_cannot_be_is_refused(levels: int, page: bytes) -> None:
    with pytest.raises(MalformedError):
        dict(a_table(page, levels).items())


@pytest.mark.parametrize("levels", [-1, 7])
def test_a_table_is_not_deeper_than_any(levels: int) -> None:
    with pytest.raises(MalformedError):
        a_table(b"", levels)


def test_a_page_that_could_not_be_read_is_not_written() -> None:
    table = Table(HistoryRecord, 64, TableRoot(), lambda _: b"")
    record = HistoryRecord(bytes(32), [bytes(16)] * 60_000, [])
    with pytest.raises(ValueError, match="a page of"):
        table.updated({1: record}, lambda page: PageRef(bytes(16), 12, len(page), bytes(32)))
    assert len(codec.encode(record)) > MAX_PAGE


@pytest.mark.parametrize("index", [-1, 4 * 64**6])
def test_there_is_no_room_for_any_record(index: int) -> None:
    with pytest.raises(ValueError, match="record"):
        a_table(codec.encode([PackSet(b"\1")])).updated({index: None}, lambda _: None)  # type: ignore[arg-type,return-value]
