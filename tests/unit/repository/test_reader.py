import struct
import threading

import pytest

from strongroom.engine.points import PointView
from strongroom.errors import (
    BlockDamagedError,
    ObjectMissingError,
    PointDamagedError,
    UnlockError,
)
from strongroom.format.block import BlockAddress, BlockClass, context
from strongroom.format.point import TreeRoot
from strongroom.repository import layout
from strongroom.repository.keyring import Keyring
from strongroom.repository.reader import BlockReader
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.chain_builder import (
    LEAVE,
    BuiltChain,
    ChainBuilder,
    build_chain,
    directory,
    start_chain,
)

DATA, INDEX = BlockClass.DATA, BlockClass.INDEX
FRAME_HEAD = struct.Struct(">BII")


def a_chain_with(
    contents: list[bytes], *, sealed: bool = True
) -> tuple[BuiltChain, AdversaryStorage, list[BlockAddress]]:
    storage = AdversaryStorage(MemoryStorage())
    built = start_chain(storage, sealed=sealed)
    session = built.session()
    pieces = [session.piece(content) for content in contents]
    addresses = [BlockAddress(*piece.block) for piece in pieces if piece.block]
    session.publish([("files:/source", _tree(session))])
    return built, storage, addresses


def _tree(session: ChainBuilder) -> TreeRoot:
    return session.single([directory(b"."), LEAVE])


def a_reader(built: BuiltChain) -> BlockReader:
    return built.views()[0].reader()


def the_root_page(view: PointView) -> BlockAddress:
    root = view.opened().root
    assert isinstance(root, TreeRoot)
    return BlockAddress(*root.page)


def the_pack(built: BuiltChain, reader: BlockReader, address: BlockAddress) -> str:
    return reader.birth(address, DATA).key


@pytest.mark.parametrize("sealed", [True, False])
def test_a_block_reads_as_it_was_written(sealed: bool) -> None:
    contents = [b"", b"x", bytes(100_000), bytes(range(256)) * 4096]
    built, _, addresses = a_chain_with(contents, sealed=sealed)
    reader = a_reader(built)

    assert [reader.read(address, DATA) for address in addresses] == contents
    assert [reader.read_uncached(address, DATA) for address in addresses] == contents


@pytest.mark.parametrize("sealed", [True, False])
def test_a_flipped_bit_in_a_block_is_damage_that_names_pack_and_session(sealed: bool) -> None:
    built, storage, (address,) = a_chain_with([bytes(range(256)) * 400], sealed=sealed)
    reader = a_reader(built)
    birth = reader.birth(address, DATA)
    storage.flip(birth.key, birth.directory.offsets[0] + 50)

    with pytest.raises(BlockDamagedError) as caught:
        reader.read(address, DATA)

    assert caught.value.fields["object"] == birth.key
    assert caught.value.fields["session"] == birth.session_id.hex()


@pytest.mark.parametrize("sealed", [True, False])
def test_a_block_in_the_place_of_another_does_not_open(sealed: bool) -> None:
    built, storage, (one, other) = a_chain_with([b"1" * 5000, b"2" * 5000], sealed=sealed)
    reader = a_reader(built)
    birth = reader.birth(one, DATA)
    first, second = (birth.directory.offsets[birth.index_of[a.place]] for a in (one, other))
    length = birth.directory.lengths[0]
    pack = bytearray(storage.get(birth.key))
    pack[first : first + length], pack[second : second + length] = (
        pack[second : second + length],
        pack[first : first + length],
    )
    storage.replace(birth.key, bytes(pack))

    for address in (one, other):
        with pytest.raises(BlockDamagedError):
            reader.read(address, DATA)


@pytest.mark.parametrize("block_class", [DATA, INDEX])
def test_who_has_the_keys_puts_nothing_in_the_place_of_what_was_signed(
    block_class: BlockClass,
) -> None:
    built, storage, (data,) = a_chain_with([b"what was backed up" * 40])
    view = built.views()[0]
    reader = view.reader()
    address = data if block_class is DATA else the_root_page(view)
    birth = reader.birth(address, block_class)
    index = birth.index_of[address.place]
    begin, length = birth.directory.offsets[index], birth.directory.lengths[index]
    bound_to = context(
        built.chain().header.suite, built.chain_id, birth.session_id, address.number, block_class
    )
    assert birth.sealer is not None
    honest = storage.get(birth.key)
    frame = birth.sealer.open(address.place, bound_to, honest[begin : begin + length])
    forged = (FRAME_HEAD.pack(0, 5, 5) + b"wrong").ljust(len(frame), b"\0")
    sealed = birth.sealer.seal(address.place, bound_to, forged)
    assert len(sealed) == length
    storage.replace(birth.key, honest[:begin] + sealed + honest[begin + length :])

    with pytest.raises(BlockDamagedError):
        built.views()[0].reader().read(address, block_class)


