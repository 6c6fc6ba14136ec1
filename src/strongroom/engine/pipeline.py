"""From raw blocks to packs: compress, seal, store, each on threads of its own.

A block gets its address at once, so that the index can be written while the block is still
being compressed: which pack it belongs to is fixed by raw bytes, and its place is drawn from
a shuffled window of 64 places, so that numbers say nothing of the order of reading.

    add ──▶ compress (workers) ──▶ assemble, seal, hash, store (storers)

Memory is bounded by two budgets: raw bytes that wait for compression, and packs that are not
stored yet. The thread that adds blocks waits when either is used up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from mmap import mmap
from typing import TYPE_CHECKING, NamedTuple

from strongroom.crypto import random
from strongroom.engine.framing import Framer
from strongroom.engine.pack_sealing import SealingSession, seal_pack
from strongroom.format import block as blocks
from strongroom.format.block import BlockAddress, BlockClass
from strongroom.format.pack import Contents, Piece
from strongroom.storage.base import Buffer

if TYPE_CHECKING:
    from strongroom.crypto.envelope import SessionSecrets

PACK_RAW_BYTES = 24 << 20
FAR_PACK_RAW_BYTES = 32 << 20
"""The same where each pack is a request to a place elsewhere, at the price of some 32 MiB more
memory; `storage.bucket.SINGLE_BYTES` has room for what padding adds to it."""
MAX_PACK_BLOCKS = 4096
WINDOW = 64
_RAW_BUDGET = 16 << 20
_OPEN_PACKS = 3
_ROOM = 12 << 20
"""Bytes of a pack's buffer beyond its raw bytes, for padding and trailer."""

StorePack = Callable[[bytes, int, bytes, Buffer], None]
"""Stores a pack: id, ordinal, encoded directory, bytes."""


@dataclass(frozen=True, slots=True)
class Compression:
    """How hard to compress; `level` None stores everything raw."""

    level: int | None = 3


@dataclass(slots=True)
class _Assembly:
    """A pack that is being filled."""

    block_class: BlockClass
    ordinal: int
    raw_bytes: int = 0
    places: list[int] = field(default_factory=list)
    frames: list[Future[bytes]] = field(default_factory=list)
    raw_lengths: list[int] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    window: list[int] = field(default_factory=list)
    is_full: bool = False


class Reserved(NamedTuple):
    """A block whose address is known and whose content is still to come."""

    address: BlockAddress
    assembly: _Assembly
    position: int

    @property
    def is_due(self) -> bool:
        """Whether its pack is full otherwise, and held up, with a storer, until it is filled."""
        return self.assembly.is_full


