"""Which packs a scrub reads, and reading several of them at a time.

Everything but packs is read by every scrub: it is little, and what says what packs have to be.
Of packs a sample may be read, so that a large repository is gone through in parts. Those left
out still have to be there, and long enough for their blocks.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from strongroom.errors import IntegrityError
from strongroom.format import pack as packs
from strongroom.repository.packs import Expected, PackState, check_pack
from strongroom.repository.stored_packs import Form, forms
from strongroom.storage.reading import at_once

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self, TypeAlias

    from strongroom.repository.chain import Chain
    from strongroom.repository.progress import Cancellation, Progress

    Found: TypeAlias = list[tuple[Form, PackState]]
    """Forms of a pack that were compared, and how they were found; empty if it is gone."""
    _Then: TypeAlias = Callable[[Found], None]

_READERS: Final = 4
"""Threads: hashing keeps two cores busy."""
_FAR_READERS: Final = 8
"""The same where each waits for a request most of the time; each holds a piece in memory."""
_LISTINGS: Final = 5
"""How often a pack is looked for that compaction rewrites meanwhile."""
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
    listed: set[bytes] = field(default_factory=set)
    left_out: set[bytes] = field(default_factory=set)

    def add(self, pack_id: bytes, size: int) -> bool:
        """Take in a form of a pack that was listed; return whether it is to be read."""
        if pack_id not in self.listed:
            self.listed.add(pack_id)
            if not self.sample.due(pack_id, size):
                self.left_out.add(pack_id)
        return pack_id not in self.left_out


class PackReader:
    """Compares packs of one chain with what was signed of them; use it in a `with`."""

    def __init__(
        self,
        chain: Chain,
        choice: Choice,
        progress: Progress,
        cancel: Cancellation,
    ) -> None:
        self._chain = chain
        self._choice = choice
        self._progress = progress
        self._cancel = cancel
        self._readers = _READERS if at_once(chain.storage) == 1 else _FAR_READERS
        self._pool = ThreadPoolExecutor(self._readers, "scrub")
        self._asked: deque[tuple[bytes, Future[Found], _Then]] = deque()
        self._running: dict[bytes, Future[Found]] = {}

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
            then: Called in the thread of who asks, in the order of asking, with what was found.
        """
        pack_id = expected.directory.pack_id
        future = self._running.get(pack_id)
        if future is None:
            future = self._running[pack_id] = self._pool.submit(self._look, expected)
        self._asked.append((pack_id, future, then))
        if len(self._asked) > 2 * self._readers:
            self._tell()

    def _tell(self) -> None:
        pack_id, future, then = self._asked.popleft()
        found = future.result()
        self._remember(pack_id, found)
        then(found)

    def _remember(self, pack_id: bytes, found: Found) -> None:
        first = self._running.pop(pack_id, None) is not None
        if first and found and found[0][1] is not _UNREAD:
            self._choice.sample.read(pack_id, whole=not any(one.problems for _, one in found))

    def _look(self, expected: Expected) -> Found:
        """Compare a pack with the ledger, form by form until one is whole."""
        chain, pack_id = self._chain, expected.directory.pack_id
        self._cancel.check()
        for _ in range(_LISTINGS):
            found: Found = []
            # `check_pack` notes what is wrong with a pack; it raises for one that went away:
            # compacted meanwhile, perhaps.
            with suppress(IntegrityError):
                for form in forms(chain.storage, chain.chain_id, pack_id):
                    if self._may_stay_unread(expected, form):
                        return [(form, _UNREAD)]
                    state = check_pack(
                        chain.storage,
                        form,
                        chain.origin_id,
                        expected,
                        self._progress,
                        self._cancel,
                    )
                    found.append((form, state))
                    if not state.problems:
                        break
                return found
        return []

    def _may_stay_unread(self, expected: Expected, form: Form) -> bool:
        left_out = expected.directory.pack_id in self._choice.left_out
        return left_out and form.size >= _least_size(expected, form)


def _least_size(expected: Expected, form: Form) -> int:
    directory = expected.directory
    if form.generation:
        return len(expected.encoded) + packs.FOOTER_LENGTH  # what it holds, only its trailer says
    ends = map(int.__add__, directory.offsets, directory.lengths)
    return max(ends, default=0) + len(expected.encoded) + packs.FOOTER_LENGTH
