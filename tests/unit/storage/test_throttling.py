"""What a limit lets through, and who waits for it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from strongroom import errors
from strongroom.clock import SystemClock
from strongroom.storage.base import Composed
from strongroom.storage.throttling import Line, SharedLine, ThrottlingStorage
from strongroom.testing.memory_storage import MemoryStorage
from strongroom.testing.turned_clock import TurnedClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from strongroom.clock import Clock
    from strongroom.storage.base import Buffer, Part, Storage


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


def throttled(
    clock: Clock, rate: float | None, inner: Storage | None = None, **more: object
) -> ThrottlingStorage:
    line = Line(clock, lambda: rate)
    return ThrottlingStorage(inner or MemoryStorage(), line, **more)  # type: ignore[arg-type]


def test_puts_and_gets_share_the_limit(clock: TurnedClock) -> None:
    storage = throttled(clock, 100)

    storage.put("a", bytes(1000))
    storage.put("b", memoryview(bytes(500)))
    storage.get("a", 0, 300)
    storage.get("a", 990, 300)

    assert clock.monotonic() == pytest.approx(10 + 5 + 3 + 0.1)


def test_what_is_composed_counts_as_it_moves(clock: TurnedClock) -> None:
    class Cloning(MemoryStorage):
        def compose(self, target: str, parts: Sequence[Part]) -> Composed:
            return Composed(written_bytes=100, cloned_bytes=10_000, copied_bytes=300)

    throttled(clock, 100, Cloning()).compose("b", [])

    assert clock.monotonic() == pytest.approx(7.0, abs=0.1)


def test_asking_costs_nothing(clock: TurnedClock) -> None:
    storage = throttled(clock, 1)
    storage.put("a", b"")

    storage.size("a")
    storage.exists("a")
    assert len([*storage.list()]) == 1
    storage.delete("a")
    storage.free_bytes()

    assert clock.slept == ()


@pytest.mark.parametrize("verb", ["put", "get"])
def test_what_the_transfer_took_counts(clock: TurnedClock, verb: str) -> None:
    class Slow(MemoryStorage):
        def put(self, key: str, data: Buffer) -> None:
            if verb == "put":
                clock.advance(timedelta(seconds=8))
            super().put(key, data)

        def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
            clock.advance(timedelta(seconds=8))
            return super().get(key, offset, length)

    inner = Slow()
    storage = throttled(clock, 100, inner)
    if verb == "put":
        storage.put("a", bytes(1000))
    else:
        inner.put("a", bytes(1000))
        storage.get("a")
    assert sum(clock.slept) == pytest.approx(2)


def test_idle_time_is_not_saved_up(clock: TurnedClock) -> None:
    storage = throttled(clock, 100)
    clock.advance(timedelta(days=1))

    storage.put("a", bytes(1000))

    assert sum(clock.slept) == pytest.approx(10, abs=0.1)


def test_who_wakes_late_makes_it_good(clock: TurnedClock) -> None:
    class Sleepy(TurnedClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds + 0.002)

    sleepy = Sleepy()
    storage = throttled(sleepy, 1000)
    for number in range(1000):
        storage.put(f"{number}", bytes(10))

    assert sleepy.monotonic() == pytest.approx(10, abs=0.1)


def test_threads_together_stay_under_the_limit() -> None:
    storage = throttled(SystemClock(), 2_000_000)
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        for step in range(10):
            storage.put(f"{number}/{step}", bytes(10_000))
            storage.get(f"{number}/{step}")

    begun = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(work, number) for number in range(8)]:
            done.result()

    assert 0.75 < time.monotonic() - begun < 1.3, "1.6 MB at 2 MB/s"


# --- rates that change -----------------------------------------------------------------------


def test_a_rate_that_changes_holds_for_who_waits_already(clock: TurnedClock) -> None:
    line = Line(clock, lambda: 10 if clock.monotonic() < 20 else 100)
    storage = ThrottlingStorage(MemoryStorage(), line)

    storage.put("a", bytes(1200))

    assert clock.monotonic() == pytest.approx(20 + 10, abs=0.3)


def test_a_limit_that_ends_lets_go_who_waits(clock: TurnedClock) -> None:
    line = Line(clock, lambda: 10 if clock.monotonic() < 20 else None)
    storage = ThrottlingStorage(MemoryStorage(), line)

    storage.put("a", bytes(100_000))
    storage.get("a")

    assert clock.monotonic() == pytest.approx(20, abs=0.3)


# --- waits -----------------------------------------------------------------------------------


def test_a_wait_ends_when_the_work_is_stopped(clock: TurnedClock) -> None:
    def check() -> None:
        if clock.monotonic() > 5:
            raise errors.CancelledError("stopped on request")

    storage = throttled(clock, 1, check=check)

    with pytest.raises(errors.CancelledError):
        storage.put("a", bytes(1_000_000))
    assert clock.monotonic() < 5.5


def test_waits_are_told(clock: TurnedClock) -> None:
    told: list[float] = []
    storage = throttled(clock, 100, waited=told.append)

    storage.put("a", bytes(1000))

    assert sum(told) == pytest.approx(10)


def test_signs_of_life_pass_those_that_wait(clock: TurnedClock) -> None:
    storage = throttled(clock, 1, exempt="locks/")

    storage.put("locks/beat", bytes(1000))
    storage.get("locks/beat")
    assert clock.slept == ()

    storage.put("other", bytes(10))
    assert clock.slept != ()


# --- between processes -----------------------------------------------------------------------


def shared(path: Path, clock: Clock, rate: Callable[[], float | None]) -> closing[SharedLine]:
    return closing(SharedLine(path, clock, rate))


def test_two_processes_share_a_line(tmp_path: Path, clock: TurnedClock) -> None:
    path = tmp_path / "cache" / "line"
    with shared(path, clock, lambda: 100) as one, shared(path, clock, lambda: 100) as other:
        assert one.book_next(1000) is not None
        assert other.book_next(500) is None, "the line is taken"
        assert other.free_in > 0

        clock.advance(timedelta(seconds=10))
        end = other.book_next(500)
        assert end is not None
        assert other.wait_seconds(end) > 0
        clock.advance(timedelta(seconds=5))
        assert other.wait_seconds(end) == 0


def test_a_line_of_before_the_machine_was_started_is_void(
    tmp_path: Path, clock: TurnedClock
) -> None:
    clock.advance(timedelta(days=3))
    with shared(tmp_path / "line", clock, lambda: 1) as before:
        before.book_next(1_000_000)

    started = TurnedClock()
    with shared(tmp_path / "line", started, lambda: 1) as after:
        assert after.book_next(10) is not None


def test_a_file_that_holds_something_else_is_a_line_that_is_free(
    tmp_path: Path, clock: TurnedClock
) -> None:
    (tmp_path / "line").write_bytes(b"\xff" * 64)

    with shared(tmp_path / "line", clock, lambda: 100) as line:
        assert line.book_next(10) is not None


def test_a_line_that_cannot_be_kept_is_refused(tmp_path: Path, clock: TurnedClock) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(errors.RefusedError, match="cannot write"):
        SharedLine(tmp_path / "file" / "line", clock, lambda: 100)
