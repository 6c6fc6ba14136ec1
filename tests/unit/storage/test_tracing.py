"""What a search for a fault finds in the log, and what it does not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from strongroom.clock import SystemClock
from strongroom.errors import ObjectMissingError
from strongroom.storage.tracing import TracingStorage
from strongroom.testing.memory_storage import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable

SHOWN = "strongroom_fields"


def test_every_call_is_told_with_its_key_and_without_what_is_stored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    storage = TracingStorage(MemoryStorage(), SystemClock())
    calls: list[Callable[[], object]] = [
        lambda: storage.put("a/b", b"stored bytes"),
        lambda: storage.get("a/b"),
        lambda: storage.size("a/b"),
        lambda: storage.exists("a/b"),
        lambda: list(storage.list("a/")),
        lambda: storage.delete("a/b"),
        storage.free_bytes,
    ]
    with caplog.at_level(logging.DEBUG, "strongroom"):
        for call in calls:
            call()
        with pytest.raises(ObjectMissingError):
            storage.get("a/b")
    told = [(record.message, getattr(record, SHOWN)) for record in caplog.records]
    verbs = ["put", "get", "size", "exists", "list", "delete", "free_bytes", "get"]
    assert [name for name, _ in told] == [f"storage.{verb}" for verb in verbs]
    assert told[0][1]["key"] == "a/b"
    assert told[0][1]["bytes"] == 12
    assert told[-1][1]["failed"] == "ObjectMissingError"
    assert "stored bytes" not in str(told)
