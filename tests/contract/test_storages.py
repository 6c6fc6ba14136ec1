"""One suite for every storage and every wrapper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from strongroom import errors
from strongroom.clock import SystemClock
from strongroom.repository.unpublished import HeaderAtHand
from strongroom.storage.local import LocalStorage
from strongroom.storage.observing import ObservingStorage
from strongroom.storage.reading import AskedAhead
from strongroom.storage.readonly import ReadOnlyStorage
from strongroom.storage.reserving import ReservingStorage
from strongroom.storage.retrying import RetryingStorage, backoff
from strongroom.storage.throttling import Line, ThrottlingStorage
from strongroom.storage.tracing import TracingStorage
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage
from strongroom.testing.storage_contract import ReadingContract, StorageContract
from strongroom.testing.turned_clock import TurnedClock
from tests.support.far_storage import FarStorage

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.storage.base import Storage


class TestLocalStorage(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return LocalStorage(tmp_path)


class TestLocalStorageReadElsewhere(ReadingContract):
    """What one opens and another writes: two storages over one folder."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return LocalStorage(tmp_path)

    @pytest.fixture
    def writer(self, tmp_path: Path) -> Storage:
        return LocalStorage(tmp_path)


class TestMemoryStorage(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return MemoryStorage()


class TestRetryingStorage(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return RetryingStorage(MemoryStorage(), TurnedClock(), jitter=lambda: 0.5)


class TestRetryingStorageOverOneThatLosesAnswers(StorageContract):
    """Puts fail every second time, before and after they happened in turn; others now and then."""

    @pytest.fixture
    def storage(self) -> Storage:
        # Threads that take turns in meeting faults need patience; this clock costs none.
        waits = backoff(times=200)
        return RetryingStorage(_faltering(), TurnedClock(), jitter=lambda: 0.5, waits=waits)


class TestReadOnlyStorage(ReadingContract):
    @pytest.fixture
    def writer(self) -> Storage:
        return MemoryStorage()

    @pytest.fixture
    def storage(self, writer: Storage) -> Storage:
        return ReadOnlyStorage(writer)


class TestObservingStorage(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return ObservingStorage(MemoryStorage(), SystemClock())


class TestReservingStorage(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return ReservingStorage(MemoryStorage(capacity=1 << 30), 1 << 20)


class TestHeaderAtHand(StorageContract):
    """One that shows a header more than it has, as a chain that is not published yet needs it."""

    @pytest.fixture
    def storage(self) -> Storage:
        return HeaderAtHand(MemoryStorage(), bytes(16), b"a header")


class TestAskedAhead(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return AskedAhead(FarStorage())


class TestTracingStorage(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return TracingStorage(MemoryStorage(), SystemClock())


class TestThrottlingStorage(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return ThrottlingStorage(MemoryStorage(), Line(TurnedClock(), lambda: 1_000_000))


class TestFaultyStorage(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return FaultyStorage(MemoryStorage())


class TestAdversaryStorage(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return AdversaryStorage(MemoryStorage())


class TestAllWrappersAtOnce(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        clock = TurnedClock()
        throttled = ThrottlingStorage(LocalStorage(tmp_path), Line(clock, lambda: 10_000_000))
        retried = RetryingStorage(throttled, clock, jitter=lambda: 0.0)
        return ObservingStorage(retried, clock)


def _faltering() -> FaultyStorage:
    faulty = FaultyStorage(MemoryStorage())
    for nth in range(1, 2000, 4):
        for verb in ("get", "size", "exists", "list"):
            faulty.fail(verb, nth, errors.StorageUnavailableError("no answer"))
        faulty.fail("delete", nth, errors.StorageUnavailableError("no answer"), "after")
        faulty.fail("put", nth, errors.StorageUnavailableError("not sent"))
        faulty.fail("put", nth + 2, errors.StorageUnavailableError("answer lost"), "after")
        faulty.fail("compose", nth, errors.StorageUnavailableError("not sent"))
        faulty.fail("compose", nth + 2, errors.StorageUnavailableError("answer lost"), "after")
    return faulty
