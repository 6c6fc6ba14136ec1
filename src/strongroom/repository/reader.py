"""Any block of a state, by its address.

An address names a session and a number. The session's record leads to its ledger, the ledger
says in which pack the block was born, where it lay there and what its stored bytes hash to; the
session's keys open it. Where the pack is gone, what compaction left of it is looked for. What
comes out was sealed by that session under that number, or an error names what is wrong.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strongroom.crypto.aead import NotSealedHereError, PackSealer
from strongroom.crypto.content import fingerprint
from strongroom.errors import (
    BlockDamagedError,
    IntegrityError,
    MalformedError,
    ObjectMissingError,
    PointDamagedError,
    StrongroomError,
)
from strongroom.format.block import BlockAddress, BlockClass, context, read_frame
from strongroom.format.codec import HASH_LENGTH, decode
from strongroom.format.pack import FOOTER_LENGTH, Directory
from strongroom.repository import layout
from strongroom.repository.stored_packs import find_block, find_pack
from strongroom.storage.reading import WideReads, is_far, worth_one_request

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from strongroom.format.paging import Table
    from strongroom.format.tables import LedgerPage, SessionRecord
    from strongroom.repository.chain import Chain
    from strongroom.repository.keyring import Keyring
    from strongroom.repository.stored_packs import StoredPack
    from strongroom.storage.base import Buffer

_LOOKS = 5
"""How often a block is looked for that compaction moves meanwhile."""
_THINNED_KEPT = 256
_PLACES_KEPT = 1 << 17
"""Blocks whose place in a pack is remembered: about 25 MB."""


@dataclass(frozen=True, slots=True)
class Birth:
    """Where a pack's blocks were sealed and lie."""

    session_id: bytes
    key: str
    """The pack object's name."""
    directory: Directory
    index_of: dict[int, int]
    """Position in the directory's columns, by place."""
    sealer: PackSealer | None


@dataclass(frozen=True, slots=True)
class _Lying:
    """Where a block lies."""

    address: BlockAddress
    key: str
    """The pack object's name."""
    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length

    def follows(self, first: _Lying, last: _Lying) -> bool:
        """Tell whether this one is worth being read together with those before it."""
        return self.key == last.key and worth_one_request(
            first.offset, last.end, self.offset, self.end
        )


