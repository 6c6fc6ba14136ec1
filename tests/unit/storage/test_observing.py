from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from strongroom import errors
from strongroom.storage.base import ObjectRange
from strongroom.storage.observing import ObservingStorage, Traffic
from strongroom.storage.throttling import Line, ThrottlingStorage
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage
from strongroom.testing.turned_clock import TurnedClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.storage.observing import Verb


def test_calls_bytes_and_seconds_are_counted_by_verb() -> None:
    clock = TurnedClock()
    slow = ThrottlingStorage(MemoryStorage(), Line(clock, lambda: 100))
    storage = ObservingStorage(slow, clock)

    storage.put("a", bytes(1000))
    storage.put("b", memoryview(bytes(500)))
    storage.compose("c", [ObjectRange("a", 900), bytes(50)])
    storage.get("a", 900, 200)
    storage.get("a", 0, 50)
    storage.size("a")
    storage.exists("a")
    storage.delete("a")
    storage.free_bytes()
    assert len([*storage.list()]) == 2

    counted = {
        verb: replace(traffic, seconds=round(traffic.seconds, 6))
        for verb, traffic in storage.all_traffic().items()
    }
    assert counted == {
        "put": Traffic(calls=2, bytes=1500, seconds=15.0),
        "compose": Traffic(calls=1, bytes=150, seconds=2.5),
        "get": Traffic(calls=2, bytes=150, seconds=1.5),
        "size": Traffic(calls=1),
        "exists": Traffic(calls=1),
        "delete": Traffic(calls=1),
        "free_bytes": Traffic(calls=1),
        "list": Traffic(calls=1, objects=2),
    }
    assert storage.traffic("put").bytes == 1500


def test_nothing_was_seen_before_the_first_call_or_after_a_reset() -> None:
    storage = ObservingStorage(MemoryStorage(), TurnedClock())
    assert storage.traffic("put") == Traffic()

    storage.put("a", b"1")
    storage.reset()

    assert storage.all_traffic() == {}


@pytest.mark.parametrize(
    "verb", ["put", "compose", "get", "size", "exists", "list", "delete", "free_bytes"]
)
def test_a_call_that_fails_is_counted_and_moves_no_bytes(verb: Verb) -> None:
    faulty = FaultyStorage(MemoryStorage())
    faulty.fail(verb, 1, errors.StorageUnavailableError("no answer"))
    storage = ObservingStorage(faulty, TurnedClock())
    calls: dict[Verb, Callable[[], object]] = {
        "put": lambda: storage.put("a", b"1"),
        "compose": lambda: storage.compose("a", [b"1"]),
        "get": lambda: storage.get("a"),
        "size": lambda: storage.size("a"),
        "exists": lambda: storage.exists("a"),
        "list": lambda: [*storage.list()],
        "delete": lambda: storage.delete("a"),
        "free_bytes": storage.free_bytes,
    }

    with pytest.raises(errors.StorageUnavailableError):
        calls[verb]()

    assert storage.all_traffic() == {verb: Traffic(calls=1, failures=1)}


def test_no_call_of_any_thread_is_lost() -> None:
    storage = ObservingStorage(MemoryStorage(), TurnedClock())

    def work(number: int) -> None:
        for step in range(200):
            storage.put(f"{number}/{step}", b"12345")

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(work, number) for number in range(8)]:
            done.result()

    assert storage.traffic("put") == Traffic(calls=1600, bytes=8000)
