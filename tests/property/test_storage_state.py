"""Storages against a dictionary, whatever is done to them in whatever order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from strongroom import errors
from strongroom.clock import SystemClock
from strongroom.storage.base import ObjectInfo, Storage
from strongroom.storage.local import LocalStorage
from strongroom.storage.observing import ObservingStorage
from strongroom.storage.retrying import RetryingStorage
from strongroom.testing.memory_storage import MemoryStorage

# Folders are letters and objects end in a digit, for an object cannot hold objects.
FOLDERS = st.lists(st.sampled_from(["a", "aa", "a-", "b.b", "_"]), max_size=3)
NAMES = st.builds(
    lambda stem, digit: f"{stem}{digit}",
    st.sampled_from(["", "a", "a.", "-", "_z"]),
    st.integers(0, 3),
)
KEYS = st.builds(lambda folders, name: "/".join([*folders, name]), FOLDERS, NAMES)
DATA = st.binary(max_size=40)


class StorageMachine(RuleBasedStateMachine):
    """One rule a verb; after each, listings agree."""

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, bytes] = {}
        self.storage = self.make()

    def make(self) -> Storage:
        return MemoryStorage()

    @rule(target=keys, key=KEYS)
    def name(self, key: str) -> str:
        return key

    @rule(key=keys, data=DATA)
    def put(self, key: str, data: bytes) -> None:
        if key in self.model:
            with pytest.raises(errors.ObjectExistsError):
                self.storage.put(key, data)
        else:
            self.storage.put(key, memoryview(data))
            self.model[key] = data

    @rule(key=keys)
    def delete(self, key: str) -> None:
        self.storage.delete(key)
        self.model.pop(key, None)

    @rule(key=keys)
    def get(self, key: str) -> None:
        assert self.storage.exists(key) == (key in self.model)
        if key in self.model:
            assert self.storage.get(key) == self.model[key]
            assert self.storage.size(key) == len(self.model[key])
        else:
            with pytest.raises(errors.ObjectMissingError):
                self.storage.get(key)
            with pytest.raises(errors.ObjectMissingError):
                self.storage.size(key)

    @rule(key=keys, offset=st.integers(0, 50), length=st.none() | st.integers(0, 50))
    def get_range(self, key: str, offset: int, length: int | None) -> None:
        if key in self.model:
            end = None if length is None else offset + length
            assert self.storage.get(key, offset, length) == self.model[key][offset:end]
        else:
            with pytest.raises(errors.ObjectMissingError):
                self.storage.get(key, offset, length)

    @rule(key=keys, cut=st.integers(0, 12))
    def list_prefix(self, key: str, cut: int) -> None:
        assert [*self.storage.list(key[:cut])] == self.expected(key[:cut])

    @invariant()
    def everything_is_listed_in_order(self) -> None:
        assert [*self.storage.list()] == self.expected("")

    def expected(self, prefix: str) -> list[ObjectInfo]:
        return [
            ObjectInfo(key, len(data))
            for key, data in sorted(self.model.items())
            if key.startswith(prefix)
        ]


class LocalStorageMachine(StorageMachine):
    """The same in a folder, opened anew now and then as another process would."""

    def make(self) -> Storage:
        self.folder = Path(tempfile.mkdtemp(prefix="strongroom-"))
        return LocalStorage(self.folder)

    @rule()
    def open_anew(self) -> None:
        self.storage = LocalStorage(self.folder)

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


class WrappedStorageMachine(StorageMachine):
    """The same through wrappers."""

    def make(self) -> Storage:
        clock = SystemClock()
        retrying = RetryingStorage(MemoryStorage(), clock, jitter=lambda: 0.0)
        return ObservingStorage(retrying, clock)


TestMemoryStorage = StorageMachine.TestCase
TestLocalStorage = LocalStorageMachine.TestCase
TestWrappedStorage = WrappedStorageMachine.TestCase
TestMemoryStorage.settings = settings(deadline=None)
TestLocalStorage.settings = settings(deadline=None)
TestWrappedStorage.settings = settings(deadline=None)
