"""Whether a place keeps the promises of `Storage`, found out by trying, on the operator's own.

Objects are made under a prefix that nobody else has, and removed again. A server that overwrites
what it was told to write once, say, works for months and loses a chain on the day that two runs
meet; so a place elsewhere is tried before it becomes a repository.
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from strongroom.errors import (
    IntegrityError,
    ObjectExistsError,
    ObjectMissingError,
    PromiseBrokenError,
    StrongroomError,
)
from strongroom.storage.reading import at_once, side_by_side, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from strongroom.clock import Clock
    from strongroom.storage.base import Storage

LARGE_BYTES: Final = 33 << 20
"""More than one request carries, where a place has such a limit."""
_RACERS: Final = 8
_IN_ORDER: Final = ("-a/b", "a-b", "a.b/c", "a/b", "a/c/d", "a/c0", "a0", "a_/b", "b/" + "0" * 60)
"""In order of their characters; folder by folder, `a/b` would come before `a-b`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of trying one promise."""

    promise: str
    """Its name, for scripts."""
    means: str
    kept: bool
    problem: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class _Promise:
    name: str
    means: str
    trial: Callable[[Storage, str], None]
    """Raises `_BrokenError`, `IntegrityError` or `ObjectExistsError` where it is broken."""
    thorough: bool = False
    """Costs much traffic: for whoever asks for all."""


class _BrokenError(Exception):
    """The place did otherwise; the message says what."""


def check(
    storage: Storage, folder: str, clock: Clock, *, thorough: bool = True
) -> Iterator[Outcome]:
    """Yield the outcome of every promise, as soon as it and those before it are known.

    Of a place elsewhere they are tried side by side.

    Args:
        storage: The place.
        folder: Of keys that nobody else has; nothing is left there.
        clock: The time.
        thorough: Whether promises are tried that cost much traffic.

    Raises:
        UnavailableError, RefusedError: the place does not answer, or forbids what a repository
            does: no promise was broken by that.
    """

    def outcome(promise: _Promise) -> Outcome:
        begun = clock.monotonic()
        problem = None
        prefix = f"{folder}/{promise.name}"
        try:
            promise.trial(storage, prefix)
        except (_BrokenError, IntegrityError, ObjectExistsError, PromiseBrokenError) as error:
            problem = str(error)
        finally:
            with suppress(StrongroomError):
                left = [info.key for info in storage.list(f"{prefix}/")]
                together(storage, *(partial(storage.delete, key) for key in left))
        seconds = round(clock.monotonic() - begun, 3)
        return Outcome(promise.name, promise.means, problem is None, problem, seconds)

    tried = [promise for promise in PROMISES if thorough or not promise.thorough]
    yield from side_by_side(outcome, tried, at_once(storage))


def broken(location: str, outcomes: Sequence[Outcome]) -> PromiseBrokenError | None:
    """Return the error that names what is broken, if anything is."""
    found = [one for one in outcomes if not one.kept]
    if not found:
        return None
    named = "; ".join(f"{one.promise} ({one.problem})" for one in found)
    return PromiseBrokenError(
        f"{location} cannot be a repository, for it breaks what a storage promises: {named}",
        location=location,
        promises=[one.promise for one in found],
    )


# --- the trials -----------------------------------------------------------------------------


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _BrokenError(otherwise)


def _reads_back(storage: Storage, prefix: str) -> None:
    for name, data in (("digits", b"0123456789"), ("empty", b"")):
        key = f"{prefix}/{name}"
        storage.put(key, data)
        _expect(storage.get(key) == data, f"of {len(data)} bytes others came back")
        _expect(storage.size(key) == len(data), "it says another size than was stored")
    key = f"{prefix}/digits"
    for offset, length in ((0, 4), (3, 4), (3, None), (8, 5), (10, 1), (11, None)):
        wanted = b"0123456789"[offset : None if length is None else offset + length]
        got = storage.get(key, offset, length)
        _expect(got == wanted, f"{length} bytes from {offset} of 10 are {got!r}")


def _shows_at_once(storage: Storage, prefix: str) -> None:
    for number in range(5):
        key = f"{prefix}/{number}"
        _expect(not storage.exists(key), "it has what nobody stored")
        storage.put(key, b"1")
        _expect(storage.exists(key), "what was stored a moment ago is not there")
        listed = [info.key for info in storage.list(f"{prefix}/")]
        _expect(key in listed, "a listing lacks what was stored a moment ago")


def _writes_once(storage: Storage, prefix: str) -> None:
    key = f"{prefix}/object"
    storage.put(key, b"first")
    for second in (b"second", b"first"):
        try:
            storage.put(key, second)
        except ObjectExistsError:
            continue
        now = storage.get(key)
        did = "was overwritten" if now != b"first" else "was taken"
        raise _BrokenError(
            f"a second put of one key {did} where it has to be refused: If-None-Match is ignored"
        )
    _expect(storage.get(key) == b"first", "a refused put changed the object")


def _one_winner(storage: Storage, prefix: str) -> None:
    key = f"{prefix}/object"
    barrier = threading.Barrier(_RACERS)

    def put(number: int) -> bool:
        barrier.wait()
        try:
            storage.put(key, bytes([number]) * 1000)
        except ObjectExistsError:
            return False
        return True

    with ThreadPoolExecutor(_RACERS) as threads:
        won = [*threads.map(put, range(_RACERS))]
    _expect(won.count(True) == 1, f"of {_RACERS} writers at once {won.count(True)} succeeded")
    held = storage.get(key)
    _expect(held == bytes([won.index(True)]) * 1000, "the object is not that of who succeeded")


def _whole_or_nothing(storage: Storage, prefix: str) -> None:
    key, size = f"{prefix}/object", 1 << 20
    data = hashlib.shake_256(key.encode()).digest(size)
    done = threading.Event()

    def write() -> None:
        try:
            storage.put(key, data)
        finally:
            done.set()

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        last = False
        while not last:
            last = done.is_set()
            try:
                seen = storage.get(key)
            except ObjectMissingError:
                continue
            _expect(seen == data, f"a reader saw {len(seen)} of {size} bytes")
        writing.result()


def _lists_in_order(storage: Storage, prefix: str) -> None:
    for key in reversed(_IN_ORDER):
        storage.put(f"{prefix}/{key}", key.encode())
    wanted = [f"{prefix}/{key}" for key in _IN_ORDER]
    listed = [*storage.list(f"{prefix}/")]
    _expect([info.key for info in listed] == wanted, "a listing is not all keys in their order")
    sizes = [info.size for info in listed]
    _expect(
        sizes == [len(key) for key in _IN_ORDER], "a listing shows other sizes than were stored"
    )
    for start in ("a", "a/", "a/c", "b/0"):
        found = [info.key for info in storage.list(f"{prefix}/{start}")]
        wanted = [f"{prefix}/{key}" for key in _IN_ORDER if key.startswith(start)]
        _expect(found == wanted, f"a listing of what begins with {start} is another")


def _deletes(storage: Storage, prefix: str) -> None:
    key = f"{prefix}/object"
    storage.delete(key)
    storage.put(key, b"1")
    storage.put(f"{key}-2", b"other")
    storage.delete(key)
    storage.delete(key)
    _expect(not storage.exists(key), "what was deleted is still there")
    listed = [info.key for info in storage.list(f"{prefix}/")]
    _expect(listed == [f"{key}-2"], "a listing shows what was deleted, or lacks another")
    storage.put(key, b"22")
    _expect(storage.get(key) == b"22", "a key is not what was written after a deletion")


def _large(storage: Storage, prefix: str) -> None:
    key = f"{prefix}/object"
    data = hashlib.shake_256(b"large").digest(LARGE_BYTES)
    storage.put(key, data)
    _expect(storage.size(key) == len(data), "a large object has another size than was stored")
    _expect(storage.get(key) == data, "a large object came back otherwise")
    try:
        storage.put(key, data[1:])
    except ObjectExistsError:
        return
    raise _BrokenError("a second put of a large object was not refused")


PROMISES: Final = (
    _Promise("writes-once", "a key is written once; a second put is refused", _writes_once),
    _Promise("one-winner", "of many writers of one key at once, one succeeds", _one_winner),
    _Promise("reads-back", "what was put is read back, whole and in ranges", _reads_back),
    _Promise("shows-at-once", "what was put is there at once, for get and list", _shows_at_once),
    _Promise("whole-or-nothing", "no reader sees half an object", _whole_or_nothing),
    _Promise("lists-in-order", "a listing has all keys, in order", _lists_in_order),
    _Promise("deletes", "what was deleted is gone at once, and nothing else", _deletes),
    _Promise("large", "large objects are whole, and written once too", _large, thorough=True),
)
