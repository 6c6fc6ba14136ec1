"""Every storage that locks its objects, held to the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from strongroom.clock import from_microseconds
from strongroom.storage.base import LockingStorage
from strongroom.storage.guarded_folder import GuardedFolder
from strongroom.testing.locking_contract import LockingContract
from strongroom.testing.locking_memory import LockingMemory
from strongroom.testing.turned_clock import TurnedClock
from tests.support.guarded import Guarded
from tests.support.loop_folder import loop_folder

MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


class TestMemory(LockingContract):
    @pytest.fixture
    def storage(self, clock: TurnedClock) -> LockingStorage:
        return LockingMemory(MINUTE, clock)

    @pytest.fixture
    def now(self, clock: TurnedClock) -> Callable[[], datetime]:
        return clock.now

    @pytest.fixture
    def wait(self, clock: TurnedClock) -> Callable[[float], None]:
        return clock.sleep


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with loop_folder(tmp_path_factory.mktemp("loop")) as place:
        yield place


class TestGuardedFolder(LockingContract):
    @pytest.fixture
    def guarded(self, mounted: Path, tmp_path: Path) -> Iterator[Guarded]:
        folder = mounted / tmp_path.name
        folder.mkdir()
        found = Guarded(folder, tmp_path / "sockets", tmp_path / "state.sqlite")
        with found.serving():
            yield found

    @pytest.fixture
    def storage(self, guarded: Guarded, clock: TurnedClock) -> LockingStorage:
        return GuardedFolder(guarded.folder, guarded.sockets, MINUTE, clock)

    @pytest.fixture
    def now(self, guarded: Guarded) -> Callable[[], datetime]:
        return lambda: from_microseconds(guarded.clock.wall)

    @pytest.fixture
    def wait(self, guarded: Guarded) -> Callable[[float], None]:
        return lambda seconds: guarded.clock.advance(timedelta(seconds=seconds))
