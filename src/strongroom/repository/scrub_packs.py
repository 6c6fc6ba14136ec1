"""Which packs a scrub reads, and reading several of them at a time.

Everything but packs is read by every scrub: it is little, and what says what packs have to be.
Of packs a sample may be read, so that a large repository is gone through in parts. Those left
out still have to be there, and long enough for their blocks.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from strongroom.errors import IntegrityError, ObjectMissingError
from strongroom.format import pack as packs
from strongroom.repository import layout
from strongroom.repository.packs import Expected, PackState, check_pack

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self, TypeAlias

    from strongroom.repository.progress import Cancellation, Progress
    from strongroom.storage.base import Storage

    _Then: TypeAlias = Callable[[PackState | None], None]

_READERS: Final = 4
"""Threads: hashing keeps two cores busy, and a bucket far away several requests."""
_UNREAD: Final = PackState((), (), None)


class Sample(Protocol):
    """Says which packs are to be read this time, and hears what became of them."""

    def due(self, pack_id: bytes, size: int) -> bool:
        """Tell whether a pack is to be read; asked once of every pack that is stored."""
        ...

    def read(self, pack_id: bytes, *, whole: bool) -> None:
        """A pack was read to its end, and was what it should be, or was not."""
        ...


class Everything:
    """All packs, whatever was read before."""

    def due(self, pack_id: bytes, size: int) -> bool:
        """Tell that the pack is to be read."""
        del pack_id, size
        return True

    def read(self, pack_id: bytes, *, whole: bool) -> None:
        """Forget it."""


@dataclass(slots=True)
class Choice:
    """What a listing showed of packs, and which are left out."""

    sample: Sample
    sizes: dict[bytes, int] = field(default_factory=dict)
    left_out: set[bytes] = field(default_factory=set)

    def add(self, pack_id: bytes, size: int) -> bool:
        """Take in a pack that was listed; return whether it is to be read."""
        self.sizes[pack_id] = size
        if self.sample.due(pack_id, size):
            return True
        self.left_out.add(pack_id)
        return False


class PackReader:
    """Compares packs of one chain with what was signed of them; use it in a `with`."""

    def __init__(
        self,
        storage: Storage,
        chain_id: bytes,
        choice: Choice,
        progress: Progress,
        cancel: Cancellation,
    ) -> None:
        self._storage = storage
        self._chain_id = chain_id
        self._choice = choice
        self._progress = progress
        self._cancel = cancel
        self._pool = ThreadPoolExecutor(_READERS, "scrub")
        self._asked: deque[tuple[bytes, Future[PackState | None], _Then]] = deque()
        self._running: dict[bytes, Future[PackState | None]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            while kind is None and self._asked:
                self._tell()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
            for pack_id, future, _ in self._asked:
                # What was read before a stop need not be read again.
                if not future.cancelled() and future.exception() is None:
                    self._remember(pack_id, future.result())

    def ask(self, expected: Expected, then: _Then) -> None:
        """Have a pack compared.

        Args:
            expected: What the ledger says of it.
            then: Called in the thread of who asks, in the order of asking, with what was found;
                None says that the pack is not there.
        """
        pack_id = expected.directory.pack_id
        future = self._running.get(pack_id)
        if future is None:
            future = self._running[pack_id] = self._pool.submit(self._look, expected)
        self._asked.append((pack_id, future, then))
        if len(self._asked) > 2 * _READERS:
            self._tell()

    def _tell(self) -> None:
        pack_id, future, then = self._asked.popleft()
        state = future.result()
        self._remember(pack_id, state)
        then(state)

    def _remember(self, pack_id: bytes, state: PackState | None) -> None:
        first = self._running.pop(pack_id, None) is not None
        if first and state is not None and state is not _UNREAD:
            self._choice.sample.read(pack_id, whole=not state.problems)

    def _look(self, expected: Expected) -> PackState | None:
        pack_id = expected.directory.pack_id
        key = layout.pack(self._chain_id, pack_id)
        self._cancel.check()
        try:
            size = self._choice.sizes.get(pack_id)
            if size is None:  # stored since the listing, or gone
                size = self._storage.size(key)
            if pack_id in self._choice.left_out and size >= _least_size(expected):
                return _UNREAD
            return check_pack(
                self._storage,
                self._chain_id,
                pack_id,
                size,
                expected,
                self._progress,
                self._cancel,
            )
        except ObjectMissingError:
            return None
        except IntegrityError:
            # `check_pack` notes what is wrong with a pack; it raises for one that went away.
            return None


def _least_size(expected: Expected) -> int:
    directory = expected.directory
    ends = map(int.__add__, directory.offsets, directory.lengths)
    return max(ends, default=0) + len(expected.encoded) + packs.FOOTER_LENGTH
