"""Composing in a folder where the file system, or the kernel, does not help."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from strongroom import errors
from strongroom.storage import cloning
from strongroom.storage.base import Composed, ObjectRange
from strongroom.storage.local import LocalStorage
from tests.support.descriptors import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = os.urandom(100_000)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[LocalStorage]:
    storage = LocalStorage(tmp_path)
    storage.put("a", DATA)
    yield storage
    storage.close()


def refusing(number: int) -> Any:
    def refuse(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", sorted(cloning._CANNOT), ids=errno.errorcode.get)
def test_what_the_kernel_does_not_copy_is_read_and_written(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(cloning.fcntl, "ioctl", refusing(number))
    monkeypatch.setattr(os, "copy_file_range", refusing(number))
    monkeypatch.setattr(cloning, "_PIECE", 30_000)

    composed = storage.compose("b", [b"h", ObjectRange("a", 1), ObjectRange("a", 4096, 8192)])

    assert composed == Composed(written_bytes=1, copied_bytes=len(DATA) - 1 + 8192)
    assert storage.get("b") == b"h" + DATA[1:] + DATA[4096:][:8192]


def test_a_copy_that_the_kernel_breaks_off_goes_on(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = os.copy_file_range
    asked: list[int] = []

    def little_by_little(source: int, target: int, count: int, offset: int, at: int) -> int:
        asked.append(count)
        return copy(source, target, min(count, 7000 if len(asked) != 3 else 0), offset, at)

    monkeypatch.setattr(cloning.fcntl, "ioctl", refusing(errno.EOPNOTSUPP))
    monkeypatch.setattr(os, "copy_file_range", little_by_little)

    storage.compose("b", [ObjectRange("a")])

    assert storage.get("b") == DATA
    assert len(asked) == 3  # the third time it gave up, and all the rest was read and written


@pytest.mark.parametrize(
    ("number", "family"),
    [(errno.ENOSPC, errors.StorageFullError), (errno.EIO, errors.StorageUnavailableError)],
)
@pytest.mark.parametrize("call", ["clone", "copy", "write", "sync"])
def test_composing_that_fails_says_why_and_leaves_nothing(
    storage: LocalStorage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    family: type[errors.StrongroomError],
) -> None:
    storage.close()
    descriptors = open_descriptors()
    with monkeypatch.context() as patch:
        if call != "clone":
            patch.setattr(cloning.fcntl, "ioctl", refusing(errno.EOPNOTSUPP))
        match call:
            case "clone":
                patch.setattr(cloning.fcntl, "ioctl", refusing(number))
            case "copy":
                patch.setattr(os, "copy_file_range", refusing(number))
            case "write":
                patch.setattr(os, "copy_file_range", refusing(errno.ENOSYS))
                patch.setattr(os, "pwrite", refusing(number))
            case "sync":
                patch.setattr(os, "fsync", refusing(number))
        with pytest.raises(family, match="cannot write b/c in "):
            storage.compose("b/c", [ObjectRange("a")])

    storage.close()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a"]
    assert open_descriptors() <= descriptors  # what others left may have gone meanwhile
    storage.compose("b/c", [ObjectRange("a")])


def test_a_composed_object_is_durable_before_it_has_its_name(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, link = os.fsync, os.link

    def recording_fsync(descriptor: int) -> None:
        done.append("sync")
        fsync(descriptor)

    def recording_link(*args: Any, **kwargs: Any) -> None:
        done.append("link")
        link(*args, **kwargs)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "link", recording_link)
    storage.compose("b", [ObjectRange("a"), b"1"])

    assert done == ["sync", "link", "sync"]


def test_a_file_cut_while_it_is_copied_is_no_endless_copy(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cutting(*args: object) -> None:
        os.truncate(tmp_path / "a", 10)
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(cloning.fcntl, "ioctl", cutting)

    with pytest.raises(errors.StorageUnavailableError):
        storage.compose("b", [ObjectRange("a", 0, 90_000)])

    assert not storage.exists("b")
