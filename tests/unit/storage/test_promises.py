"""Whoever breaks a promise is caught by its name; whoever keeps all keeps nothing of the trial."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from strongroom.errors import StorageUnavailableError
from strongroom.storage import promises
from strongroom.storage.base import Buffer, ObjectInfo, Storage
from strongroom.testing.memory_storage import MemoryStorage
from strongroom.testing.turned_clock import TurnedClock
from tests.support.far_storage import FarStorage


class _Overwriting(MemoryStorage):
    def put(self, key: str, data: Buffer) -> None:
        self.delete(key)
        super().put(key, data)


class _TakingTheSameBytes(MemoryStorage):
    def put(self, key: str, data: Buffer) -> None:
        if not (self.exists(key) and self.get(key) == data):
            super().put(key, data)


class _Unordered(MemoryStorage):
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return reversed([*super().list(prefix)])


class _ListingLate(MemoryStorage):
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        yield from [*super().list(prefix)][:-1]


class _IgnoringRanges(MemoryStorage):
    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        return super().get(key)


class _Keeping(MemoryStorage):
    def delete(self, key: str) -> None:
        """Do nothing, and say that all went well."""


def _broken(storage: Storage) -> set[str]:
    outcomes = promises.check(storage, "check-1", TurnedClock())
    return {one.promise for one in outcomes if not one.kept}


@pytest.mark.parametrize(
    ("storage", "names"),
    [
        (MemoryStorage(), set()),
        (_Overwriting(), {"writes-once", "one-winner", "large"}),
        (_TakingTheSameBytes(), {"writes-once"}),
        (_Unordered(), {"lists-in-order"}),
        (_ListingLate(), {"shows-at-once", "lists-in-order", "deletes"}),
        (_IgnoringRanges(), {"reads-back"}),
        (_Keeping(), {"deletes"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, MemoryStorage) else "",
)
def test_a_promise_that_is_broken_is_named(storage: Storage, names: set[str]) -> None:
    assert _broken(storage) == names


def test_a_trial_leaves_nothing() -> None:
    storage = MemoryStorage()
    storage.put("ours", b"1")

    assert _broken(storage) == set()

    assert [info.key for info in storage.list()] == ["ours"]


def test_of_a_place_elsewhere_promises_are_tried_side_by_side_and_told_in_their_order() -> None:
    others_began = threading.Event()
    met = []

    class Far(FarStorage):
        def put(self, key: str, data: Buffer) -> None:
            if promises.PROMISES[0].name in key:
                met.append(others_began.wait(20))
            else:
                others_began.set()
            super().put(key, data)

    storage = Far()
    outcomes = [*promises.check(storage, "check-1", TurnedClock())]

    assert [one.promise for one in outcomes] == [one.name for one in promises.PROMISES]
    assert all(one.kept for one in outcomes)
    assert met
    assert all(met)
    assert [*storage.list()] == []


def test_a_place_that_does_not_answer_has_broken_no_promise() -> None:
    class Away(MemoryStorage):
        def put(self, key: str, data: Buffer) -> None:
            raise StorageUnavailableError("away")

    with pytest.raises(StorageUnavailableError):
        _broken(Away())


def test_the_error_names_every_broken_promise() -> None:
    outcomes = [*promises.check(_Overwriting(), "check-1", TurnedClock(), thorough=False)]

    error = promises.broken("s3://backups", outcomes)

    assert error is not None
    assert "writes-once" in str(error)
    assert error.fields["promises"] == ["writes-once", "one-winner"]
    assert promises.broken("s3://backups", [one for one in outcomes if one.kept]) is None
