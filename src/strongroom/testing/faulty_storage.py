"""A storage that breaks where it is told to.

faulty = FaultyStorage(MemoryStorage())
faulty.fail("put", 3, errors.StorageUnavailableError("power cut"))
...
faulty.assert_all_hit()      # else the test passed because nothing went wrong
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar, get_args

from strongroom import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from strongroom.storage.base import Buffer, Composed, ObjectInfo, ObjectKey, Part, Storage

Verb: TypeAlias = Literal["put", "compose", "get", "size", "exists", "list", "delete", "free_bytes"]
When: TypeAlias = Literal["before", "after"]
T = TypeVar("T")

_WRITES = frozenset({"put", "compose", "delete"})


@dataclass(slots=True)
class _Fault:
    verb: Verb
    at: int
    error: Exception
    when: When
    hit: bool = False


class FaultyStorage:
    """Passes every call on to `inner`, save those that were told to fail."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._calls: Counter[Verb] = Counter()
        self._faults: _Faults = []
        self._writes = 0
        self._last_write: int | None = None
        self._killed_by: Exception | None = None
        self._kill_hit = False

    @property
    def location(self) -> str:
        return self._inner.location

    @property
    def calls(self) -> Mapping[Verb, int]:
        """How often each verb was called, failed calls included."""
        return dict(self._calls)

    def fail(self, verb: Verb, nth: int, error: Exception, when: When = "before") -> None:
        """Raise `error` at the nth call of `verb` from now on, the next being 1.

        `before` leaves the storage as it was; `after` lets the call happen and takes its
        answer away. A listing fails before its first object or after its last.
        """
        if nth < 1 or verb not in get_args(Verb):
            raise ValueError(f"no such call: {verb} number {nth}")
        with self._lock:
            self._faults.append(_Fault(verb, self._calls[verb] + nth, error, when))

    def kill_after(self, nth: int, error: Exception | None = None) -> None:
        """Let `nth` more writes happen, deletes among them, and fail all later ones.

        What is then in the storage is what a process killed at that instant leaves.
        """
        with self._lock:
            self._last_write = self._writes + nth
            self._killed_by = error or errors.StorageUnavailableError("killed by the test")

    def assert_all_hit(self) -> None:
        """Fail unless every fault that was set has fired."""
        idle = [f"{fault.verb} number {fault.at}" for fault in self._faults if not fault.hit]
        if self._last_write is not None and not self._kill_hit:
            idle.append(f"a write after number {self._last_write}")
        assert not idle, f"never came to fail: {', '.join(idle)} (calls: {dict(self._calls)})"

    def put(self, key: ObjectKey, data: Buffer) -> None:
        self._call("put", lambda: self._inner.put(key, data))

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        return self._call("compose", lambda: self._inner.compose(target, parts))

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        return self._call("get", lambda: self._inner.get(key, offset, length))

    def size(self, key: ObjectKey) -> int:
        return self._call("size", lambda: self._inner.size(key))

    def exists(self, key: ObjectKey) -> bool:
        return self._call("exists", lambda: self._inner.exists(key))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        fault = self._count("list")
        if fault is not None and fault.when == "before":
            raise fault.error
        yield from self._inner.list(prefix)
        if fault is not None:
            raise fault.error

    def delete(self, key: ObjectKey) -> None:
        self._call("delete", lambda: self._inner.delete(key))

    def free_bytes(self) -> int | None:
        return self._call("free_bytes", self._inner.free_bytes)

    def _call(self, verb: Verb, call: Callable[[], T]) -> T:
        fault = self._count(verb)
        if fault is not None and fault.when == "before":
            raise fault.error
        answer = call()
        if fault is not None:
            raise fault.error
        return answer

    def _count(self, verb: Verb) -> _Fault | None:
        """Count one call; return the fault it is to run into."""
        with self._lock:
            self._calls[verb] += 1
            if verb in _WRITES:
                self._writes += 1
                if (
                    self._killed_by is not None
                    and self._last_write is not None
                    and self._writes > self._last_write
                ):
                    self._kill_hit = True
                    return _Fault(verb, self._calls[verb], self._killed_by, "before", hit=True)
            for fault in self._faults:
                if fault.verb == verb and fault.at == self._calls[verb]:
                    fault.hit = True
                    return fault
        return None


_Faults: TypeAlias = list[_Fault]
