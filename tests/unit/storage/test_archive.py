"""A file that is a storage: written once, read by range, refused when it is something else."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from strongroom import errors
from strongroom.storage.archive import ArchiveBeingWritten, ArchiveStorage
from strongroom.storage.base import ObjectRange
from strongroom.storage.location import open_storage

OBJECTS = {"b/1": b"0123456789", "a": b"", "b-2": bytes(range(256)) * 300}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "one.strongroom"
    archive = ArchiveBeingWritten(path)
    for key, data in OBJECTS.items():
        archive.put(key, data)
    archive.finish()
    return path


def test_what_was_put_is_read_back_from_the_file(path: Path) -> None:
    storage = open_storage(str(path))

    assert isinstance(storage, ArchiveStorage)
    assert [(info.key, info.size) for info in storage.list()] == [
        (key, len(OBJECTS[key])) for key in sorted(OBJECTS)
    ]
    assert {key: storage.get(key) for key in OBJECTS} == OBJECTS
    assert storage.get("b/1", 3, 4) == b"3456"
    assert storage.get("b/1", 8, 10) == b"89"
    assert storage.get("b/1", 20, 1) == b""
    assert [info.key for info in storage.list("b/")] == ["b/1"]
    with pytest.raises(errors.ObjectMissingError):
        storage.get("b/2")


def test_any_program_that_reads_zip_takes_it_apart(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == OBJECTS


def test_an_archive_is_only_read(path: Path) -> None:
    storage = ArchiveStorage(path)
    for write in (
        lambda: storage.put("c", b"x"),
        lambda: storage.compose("c", [b"x"]),
        lambda: storage.delete("a"),
    ):
        with pytest.raises(errors.RefusedError, match="only read"):
            write()


def test_what_is_being_written_can_be_read(tmp_path: Path) -> None:
    archive = ArchiveBeingWritten(tmp_path / "one")
    archive.put("a", b"0123456789")
    archive.put("b", memoryview(b"xy"))
    archive.compose("c", [b"<", ObjectRange("a", 2, 3), b">"])

    assert archive.get("c") == b"<234>"
    assert archive.get("a", 8) == b"89"
    assert archive.size("b") == 2
    with pytest.raises(errors.ObjectExistsError):
        archive.put("a", b"")
    archive.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_not_taken_away(path: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.ObjectExistsError):
        ArchiveBeingWritten(path)
    late = ArchiveBeingWritten(tmp_path / "late")
    (tmp_path / "late").write_bytes(b"somebody else's")
    with pytest.raises(errors.ObjectExistsError):
        late.finish()
    late.abandon()
    assert (tmp_path / "late").read_bytes() == b"somebody else's"


@pytest.mark.parametrize("cut", [0, 1, 100, 60_000])
def test_a_file_that_is_no_whole_archive_is_malformed(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:cut])

    with pytest.raises(errors.MalformedError):
        ArchiveStorage(path).exists("a")


def test_members_that_are_compressed_or_twice_there_are_malformed(tmp_path: Path) -> None:
    packed, twice = tmp_path / "packed", tmp_path / "twice"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"a" * 100)
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")

    for path in (packed, twice):
        with pytest.raises(errors.MalformedError):
            ArchiveStorage(path).exists("a")


def test_a_hostile_directory_is_refused_whatever_it_says(path: Path) -> None:
    honest = path.read_bytes()
    refused = 0
    for at in range(honest.index(b"PK\x01\x02"), len(honest)):
        for byte in (0x00, 0x80, 0xFF):
            path.write_bytes(honest[:at] + bytes([byte]) + honest[at + 1 :])
            storage = ArchiveStorage(path)
            try:
                for info in storage.list():
                    assert len(storage.get(info.key)) == info.size
            except errors.StrongroomError:
                refused += 1
            storage.close()
    assert refused


def test_members_that_name_no_object_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "more"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"a")
        archive.writestr("../outside", b"x")
        archive.writestr("folder/", b"")

    assert [info.key for info in ArchiveStorage(path).list()] == ["a"]
