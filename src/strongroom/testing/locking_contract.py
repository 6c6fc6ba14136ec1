"""What every storage that locks its objects promises, as tests.

A test class inherits `LockingContract` and gives it fixtures: a `storage` that holds what is put
for a minute at the least, and `wait`, which lets so many seconds pass for it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from strongroom import errors
from strongroom.storage.base import ObjectRange

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from strongroom.storage.base import LockingStorage, ObjectKey

NEVER = "chains/00/packs/00/never"


class LockingContract:
    """The promises about locks, beside those of `StorageContract`."""

    @pytest.fixture
    def storage(self) -> LockingStorage:
        """Return the storage under test, empty."""
        raise NotImplementedError

    @pytest.fixture
    def now(self) -> Callable[[], datetime]:
        """Return what tells the storage's time."""
        raise NotImplementedError

    @pytest.fixture
    def wait(self) -> Callable[[float], None]:
        """Return what lets seconds pass."""
        raise NotImplementedError

    def test_what_was_put_cannot_be_removed(
        self, storage: LockingStorage, now: Callable[[], datetime]
    ) -> None:
        storage.put("chains/00/journal/1", b"entry")
        _cannot_be_removed(storage, "chains/00/journal/1", b"entry", now)

    def test_what_was_composed_cannot_be_removed(
        self, storage: LockingStorage, now: Callable[[], datetime]
    ) -> None:
        storage.put("chains/00/packs/00/1", b"0123456789")
        storage.compose("chains/00/packs/00/2", [b"x", ObjectRange("chains/00/packs/00/1", 3, 4)])
        _cannot_be_removed(storage, "chains/00/packs/00/2", b"x3456", now)

    def test_nor_can_what_is_a_copy_of_another_object(
        self, storage: LockingStorage, now: Callable[[], datetime]
    ) -> None:
        storage.put("chains/00/packs/00/1", b"0123456789")
        storage.compose("chains/01/packs/00/1", [ObjectRange("chains/00/packs/00/1")])
        _cannot_be_removed(storage, "chains/01/packs/00/1", b"0123456789", now)

    def test_it_reads_like_any_other(self, storage: LockingStorage) -> None:
        storage.put("a/b", b"0123456789")
        assert storage.get("a/b", 3, 4) == b"3456"
        assert [info.key for info in storage.list("a/")] == ["a/b"]
        with pytest.raises(errors.ObjectExistsError):
            storage.put("a/b", b"another")
        assert storage.get("a/b") == b"0123456789"

    def test_a_lock_is_extended_for_many_at_once_and_never_shortened(
        self, storage: LockingStorage, now: Callable[[], datetime]
    ) -> None:
        keys = [f"chains/00/packs/{number:02}/p" for number in range(5)]
        for key in [*keys, "headers/00"]:
            storage.put(key, key.encode())
        later, sooner = now() + timedelta(days=9), now() + timedelta(days=5)
        storage.lock([*keys, "headers/00"], later)
        storage.lock([keys[0]], sooner)
        for key in [*keys, "headers/00"]:
            until = storage.locked_until(key)
            assert until is not None
            assert abs(until - later) < timedelta(seconds=1)

    def test_what_is_not_there_cannot_be_locked(
        self, storage: LockingStorage, now: Callable[[], datetime]
    ) -> None:
        with pytest.raises(errors.ObjectMissingError):
            storage.lock([NEVER], now() + timedelta(days=1))
        with pytest.raises(errors.ObjectMissingError):
            storage.locked_until(NEVER)
        storage.delete(NEVER)

    def test_what_comes_and_goes_is_not_locked(self, storage: LockingStorage) -> None:
        storage.put("locks/job/1", b"held")
        storage.delete("locks/job/1")
        assert not storage.exists("locks/job/1")
        storage.put("locks/job/1", b"held again")

    def test_a_probe_is_locked_when_asked_and_goes_after_its_date(
        self,
        storage: LockingStorage,
        now: Callable[[], datetime],
        wait: Callable[[float], None],
    ) -> None:
        storage.put("probes/a", b"probe")
        storage.lock(["probes/a"], now() + timedelta(seconds=2))
        with pytest.raises(errors.ObjectLockedError):
            storage.delete("probes/a")
        wait(3)
        storage.delete("probes/a")
        assert not storage.exists("probes/a")
        assert [*storage.list("probes/")] == []
        storage.put("probes/a", b"another")

    def test_nothing_is_hidden(self, storage: LockingStorage) -> None:
        storage.put("a/b", b"")
        assert [*storage.hidden()] == []


def _cannot_be_removed(
    storage: LockingStorage, key: ObjectKey, content: bytes, now: Callable[[], datetime]
) -> None:
    until = storage.locked_until(key)
    assert until is not None
    assert until > now() + timedelta(seconds=50)
    with pytest.raises(errors.ObjectLockedError) as refused:
        storage.delete(key)
    assert abs(refused.value.until - until) < timedelta(seconds=1)
    assert storage.get(key) == content
