from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from strongroom import errors
from strongroom.sources.image import CLUSTER_BYTES, Extent, ImageSource, is_zero

if TYPE_CHECKING:
    from collections.abc import Iterator

K = 1024


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return 1 MiB with data at 70 to 80 and 140 to 150 KiB, at 500 KiB, and at the end."""
    path = tmp_path / "image"
    with path.open("wb") as file:
        for start, end in ((72, 80), (140, 148), (500, 504), (1020, 1024)):
            file.seek(start * K)
            file.write(b"\xee" * ((end - start) * K))
    return path


@pytest.fixture
def device(image: Path) -> Iterator[Path]:
    attach = ["losetup", "--find", "--show", image]
    name = subprocess.run(attach, check=True, capture_output=True, text=True)
    yield Path(name.stdout.strip())
    subprocess.run(["losetup", "--detach", name.stdout.strip()], check=True)


def test_extents_cover_the_data_in_whole_clusters_and_lie_apart(image: Path) -> None:
    with ImageSource(image) as source:
        assert source.size == K * K
        assert not source.is_device
        assert list(source.extents()) == [
            Extent(CLUSTER_BYTES, 2 * CLUSTER_BYTES),
            Extent(7 * CLUSTER_BYTES, CLUSTER_BYTES),
            Extent(15 * CLUSTER_BYTES, CLUSTER_BYTES),
        ]


def test_the_last_extent_ends_where_the_image_does(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"x" * 70_000)
    with ImageSource(path) as source:
        assert list(source.extents()) == [Extent(0, 70_000)]


@pytest.mark.parametrize("size", [0, 10 * CLUSTER_BYTES])
def test_an_image_without_data_has_no_extents(tmp_path: Path, size: int) -> None:
    path = tmp_path / "image"
    path.touch()
    os.truncate(path, size)
    with ImageSource(path) as source:
        assert list(source.extents()) == []


def test_data_from_the_first_byte_on_is_found(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"x")
    os.truncate(path, 3 * CLUSTER_BYTES)
    with ImageSource(path) as source:
        assert list(source.extents()) == [Extent(0, CLUSTER_BYTES)]


def test_a_device_is_read_whole_and_has_no_identity(image: Path, device: Path) -> None:
    with ImageSource(device) as source:
        assert source.is_device
        assert source.size == K * K
        assert source.identity() is None
        assert list(source.extents()) == [Extent(0, K * K)]
        assert source.read(0, K * K) == image.read_bytes()


def test_an_identity_changes_with_the_file(image: Path) -> None:
    with ImageSource(image) as source:
        before = source.identity()
        assert before == source.identity()
        with image.open("r+b") as file:
            file.write(b"changed")
        os.utime(image, ns=(0, 1))
        after = source.identity()
        assert after != before
    image.rename(image.with_name("old"))
    image.write_bytes(b"")
    with ImageSource(image) as source:
        assert source.identity() != after


def test_reading_gives_all_that_was_asked_for_but_at_the_end(image: Path) -> None:
    with ImageSource(image) as source:
        assert source.read(496 * K, 8 * K) == bytes(4 * K) + b"\xee" * 4 * K
        assert len(source.read(1020 * K, 8 * K)) == 4 * K
        assert source.read(1024 * K, 8 * K) == b""
        assert source.read(2048 * K, 8 * K) == b""


def test_a_read_that_comes_in_parts_is_put_together(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, at: inner(fd, min(length, 3000), at))
    with ImageSource(image) as source:
        assert source.read(0, K * K) == image.read_bytes()


def test_an_image_cut_while_being_read_is_unavailable_and_says_where(image: Path) -> None:
    with ImageSource(image) as source:
        os.truncate(image, 500 * K)
        with pytest.raises(errors.SourceUnavailableError, match=f"ends at {500 * K} now") as cut:
            source.read(496 * K, 8 * K)
        assert cut.value.fields == {"path": str(image), "offset": 500 * K}


def test_what_is_appended_later_is_not_read(image: Path) -> None:
    with ImageSource(image) as source:
        os.truncate(image, 2048 * K)
        assert len(source.read(1020 * K, 8 * K)) == 4 * K
        assert list(source.extents())[-1] == Extent(15 * CLUSTER_BYTES, CLUSTER_BYTES)


def test_what_is_missing_or_no_image_is_unavailable(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, words in (
        (tmp_path / "missing", "no such file"),
        (tmp_path, "neither a file nor a block device"),
        (tmp_path / "fifo", "neither a file nor a block device"),
        (Path("/dev/null"), "neither a file nor a block device"),
    ):
        with pytest.raises(errors.SourceUnavailableError, match=words):
            ImageSource(path)


def test_a_read_error_names_path_and_offset(image: Path) -> None:
    source = ImageSource(image)
    source.close()
    source.close()
    with pytest.raises(errors.SourceUnavailableError, match=f"at 4096 of {image}"):
        source.read(4096, 10)
    with pytest.raises(errors.SourceUnavailableError, match="cannot find the data"):
        list(source.extents())


@pytest.mark.parametrize("size", [0, 1, 100, 65536, 65537, 3 * 65536, 3 * 65536 + 5])
def test_zeros_are_told_from_anything_else(size: int) -> None:
    buffer = bytearray(size)
    assert is_zero(buffer)
    assert is_zero(bytes(buffer))
    assert is_zero(memoryview(buffer))
    for at in {0, 1, size // 2, 65535, 65536, size - 1}:
        if 0 <= at < size:
            buffer[at] = 1
            assert not is_zero(memoryview(buffer))
            buffer[at] = 0
