"""Repeats calls that were not answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from strongroom.errors import ObjectExistsError, ObjectMissingError, UnavailableError
from strongroom.storage.base import Composed, ObjectRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from strongroom.clock import Clock
    from strongroom.storage.base import Buffer, ObjectInfo, ObjectKey, Part, Storage

T = TypeVar("T")
_WORTH_SAYING_SECONDS: Final = 2.0


def quiet(_: str) -> None:
    """Say nothing."""


def backoff(
    first_seconds: float = 0.5, factor: float = 2.0, longest_seconds: float = 30.0, times: int = 8
) -> tuple[float, ...]:
    """Return waits that grow by `factor` up to the longest; together about two minutes."""
    return tuple(min(first_seconds * factor**n, longest_seconds) for n in range(times))


class RetryingStorage:
    """Repeats calls that failed because the place did not answer.

    `UnavailableError` is the only family retried: what is missing, damaged or refused
    stays so. After the last wait the error goes up unchanged.

    A put that was not answered and then finds its very bytes under the key takes them for
    its own. So whoever decides a race by a put makes its bytes unlike every other's.

    `jitter` returns a number from 0 to 1 for each wait, of which that much of its second
    half is taken: jobs that lost the same storage together should not return together.
    `tell` says to the operator why it takes so long.
    """

    def __init__(
        self,
        inner: Storage,
        clock: Clock,
        *,
        jitter: Callable[[], float],
        waits: Sequence[float] = backoff(),
        tell: Callable[[str], None] = quiet,
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._jitter = jitter
        self._waits = waits
        self._tell = tell

    @property
    def location(self) -> str:
        return self._inner.location

    def put(self, key: ObjectKey, data: Buffer) -> None:
        self._write(key, [data], lambda: self._inner.put(key, data))

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        return self._write(target, parts, lambda: self._inner.compose(target, parts))

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        return self._again(lambda: self._inner.get(key, offset, length))

    def size(self, key: ObjectKey) -> int:
        return self._again(lambda: self._inner.size(key))

    def exists(self, key: ObjectKey) -> bool:
        return self._again(lambda: self._inner.exists(key))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield on after a failure from where it was, as keys come in order."""
        last = ""
        waits = iter(self._waits)
        while True:
            try:
                for info in self._inner.list(prefix):
                    if info.key > last:
                        last = info.key
                        waits = iter(self._waits)
                        yield info
            except UnavailableError as error:
                wait = next(waits, None)
                if wait is None:
                    raise
                self._wait(wait, error)
            else:
                return

    def delete(self, key: ObjectKey) -> None:
        self._again(lambda: self._inner.delete(key))

    def free_bytes(self) -> int | None:
        return self._again(self._inner.free_bytes)

    def _write(self, key: ObjectKey, parts: Sequence[Part], call: Callable[[], T]) -> T | Composed:
        unanswered = False

        def attempt() -> T | Composed:
            nonlocal unanswered
            try:
                return call()
            except UnavailableError:
                unanswered = True
                raise
            except ObjectExistsError:
                # A write whose answer was lost leaves its object behind; the repeat finds it.
                found = self._found(key, parts) if unanswered else None
                if found is None:
                    raise
                return found

        return self._again(attempt)

    def _found(self, key: ObjectKey, parts: Sequence[Part]) -> Composed | None:
        """Compare what is under `key` with `parts`; if it is they, nobody knows if cloned."""
        found = Composed()
        try:
            for part in parts:
                if isinstance(part, ObjectRange):
                    data: Buffer = self._inner.get(part.key, part.offset, part.length)
                    known = Composed(copied_bytes=len(data))
                else:
                    data = memoryview(part).cast("B")
                    known = Composed(written_bytes=len(data))
                if self._inner.get(key, found.size, len(data)) != data:
                    return None
                found += known
            return found if self._inner.size(key) == found.size else None
        except ObjectMissingError:
            return None

    def _again(self, call: Callable[[], T]) -> T:
        for wait in self._waits:
            try:
                return call()
            except UnavailableError as error:
                self._wait(wait, error)
        return call()

    def _wait(self, longest: float, error: UnavailableError) -> None:
        seconds = longest * (1 + self._jitter()) / 2
        if longest >= _WORTH_SAYING_SECONDS:
            self._tell(f"{error}; trying again in {seconds:.0f} s")
        self._clock.sleep(seconds)
