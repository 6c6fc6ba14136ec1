from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from strongroom import errors
from strongroom.storage.base import Composed
from strongroom.storage.throttling import ThrottlingStorage
from strongroom.testing.memory_storage import MemoryStorage
from strongroom.testing.turned_clock import TurnedClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.storage.base import Buffer, Part


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


def test_puts_and_gets_share_the_limit(clock: TurnedClock) -> None:
    storage = ThrottlingStorage(MemoryStorage(), clock, bytes_per_second=100)

    storage.put("a", bytes(1000))
    storage.put("b", memoryview(bytes(500)))
    storage.get("a", 0, 300)
    storage.get("a", 990, 300)

    assert clock.monotonic() == pytest.approx(10 + 5 + 3 + 0.1)


def test_asking_costs_nothing(clock: TurnedClock) -> None:
    storage = ThrottlingStorage(MemoryStorage(), clock, bytes_per_second=1)
    storage.put("a", b"")

    storage.size("a")
    storage.exists("a")
    assert len([*storage.list()]) == 1
    storage.delete("a")
    storage.free_bytes()

    assert clock.slept == ()


def test_what_the_transfer_took_counts(clock: TurnedClock) -> None:
    class Slow(MemoryStorage):
        def put(self, key: str, data: Buffer) -> None:
            clock.advance(timedelta(seconds=8))
            super().put(key, data)

    storage = ThrottlingStorage(Slow(), clock, bytes_per_second=100)
    storage.put("a", bytes(1000))
    assert clock.slept == (2.0,)
    storage.put("b", bytes(100))
    assert clock.slept == (2.0,)


def test_idle_time_is_not_saved_up(clock: TurnedClock) -> None:
    storage = ThrottlingStorage(MemoryStorage(), clock, bytes_per_second=100)
    clock.advance(timedelta(days=1))

    storage.put("a", bytes(1000))

    assert clock.slept == (10.0,)


def test_threads_together_stay_under_the_limit() -> None:
    clock = TurnedClock()
    # Each sleeper of the turned clock moves the time of all, so the last moment that any
    # of them waited for is what counts.
    ends: list[float] = []

    class Watched(TurnedClock):
        def monotonic(self) -> float:
            return 0.0

        def sleep(self, seconds: float) -> None:
            ends.append(seconds)

    storage = ThrottlingStorage(MemoryStorage(), Watched(), bytes_per_second=100)
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        for step in range(10):
            storage.put(f"{number}/{step}", bytes(100))

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(work, number) for number in range(8)]:
            done.result()

    assert max(ends) == pytest.approx(80.0)
    assert clock.slept == ()


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_a_limit_that_moves_nothing_is_refused(clock: TurnedClock, limit: float) -> None:
    with pytest.raises(errors.InvalidInputError):
        ThrottlingStorage(MemoryStorage(), clock, limit)


def test_what_is_composed_counts_as_it_moves(clock: TurnedClock) -> None:
    class Cloning(MemoryStorage):
        def compose(self, target: str, parts: Sequence[Part]) -> Composed:
            return Composed(written_bytes=100, cloned_bytes=10_000, copied_bytes=300)

    ThrottlingStorage(Cloning(), clock, bytes_per_second=100).compose("b", [])

    assert clock.slept == (7.0,)