def test_a_pack_cut_short_is_damage() -> None:
    built, storage, (address,) = a_chain_with([b"x" * 5000])
    reader = a_reader(built)
    storage.truncate(the_pack(built, reader, address), 100)

    with pytest.raises(BlockDamagedError):
        reader.read(address, DATA)


def test_a_missing_pack_is_named() -> None:
    built, storage, (address,) = a_chain_with([b"x"])
    reader = a_reader(built)
    key = the_pack(built, reader, address)
    storage.hide(key)

    with pytest.raises(ObjectMissingError) as caught:
        reader.read(address, DATA)

    assert caught.value.fields["object"] == key


def test_data_does_not_pass_for_a_page_nor_a_page_for_data() -> None:
    built, _, (address,) = a_chain_with([b"x"])
    view = built.views()[0]
    reader = view.reader()
    page = the_root_page(view)

    with pytest.raises(PointDamagedError):
        reader.read(address, INDEX)
    with pytest.raises(PointDamagedError):
        reader.read(page, DATA)


@pytest.mark.parametrize(
    "wrong", [BlockAddress(99, 0), BlockAddress(1, 77 << 16), BlockAddress(1, 0xFFFF)]
)
def test_an_address_that_no_ledger_knows_is_damage(wrong: BlockAddress) -> None:
    built, _, _ = a_chain_with([b"x"])
    reader = a_reader(built)

    with pytest.raises(PointDamagedError):
        reader.read(wrong, DATA)


def test_metakeys_open_pages_and_no_data() -> None:
    built, _, (address,) = a_chain_with([b"x"])
    view = built.views()[0]
    assert view.keyring is not None
    chain = built.chain()
    sessions = chain.sessions(view.live.body)
    record = sessions.get(view.live.body.slot)
    assert record is not None
    metakeys = {record.session_id: view.keyring.metakey(record)}
    reader = BlockReader(chain, sessions, Keyring(chain.chain_id, {}, metakeys))
    page = the_root_page(view)

    assert reader.read(page, INDEX)
    with pytest.raises(UnlockError):
        reader.read(address, DATA)


def test_what_was_read_lately_is_not_read_again() -> None:
    built, storage, (address,) = a_chain_with([b"x" * 1000])
    reader = a_reader(built)
    assert reader.read(address, DATA) == b"x" * 1000
    storage.hide(the_pack(built, reader, address))

    assert reader.read(address, DATA) == b"x" * 1000


def test_the_cache_holds_no_more_than_it_may() -> None:
    contents = [bytes([n]) * 1000 for n in range(20)]
    built, storage, addresses = a_chain_with(contents)
    view = built.views()[0]
    assert view.keyring is not None
    chain = built.chain()
    reader = BlockReader(chain, chain.sessions(view.live.body), view.keyring, cache_bytes=5000)
    for address in addresses:
        reader.read(address, DATA)
    storage.hide(layout.packs(built.chain_id))

    kept = 0
    for address in addresses:
        try:
            reader.read(address, DATA)
        except ObjectMissingError:
            continue
        kept += 1
    assert kept == 5


def test_threads_share_a_reader() -> None:
    contents = [bytes([n]) * (1000 + n) for n in range(64)]
    built, _, addresses = a_chain_with(contents)
    reader = a_reader(built)
    wrong: list[int] = []

    def read_all(step: int) -> None:
        for turn in range(200):
            index = (turn * step) % len(contents)
            if reader.read(addresses[index], DATA) != contents[index]:
                wrong.append(index)

    threads = [threading.Thread(target=read_all, args=(step,)) for step in (1, 3, 5, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_older_point_reads_through_its_own_session_table() -> None:
    built = build_chain(MemoryStorage(), trees=[{"a": b"one"}])
    second = built.session()
    piece = second.piece(b"two")
    second.publish([("files:/source", _tree(second))])
    old, new = built.views()

    assert piece.block is not None
    assert new.reader().read(BlockAddress(*piece.block), DATA) == b"two"
    with pytest.raises(PointDamagedError):
        old.reader().read(BlockAddress(*piece.block), DATA)