class BlockPipeline:
    """Compresses, seals and stores a session's blocks."""

    def __init__(
        self,
        origin_id: bytes,
        session_id: bytes,
        slot: int,
        secrets: SessionSecrets | None,
        compression: Compression,
        store: StorePack,
        workers: int = 2,
        pack_bytes: int | None = None,
    ) -> None:
        """Start the threads.

        Args:
            origin_id: The chain's; bound into every block.
            session_id: Bound into every block.
            slot: What addresses say of this session.
            secrets: Keys that seal; none in a plain chain.
            compression: The job's level.
            store: Makes a pack durable; called from several threads.
            workers: Threads that compress.
            pack_bytes: Raw bytes of a pack at most; what suits a near place by default.
        """
        self._pack_bytes = pack_bytes if pack_bytes is not None else PACK_RAW_BYTES
        self._session = SealingSession(origin_id, session_id, secrets)
        self._slot = slot
        self._framer = Framer(compression.level, sealed=secrets is not None)
        self._store = store
        self._compressors = ThreadPoolExecutor(workers, "compress")
        self._storers = ThreadPoolExecutor(2, "store")
        self._open: dict[BlockClass, _Assembly] = {}
        self._ordinal = 0
        self._raw = threading.Condition()
        self._raw_bytes = 0
        self._unstored = threading.Semaphore(_OPEN_PACKS)
        self._stored: list[Future[None]] = []
        self._storing: dict[int, _Assembly] = {}
        """Packs handed to the storers and not done with, by ordinal."""
        self._buffers: list[bytearray | mmap] = []
        """Of packs that are stored. Beside the heap, for in it they would leave holes that the
        next one, a little larger, does not fit into; and what is not used of one is no memory."""
        self.stored_bytes = 0
        self.waited_seconds = {"compress": 0.0, "store": 0.0}

    def add(
        self, block_class: BlockClass, raw: Buffer, pieces: Sequence[tuple[int, int, bytes]]
    ) -> BlockAddress:
        """Take a block over and return the address it will have.

        Args:
            block_class: Which key seals it.
            raw: Its content, at most `format.block.MAX_RAW` bytes; not to be changed until
                the session ends.
            pieces: Offset, length and content hash of what in it can be recognised later.

        Raises:
            StrongroomError: an earlier pack could not be stored.
        """
        reserved = self.reserve(block_class, len(raw))
        self.fill(reserved, raw, pieces)
        return reserved.address

    def reserve(self, block_class: BlockClass, most: int) -> Reserved:
        """Return the address of a block that is still being filled.

        Args:
            block_class: Which key will seal it.
            most: No more raw bytes than this will be in it; they count for the pack's size.
        """
        assembly = self._assembly(block_class, most)
        if not assembly.window:
            first = len(assembly.places)
            assembly.window = random.shuffled(list(range(first, first + WINDOW)))
        place = assembly.window.pop()
        position = len(assembly.places)
        assembly.places.append(place)
        assembly.raw_lengths.append(0)
        assembly.frames.append(Future())
        assembly.raw_bytes += most
        address = BlockAddress(self._slot, assembly.ordinal << blocks.PLACE_BITS | place)
        return Reserved(address, assembly, position)

    def fill(
        self, reserved: Reserved, raw: Buffer, pieces: Sequence[tuple[int, int, bytes]]
    ) -> None:
        """Give a reserved block its content."""
        length = len(raw)
        if length > blocks.MAX_RAW:
            raise ValueError(f"a block of {length} bytes")
        self._acquire_raw(length)
        assembly, position = reserved.assembly, reserved.position
        assembly.raw_lengths[position] = length
        place = assembly.places[position]
        assembly.pieces.extend(Piece(place, *piece) for piece in pieces)
        # The list's item is taken now: closing the pack does not change it.
        self._compressors.submit(self._frame_into, assembly.frames[position], raw, length)

    def flush(self) -> None:
        """Store what is still open and wait until all packs are durable.

        Raises:
            StrongroomError: one of them could not be stored.
        """
        for assembly in self._open.values():
            self._close(assembly)
        self._open.clear()
        begun = time.perf_counter()
        with self._raw:
            while self._raw_bytes:
                self._raw.wait()
        compressed = time.perf_counter()
        for future in self._stored:
            future.result()
        self._stored.clear()
        self.waited_seconds["compress"] += compressed - begun
        self.waited_seconds["store"] += time.perf_counter() - compressed

    def shut_down(self) -> None:
        """Stop the threads; what is not stored by now is lost, which harms nobody."""
        self._compressors.shutdown(wait=True, cancel_futures=True)
        # Frames that nobody will make any more: a storer would wait for them for ever.
        for assembly in list(self._storing.values()):
            for frame in assembly.frames:
                frame.cancel()
        self._storers.shutdown(wait=True, cancel_futures=True)

    # --- assembling ------------------------------------------------------------------------

    def _assembly(self, block_class: BlockClass, length: int) -> _Assembly:
        assembly = self._open.get(block_class)
        if assembly is not None and (
            assembly.raw_bytes + length > self._pack_bytes
            or len(assembly.places) >= MAX_PACK_BLOCKS
        ):
            self._close(assembly)
            assembly = None
        if assembly is None:
            self._reap()
            assembly = self._open[block_class] = _Assembly(block_class, self._ordinal)
            self._ordinal += 1
        return assembly

    def _close(self, assembly: _Assembly) -> None:
        begun = time.perf_counter()
        while not self._unstored.acquire(timeout=0.5):
            self._reap()
        self.waited_seconds["store"] += time.perf_counter() - begun
        assembly.is_full = True
        self._storing[assembly.ordinal] = assembly
        self._stored.append(self._storers.submit(self._finish, assembly))

    def _reap(self) -> None:
        """Let an error of an earlier pack out now, not at the end."""
        pending = []
        for future in self._stored:
            if future.done():
                future.result()
            else:
                pending.append(future)
        self._stored = pending

    def _acquire_raw(self, length: int) -> None:
        with self._raw:
            if self._raw_bytes + length > _RAW_BUDGET and self._raw_bytes:
                begun = time.perf_counter()
                while self._raw_bytes + length > _RAW_BUDGET and self._raw_bytes:
                    self._raw.wait()
                self.waited_seconds["compress"] += time.perf_counter() - begun
            self._raw_bytes += length

    # --- compressing -----------------------------------------------------------------------

    def _frame_into(self, frame: Future[bytes], raw: Buffer, length: int) -> None:
        try:
            frame.set_result(self._frame(raw, length))
        except BaseException as error:  # noqa: BLE001 - it reaches whoever waits for the frame
            frame.set_exception(error)

    def _frame(self, raw: Buffer, length: int) -> bytes:
        try:
            return self._framer.frame(raw)
        finally:
            with self._raw:
                self._raw_bytes -= length
                self._raw.notify()

    # --- sealing and storing ---------------------------------------------------------------

    def _finish(self, assembly: _Assembly) -> None:
        try:
            self._seal_and_store(assembly)
        finally:
            self._storing.pop(assembly.ordinal, None)
            self._unstored.release()

    def _seal_and_store(self, assembly: _Assembly) -> None:
        order = sorted(range(len(assembly.places)), key=assembly.places.__getitem__)
        frames = [assembly.frames[index].result() for index in order]
        assembly.frames.clear()
        sealed = seal_pack(
            self._session,
            assembly.ordinal,
            assembly.block_class,
            [assembly.places[index] for index in order],
            frames,
            Contents([assembly.raw_lengths[index] for index in order], assembly.pieces),
            self._buffer,
        )
        with memoryview(sealed.buffer) as whole_view:
            self._store(
                sealed.pack_id, assembly.ordinal, sealed.directory, whole_view[: sealed.length]
            )
        self._buffers.append(sealed.buffer)
        self.stored_bytes += sealed.length

    def _buffer(self, size: int) -> bytearray | mmap:
        """Return a buffer of at least `size` bytes; one that was used before, if possible."""
        while self._buffers:
            with suppress(IndexError):  # another storer took it
                buffer = self._buffers.pop()
                if len(buffer) >= size:
                    return buffer
        return mmap(-1, max(size, self._pack_bytes + _ROOM))
