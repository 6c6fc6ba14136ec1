from __future__ import annotations

import pytest

from strongroom import errors
from strongroom.storage.readonly import ReadOnlyStorage
from strongroom.testing.memory_storage import MemoryStorage


def test_every_write_is_refused_and_changes_nothing() -> None:
    memory = MemoryStorage(location="/srv/backup")
    memory.put("a", b"1")
    storage = ReadOnlyStorage(memory)

    with pytest.raises(errors.RefusedError, match="b to /srv/backup: opened read-only"):
        storage.put("b", b"1")
    with pytest.raises(errors.RefusedError, match="b to /srv/backup: opened read-only"):
        storage.compose("b", [b"1"])
    with pytest.raises(errors.RefusedError, match="a in /srv/backup: opened read-only"):
        storage.delete("a")
    with pytest.raises(errors.RefusedError):
        storage.delete("missing")

    assert memory.snapshot() == {"a": b"1"}
