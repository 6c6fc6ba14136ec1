"""How a storage is read from so that its distance costs little.

Of a place elsewhere each request takes a while, whatever it asks for. So several are on their
way at once, and what is small and lies together comes with one of them. A folder on this machine
answers at once: there nothing more is read than was asked for, and nothing beside it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

from strongroom.errors import StrongroomError
from strongroom.storage.location import is_elsewhere
from strongroom.storage.readonly import ReadOnlyStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from strongroom.storage.base import Buffer, Composed, ObjectInfo, ObjectKey, Part, Storage

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE: Final = 16
"""Requests on their way to a place elsewhere: of blocks of a MiB, enough to fill 100 MB/s at an
answering time of 100 ms."""
FAR_BYTES: Final = 4 << 20
"""What one request for much is worth there: as much as comes in the time of an answer or two."""
RUN_BYTES: Final = FAR_BYTES * 9 // 8
"""The most that blocks of as much content take, which are stored with some padding."""
_GAP_BYTES: Final = 256 << 10
"""Bytes between two pieces that are read with them rather than with a request of their own."""
_FIRST_BYTES: Final = 256 << 10
_LISTED: Final = 64
_SMALL_BYTES: Final = 256 << 10
_KEPT_BYTES: Final = 16 << 20


def is_far(storage: Storage) -> bool:
    """Tell whether each request to a storage takes a while."""
    return is_elsewhere(storage.location)


def at_once(*storages: Storage) -> int:
    """Return how many requests are worth making side by side, where one place takes them all."""
    return AT_ONCE if any(map(is_far, storages)) else 1


def side_by_side(call: Callable[[T], R], items: Iterable[T], threads_at_most: int) -> Iterator[R]:
    """Yield what a call returns for each item, in their order; several are made at once.

    Raises:
        BaseException: what the first of them raised, in the order of items.
    """
    waiting = list(items)
    if threads_at_most < 2 or len(waiting) < 2:
        yield from map(call, waiting)
        return
    # Not at the top: what reads near places only, as most commands do, starts faster without.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(threads_at_most, len(waiting)), "ask") as threads:
        try:
            yield from threads.map(call, waiting)
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def worth_one_request(begin: int, end: int, next_begin: int, next_end: int) -> bool:
    """Tell whether a piece of an object is worth being read together with what lies before it."""
    return 0 <= next_begin - end <= _GAP_BYTES and next_end - begin <= RUN_BYTES


def together(storage: Storage, *calls: Callable[[], object]) -> None:
    """Make calls that ask the same storage, side by side where each takes a while.

    Raises:
        BaseException: what the first of them raised, in their order.
    """
    for _ in side_by_side(lambda call: call(), calls, at_once(storage)):
        pass


def batches(items: Iterable[T], count: int) -> Iterator[list[T]]:
    """Yield items, so many at a time."""
    rest = iter(items)
    while some := list(islice(rest, count)):
        yield some


def small_objects(storage: Storage, keys: Iterable[ObjectKey]) -> dict[ObjectKey, bytes]:
    """Return small objects of a place elsewhere, read side by side, by their keys.

    It is for who reads them one by one next. What does not come, or is not small, is left out,
    and so is all of a place that is near: who reads it then meets what is wrong with it.
    """
    if not is_far(storage):
        return {}
    found = side_by_side(lambda key: (key, _small_object(storage, key)), keys, AT_ONCE)
    return {key: data for key, data in found if data is not None}


def _small_object(storage: Storage, key: ObjectKey) -> bytes | None:
    try:
        data = storage.get(key, 0, _SMALL_BYTES + 1)
    except StrongroomError:
        return None
    return data if len(data) <= _SMALL_BYTES else None


class WideReads:
    """Reads small pieces of objects, with what lies around them where that saves requests.

    How much comes at once grows with how often something of the object was missing: from an
    index of which one page is wanted little is read, and of one that is walked through much.

    Objects never change, so what was read stays true. One that was damaged may be mended, or
    removed: who finds a piece not to be what it should be asks for it with `anew`.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._is_far = is_far(storage)
        self._first_bytes = _FIRST_BYTES
        self._lock = threading.Lock()
        self._pieces: OrderedDict[tuple[ObjectKey, int], bytes] = OrderedDict()
        """By object and where they begin there."""
        self._begins: dict[ObjectKey, list[int]] = {}
        self._held = 0
        self._missed: dict[ObjectKey, int] = {}

    def expect_all(self) -> None:
        """Read much at once from the start: all of each object is going to be wanted."""
        self._first_bytes = FAR_BYTES

    def get(self, key: ObjectKey, offset: int, length: int) -> bytes:
        """Return a piece of an object; raises as the storage does."""
        if not self._is_far:
            return self._storage.get(key, offset, length)
        with self._lock:
            found = self._found(key, offset, length)
            if found is not None:
                return found
            missed = self._missed[key] = self._missed.get(key, 0) + 1
        width = min(self._first_bytes << (missed - 1), FAR_BYTES)
        if length > width:
            return self._storage.get(key, offset, length)
        begin = offset // width * width
        end = max(begin + width, offset + length)
        piece = self._storage.get(key, begin, end - begin)
        with self._lock:
            self._keep(key, begin, piece)
        return piece[offset - begin : offset - begin + length]

    def anew(self, key: ObjectKey, offset: int, length: int) -> bytes:
        """Return a piece as it is stored now, and forget what was read of its object before."""
        with self._lock:
            for begin in self._begins.pop(key, ()):
                self._held -= len(self._pieces.pop((key, begin)))
        return self._storage.get(key, offset, length)

    def _found(self, key: ObjectKey, offset: int, length: int) -> bytes | None:
        for begin in self._begins.get(key, ()):
            if begin <= offset and offset + length <= begin + len(self._pieces[key, begin]):
                self._pieces.move_to_end((key, begin))
                return self._pieces[key, begin][offset - begin : offset - begin + length]
        return None

    def _keep(self, key: ObjectKey, begin: int, piece: bytes) -> None:
        before = self._pieces.pop((key, begin), None)
        if before is None:
            self._begins.setdefault(key, []).append(begin)
        else:
            self._held -= len(before)
        self._pieces[key, begin] = piece
        self._held += len(piece)
        while self._held > _KEPT_BYTES:
            (old, at), gone = self._pieces.popitem(last=False)
            self._held -= len(gone)
            self._begins[old].remove(at)
            if not self._begins[old]:
                del self._begins[old]


