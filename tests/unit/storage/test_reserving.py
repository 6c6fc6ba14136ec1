from __future__ import annotations

import pytest

from strongroom import errors
from strongroom.storage.base import ObjectRange
from strongroom.storage.reserving import ReservingStorage
from strongroom.testing.memory_storage import MemoryStorage

MIB = 1 << 20


def test_a_large_object_is_refused_where_it_would_take_the_last_room() -> None:
    storage = ReservingStorage(MemoryStorage(capacity=10 * MIB, location="/srv"), 4 * MIB)
    storage.put("a", bytes(3 * MIB))

    with pytest.raises(errors.StorageFullError) as caught:
        storage.put("b", bytes(4 * MIB))

    assert str(caught.value) == (
        "/srv has 7.0 MiB free; an object of 4.0 MiB more would leave less than the 4.0 MiB that "
        "ending a session and pruning take"
    )
    assert caught.value.fields["needed_bytes"] == 8 * MIB
    assert not storage.exists("b")
    storage.put("b", bytes(3 * MIB))


def test_small_objects_may_take_what_is_kept_for_them() -> None:
    storage = ReservingStorage(MemoryStorage(capacity=4 * MIB), 4 * MIB)

    storage.put("a", bytes(MIB - 1))

    with pytest.raises(errors.StorageFullError):
        storage.put("b", bytes(MIB))


def test_what_is_composed_counts_by_its_new_bytes() -> None:
    storage = ReservingStorage(MemoryStorage(capacity=10 * MIB), 4 * MIB)
    storage.put("a", bytes(4 * MIB))

    storage.compose("b", [ObjectRange("a", 0, 2 * MIB)])  # there is no room left after this

    with pytest.raises(errors.StorageFullError):
        storage.compose("c", [b"1", ObjectRange("a", 0, 10)])
    assert not storage.exists("c")


def test_a_place_that_does_not_tell_its_room_takes_everything() -> None:
    storage = ReservingStorage(MemoryStorage(), 4 * MIB)

    storage.put("a", bytes(2 * MIB))
    storage.compose("b", [ObjectRange("a")])

    assert storage.size("b") == 2 * MIB
