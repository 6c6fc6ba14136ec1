"""Blocks opened before they are needed, by a few threads, and kept for a while.

Whoever writes knows in which order it will need blocks, and says so as far ahead as there is
room. Opening (reading, decrypting, decompressing) mostly leaves Python's lock to others, so
it goes on while the writer waits for the kernel.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from strongroom.format.block import BlockAddress, BlockClass
from strongroom.storage.location import is_elsewhere
from strongroom.storage.reading import AT_ONCE, FAR_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from strongroom.repository.reader import BlockReader

_WORKERS: Final = min(4, max(2, os.cpu_count() or 2))
_TASK_BYTES: Final = 1 << 20
_AHEAD_BYTES: Final = 32 << 20
_KEPT_BYTES: Final = 64 << 20
_FIRST_GUESS: Final = 1 << 20
_LEAST_GUESS: Final = 8 << 10
_STEPS: Final = 256
"""Addresses looked at in one go: some may be open already, and cost no room."""


def workers_for(reader: BlockReader) -> int:
    """Return how many threads are to open blocks from where a reader finds them.

    More than processors in a place elsewhere, which lets each of them wait.
    """
    return AT_ONCE if is_elsewhere(reader.location) else _WORKERS


def task_bytes_for(reader: BlockReader) -> int:
    """Return how much such a thread is to open in one go, of blocks behind each other."""
    return FAR_BYTES if is_elsewhere(reader.location) else _TASK_BYTES


class BlocksAhead:
    """Opens data blocks in the order in which they will be asked for."""

    def __init__(
        self,
        reader: BlockReader,
        *,
        ahead_bytes: int = _AHEAD_BYTES,
        kept_bytes: int = _KEPT_BYTES,
        workers: int | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            reader: Opens the blocks.
            ahead_bytes: What is open and not yet taken is about this much at most.
            kept_bytes: Content kept because it may be wanted again, what is ahead included.
            workers: Threads that open; as many as the place is good for by default.
        """
        self._reader = reader
        self._ahead_bytes = ahead_bytes
        self._kept_bytes = kept_bytes
        self._pool = ThreadPoolExecutor(workers or workers_for(reader), "open")
        self._wanted: deque[Iterator[BlockAddress]] = deque()
        self._blocks: OrderedDict[BlockAddress, Future[bytes]] = OrderedDict()
        self._lock = threading.Condition()
        # Guarded by the lock, since workers tell what they opened:
        self._turn = 0
        self._turns: dict[BlockAddress, int] = {}
        """Of blocks that are not open yet, which place they have in the queue."""
        self._needed = 0
        """The turn of what somebody waits for: nothing up to it is held back."""
        self._closed = False
        self._opening = 0
        self._sizes: dict[BlockAddress, int] = {}
        self._held = 0
        """Bytes of all blocks that are open and kept."""
        self._ahead: set[BlockAddress] = set()
        self._ahead_held = 0
        """Bytes of those that are open and not taken."""
        self._average = float(_FIRST_GUESS)

    def want(self, addresses: Iterable[BlockAddress]) -> None:
        """Say what will be asked for next, in order; repeating an address does no harm."""
        self._wanted.append(iter(addresses))
        self.fill()

    @property
    def has_room(self) -> bool:
        """Whether all that was wanted is being opened, and more would fit."""
        return not self._wanted and self._fits()

    def fill(self) -> None:
        """Begin to open what is wanted, as far as memory allows."""
        for _ in range(_STEPS):
            if not self._wanted or not self._fits():
                return
            address = next(self._wanted[0], None)
            if address is None:
                self._wanted.popleft()
            else:
                self._open(address)

    def take(self, address: BlockAddress) -> bytes:
        """Return the content of a block, waiting for it if need be; raises as the reader."""
        future = self._open(address)
        with self._lock:
            first = address in self._ahead
            if first:
                self._ahead.remove(address)
                self._ahead_held -= self._sizes.get(address, 0)
                self._lock.notify_all()
        if first:
            self.fill()
            self._forget_oldest()
        if not future.done():
            # It may stand behind others in the queue, whose workers wait for room.
            with self._lock:
                self._needed = max(self._needed, self._turns.get(address, 0))
                self._lock.notify_all()
        return future.result()

    def close(self) -> None:
        """Stop opening."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._blocks.clear()
        self._wanted.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _fits(self) -> bool:
        with self._lock:
            return self._ahead_held + self._opening * self._average < self._ahead_bytes

    def _open(self, address: BlockAddress) -> Future[bytes]:
        future = self._blocks.get(address)
        if future is not None:
            self._blocks.move_to_end(address)
            return future
        with self._lock:
            self._opening += 1
            self._ahead.add(address)
            self._turn += 1
            turn = self._turns[address] = self._turn
        future = self._blocks[address] = self._pool.submit(self._opened, address, turn)
        return future

    def _opened(self, address: BlockAddress, turn: int) -> bytes:
        """Open a block; runs on a worker."""
        size = 0
        with self._lock:
            # Sizes were guessed: what turns out larger waits here.
            while self._holds_back(address, turn):
                self._lock.wait()
        try:
            raw = self._reader.read_uncached(address, BlockClass.DATA)
            size = len(raw)
            return raw
        finally:
            with self._lock:
                self._opening -= 1
                del self._turns[address]
                self._sizes[address] = size
                self._held += size
                if address in self._ahead:
                    self._ahead_held += size
                self._average += (max(size, _LEAST_GUESS) - self._average) / 8

    def _holds_back(self, address: BlockAddress, turn: int) -> bool:
        """Tell whether a worker has to wait for room before it opens a block."""
        return (
            self._ahead_held >= self._ahead_bytes
            and address in self._ahead
            and turn > self._needed
            and not self._closed
        )

    def _forget_oldest(self) -> None:
        """Let go of what was asked for longest ago."""
        with self._lock:
            surplus = self._held - self._kept_bytes
            if surplus <= 0:
                return
            victims = []
            for address in self._blocks:
                if address in self._sizes and address not in self._ahead:
                    victims.append(address)
                    surplus -= self._sizes[address]
                    if surplus <= 0:
                        break
            for address in victims:
                del self._blocks[address]
                self._held -= self._sizes.pop(address)