class ListedAhead(ReadOnlyStorage):
    """A storage for who reads small objects one by one, in the order in which they are listed.

    Those of a place elsewhere come side by side, some before they are asked for.
    """

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self._ahead: dict[ObjectKey, bytes] = {}

    def coming(
        self, listed: Iterable[ObjectInfo], is_wanted: Callable[[ObjectInfo], bool]
    ) -> Iterator[ObjectInfo]:
        """Yield what is listed; what is wanted of it and small is at hand while it is looked at."""
        for some in batches(listed, _LISTED):
            keys = [one.key for one in some if one.size <= _SMALL_BYTES and is_wanted(one)]
            self._ahead = small_objects(self._inner, keys)
            yield from some
        self._ahead = {}

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        data = self._ahead.get(key)
        if data is None:
            return self._inner.get(key, offset, length)
        return data[offset : None if length is None else offset + length]

    def size(self, key: ObjectKey) -> int:
        data = self._ahead.get(key)
        return self._inner.size(key) if data is None else len(data)


class AskedAhead:
    """A storage that is asked for some things side by side before somebody needs them one by one.

    Only a place elsewhere is. Each answer serves once, and where none came, because of an error
    too, who needs it asks as if nobody had before. What is asked for changes: who writes forgets
    what nobody came for.
    """

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self._objects: dict[ObjectKey, bytes] = {}
        self._listings: dict[str, list[ObjectInfo]] = {}

    @property
    def location(self) -> str:
        return self._inner.location

    def ask(self, objects: Iterable[ObjectKey], folders: Iterable[str] = ()) -> None:
        """Ask for small objects, and for what lies below some prefixes."""
        if not is_far(self._inner):
            return
        questions = [
            *(partial(self._ask_for_object, key) for key in objects),
            *(partial(self._ask_for_listing, prefix) for prefix in folders),
        ]
        together(self._inner, *questions)

    def forget(self) -> None:
        """Forget all answers."""
        self._objects.clear()
        self._listings.clear()

    def answered(self, prefix: str) -> list[ObjectKey]:
        """Return what a listing has brought, which stays there for who asks for it."""
        return [info.key for info in self._listings.get(prefix, ())]

    def put(self, key: ObjectKey, data: Buffer) -> None:
        self._inner.put(key, data)

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        return self._inner.compose(target, parts)

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        data = self._objects.pop(key, None) if offset == 0 else None
        return self._inner.get(key, offset, length) if data is None else data[:length]

    def size(self, key: ObjectKey) -> int:
        return self._inner.size(key)

    def exists(self, key: ObjectKey) -> bool:
        return self._inner.exists(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        listing = self._listings.pop(prefix, None)
        return self._inner.list(prefix) if listing is None else iter(listing)

    def delete(self, key: ObjectKey) -> None:
        self._inner.delete(key)

    def free_bytes(self) -> int | None:
        return self._inner.free_bytes()

    def _ask_for_object(self, key: ObjectKey) -> None:
        data = _small_object(self._inner, key)
        if data is not None:
            self._objects[key] = data

    def _ask_for_listing(self, prefix: str) -> None:
        with suppress(StrongroomError):
            self._listings[prefix] = [*self._inner.list(prefix)]