class BlockReader:
    """Opens blocks; may be used by several threads at once."""

    def __init__(
        self,
        chain: Chain,
        sessions: Table[SessionRecord],
        keyring: Keyring,
        cache_bytes: int = 32 << 20,
    ) -> None:
        """Read blocks of the state whose sessions these are.

        Args:
            chain: Where they lie.
            sessions: The session table of the point's entry.
            keyring: Opens them; data needs more than the index does.
            cache_bytes: Opened blocks kept for further reads.
        """
        self._chain = chain
        self._sessions = sessions
        self._keyring = keyring
        self._lock = threading.RLock()
        self._births: OrderedDict[tuple[int, int], Birth] = OrderedDict()
        self._places = 0
        self._thinned: OrderedDict[str, StoredPack] = OrderedDict()
        """What is left of packs that are not there as they were born, by their names."""
        self._ledgers: dict[int, tuple[SessionRecord, Table[LedgerPage]]] = {}
        self._opened: OrderedDict[BlockAddress, bytes] = OrderedDict()
        self._opened_bytes = 0
        self._cache_bytes = cache_bytes
        self._is_far = is_far(chain.storage)
        self._pages = WideReads(chain.storage)
        """Packs of an index: small blocks, of which many are wanted."""

    @property
    def location(self) -> str:
        """Where the blocks are, as the operator would write it."""
        return self._chain.storage.location

    def expect_whole_index(self) -> None:
        """Prepare for somebody who walks through all of an index."""
        self._pages.expect_all()

    def read(self, address: BlockAddress, block_class: BlockClass) -> bytes:
        """Return the content of a block.

        Raises:
            BlockDamagedError: its stored bytes are not those that were sealed.
            PointDamagedError: no ledger knows the address.
            ObjectMissingError: its pack is not there.
            UnlockError: no key at hand opens its session.
        """
        with self._lock:
            cached = self._opened.get(address)
            if cached is not None:
                self._opened.move_to_end(address)
                return cached
        raw = self.read_uncached(address, block_class)
        with self._lock:
            if address not in self._opened:
                self._opened[address] = raw
                self._opened_bytes += len(raw)
                while self._opened_bytes > self._cache_bytes and len(self._opened) > 1:
                    self._opened_bytes -= len(self._opened.popitem(last=False)[1])
        return raw

    def read_uncached(
        self, address: BlockAddress, block_class: BlockClass, stored: Buffer | None = None
    ) -> bytes:
        """Return the content of a block and keep nothing of it; raises as `read`.

        Args:
            address: The block's.
            block_class: Its class.
            stored: Its bytes, where `with_stored` had them.
        """
        birth = self.birth(address, block_class)
        index = birth.index_of.get(address.place)
        if index is None:
            raise self._unknown_place(birth, address)
        try:
            if stored is None:
                stored = self._stored(birth, address, index)
        except ObjectMissingError as error:
            raise ObjectMissingError(
                f"{birth.key} is missing: {_named(birth, address)} cannot be read",
                **_fields(birth, address),
            ) from error
        try:
            return self._opened_frame(birth, address, index, stored)
        except (NotSealedHereError, MalformedError) as error:
            chain = self._chain
            elsewhere = find_block(
                chain.storage, chain.chain_id, chain.origin_id, birth.directory, address.place
            )
            if elsewhere is not None:
                with suppress(NotSealedHereError, MalformedError):
                    return self._opened_frame(birth, address, index, elsewhere)
            raise BlockDamagedError(
                f"{_named(birth, address)} is not what was sealed: changed or damaged in storage",
                **_fields(birth, address),
            ) from error

    def with_stored(
        self, addresses: Iterable[BlockAddress], block_class: BlockClass
    ) -> Iterator[tuple[BlockAddress, Buffer | None]]:
        """Yield blocks with their stored bytes, or None: then `read_uncached` is to read them.

        In a place elsewhere blocks that lie behind each other come with one request. What is
        wrong with one shows when it is opened.

        Args:
            addresses: In the order in which they lie in their packs.
            block_class: Of all of them.
        """
        run: list[_Lying] = []
        for address in addresses:
            lying = self._lying(address, block_class)
            if run and (lying is None or not lying.follows(run[0], run[-1])):
                yield from self._read_run(run)
                run = []
            if lying is None:
                yield address, None
            else:
                run.append(lying)
        if run:
            yield from self._read_run(run)

    def _lying(self, address: BlockAddress, block_class: BlockClass) -> _Lying | None:
        """Return where a block was born, or None if it has to be read alone."""
        if not self._is_far:
            return None
        try:
            birth = self.birth(address, block_class)
        except StrongroomError:
            return None
        index = birth.index_of.get(address.place)
        with self._lock:
            thinned = birth.key in self._thinned
        if index is None or thinned:
            return None
        directory = birth.directory
        return _Lying(address, birth.key, directory.offsets[index], directory.lengths[index])

    def _read_run(self, run: list[_Lying]) -> Iterator[tuple[BlockAddress, Buffer | None]]:
        """Yield blocks that lie one behind the other, read together if they are several."""
        begin, end = run[0].offset, run[-1].end
        data = None
        if len(run) > 1:
            with suppress(IntegrityError):  # it is looked for elsewhere, block by block
                data = memoryview(self._chain.storage.get(run[0].key, begin, end - begin))
        for one in run:
            stored = None if data is None else data[one.offset - begin : one.end - begin]
            yield one.address, stored

    def _stored(self, birth: Birth, address: BlockAddress, index: int) -> bytes:
        """Return a block's bytes from the pack, or from what compaction left of it."""
        get: Callable[[str, int, int], bytes] = self._chain.storage.get
        if birth.directory.block_class == BlockClass.INDEX:
            get = self._pages.get
        length = birth.directory.lengths[index]
        with self._lock:
            thinned = self._thinned.get(birth.key)
        if thinned is None:
            try:
                return get(birth.key, birth.directory.offsets[index], length)
            except ObjectMissingError:
                pass
        elif address.place in thinned.offsets:
            try:
                return get(thinned.key, thinned.offsets[address.place], length)
            except ObjectMissingError:
                pass  # thinned once more meanwhile
        for _ in range(_LOOKS):
            thinned = self._find_thinned(birth, address.place)
            try:
                return get(thinned.key, thinned.offsets[address.place], length)
            except ObjectMissingError:
                continue
        raise ObjectMissingError(f"{birth.key} is rewritten again and again", object=birth.key)

    def _find_thinned(self, birth: Birth, place: int) -> StoredPack:
        chain = self._chain
        found = find_pack(chain.storage, chain.chain_id, chain.origin_id, birth.directory, (place,))
        with self._lock:
            self._thinned[birth.key] = found
            while len(self._thinned) > _THINNED_KEPT:
                self._thinned.popitem(last=False)
        return found

    def check_stored(self, address: BlockAddress, block_class: BlockClass) -> Collection[int]:
        """Go on if a block's pack is there and as long as it has to be; reads no block.

        Returns:
            The places of all blocks that are there with it.

        Raises:
            PointDamagedError: no ledger knows the block.
            ObjectMissingError: it is not there, in no form that holds the block.
            BlockDamagedError: it is cut short.
        """
        self.check_place(address, block_class)
        birth = self.birth(address, block_class)
        try:
            size = self._chain.storage.size(birth.key)
        except ObjectMissingError:
            return self._find_thinned(birth, address.place).offsets.keys()
        if size < birth.directory.size + FOOTER_LENGTH:
            raise BlockDamagedError(
                f"{birth.key} has {size} bytes, and its blocks alone take "
                f"{birth.directory.size}: cut short in storage",
                **_fields(birth, address),
            )
        return birth.index_of.keys()

    def _opened_frame(
        self, birth: Birth, address: BlockAddress, index: int, stored: Buffer
    ) -> bytes:
        what = "a block"
        # A seal says that somebody had the key, and only the ledger's hash who: a secret that
        # leaked opens keys, and does not sign.
        expected = birth.directory.hashes[HASH_LENGTH * index : HASH_LENGTH * (index + 1)]
        if fingerprint(stored) != expected:
            raise MalformedError(f"{what} is not what the ledger says")
        if birth.sealer is None:
            return read_frame(stored, what)
        bound_to = context(
            self._chain.header.suite,
            self._chain.origin_id,
            birth.session_id,
            address.number,
            birth.directory.block_class,
        )
        return read_frame(birth.sealer.open(address.place, bound_to, stored), what)

    def check_place(self, address: BlockAddress, block_class: BlockClass) -> None:
        """Go on if the signed ledger knows the block; raises as `read`, and reads no block."""
        birth = self.birth(address, block_class)
        if address.place not in birth.index_of:
            raise self._unknown_place(birth, address)

    def offset(self, address: BlockAddress, block_class: BlockClass) -> int:
        """Return where in its pack a block lies; raises as `check_place`."""
        birth = self.birth(address, block_class)
        index = birth.index_of.get(address.place)
        if index is None:
            raise self._unknown_place(birth, address)
        return birth.directory.offsets[index]

    @staticmethod
    def _unknown_place(birth: Birth, address: BlockAddress) -> PointDamagedError:
        return PointDamagedError(
            f"{birth.key} has no block at place {address.place}", **_fields(birth, address)
        )

    def birth(self, address: BlockAddress, block_class: BlockClass) -> Birth:
        """Return the pack that a block was born in, as the signed ledger has it."""
        key = (address.slot, address.ordinal)
        with self._lock:
            birth = self._births.get(key)
            if birth is None:
                birth = self._births[key] = self._find(address)
                self._places += len(birth.index_of)
                while self._places > _PLACES_KEPT and len(self._births) > 1:
                    self._places -= len(self._births.popitem(last=False)[1].index_of)
            else:
                self._births.move_to_end(key)
        if birth.directory.block_class != block_class:
            raise PointDamagedError(
                f"{birth.key} holds blocks of another class than its reference means"
            )
        return birth

    def directory(self, slot: int, ordinal: int) -> Directory:
        """Return a pack's directory as the ledger has it; no key is needed."""
        with self._lock:
            return self._directory(slot, ordinal)[1]

    def _directory(self, slot: int, ordinal: int) -> tuple[SessionRecord, Directory]:
        record, ledger = self._ledger(slot)
        what = f"the ledger of session {record.session_id.hex()[:12]}"
        page = ledger.get(ordinal)
        if page is None:
            raise PointDamagedError(f"{what} has no pack {ordinal}")
        directory = decode(Directory, page.directory, what).check(what)
        if directory.ordinal != ordinal:
            raise PointDamagedError(f"{what} has pack {directory.ordinal} as {ordinal}")
        return record, directory

    def _find(self, address: BlockAddress) -> Birth:
        record, directory = self._directory(address.slot, address.ordinal)
        sealer = None
        if self._chain.sealed:
            key = (
                self._keyring.metakey(record)
                if directory.block_class == BlockClass.INDEX
                else self._keyring.session_key(record)
            )
            sealer = PackSealer(key, directory.pack_id)
        return Birth(
            record.session_id,
            layout.pack(self._chain.chain_id, directory.pack_id),
            directory,
            {place: index for index, place in enumerate(directory.places)},
            sealer,
        )

    def _ledger(self, slot: int) -> tuple[SessionRecord, Table[LedgerPage]]:
        found = self._ledgers.get(slot)
        if found is None:
            record = self._sessions.get(slot)
            if record is None:
                raise PointDamagedError(
                    f"chain {self._chain.name}: the state has no session {slot}"
                )
            found = self._ledgers[slot] = (record, self._chain.ledger(record.ledger))
        return found


def _named(birth: Birth, address: BlockAddress) -> str:
    return f"block {address.number} of session {birth.session_id.hex()[:12]} in {birth.key}"


def _fields(birth: Birth, address: BlockAddress) -> dict[str, Any]:
    return {
        "object": birth.key,
        "session": birth.session_id.hex(),
        "slot": address.slot,
        "number": address.number,
    }
