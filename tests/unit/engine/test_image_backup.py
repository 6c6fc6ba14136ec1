"""Every point of a disk reads back byte for byte, whatever was written between sessions."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from strongroom import errors
from strongroom.engine import index_reader
from strongroom.format.index import CLUSTER, LEAF_CLUSTERS
from strongroom.format.point import DiskRoot
from strongroom.sources.image import ImageSource
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import EngineJob, settle, source

MIB = 1 << 20
LEAF = CLUSTER * LEAF_CLUSTERS


class Disk:
    """An image file under one job, and what it held at each point."""

    def __init__(self, path: Path, *, block_size: int = MIB, **options: object) -> None:
        self.path = path
        path.touch()
        self.storage = MemoryStorage()
        self.job = EngineJob(
            self.storage,
            [source("image", path)],
            block_size=block_size,
            cache=path.parent / "cache",
            **options,  # type: ignore[arg-type]
        )
        self.moments: dict[bytes, bytes] = {}

    def write(self, offset: int, data: bytes) -> None:
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def punch(self, offset: int, length: int) -> None:
        words = ["fallocate", "--punch-hole", "-o", str(offset), "-l", str(length), str(self.path)]
        subprocess.run(words, check=True)

    def resize(self, size: int) -> None:
        os.truncate(self.path, size)

    def back_up(self):
        settle()
        outcome = self.job.run()
        (result,) = outcome.results
        assert result.point_id is not None
        self.moments[result.point_id] = self.path.read_bytes()
        settle()
        return outcome

    def check(self) -> None:
        """Every point reads back; the block sets hold all that the points use."""
        points = self.job.points()
        assert [point.id for point in points] == [*self.moments]
        for point in points:
            assert self.job.read_image(point) == self.moments[point.id]
            assert point.details.size_bytes == len(self.moments[point.id])
        self.job.check_block_sets()
        self.job.sweep()
        for point in points:
            assert self.job.read_image(point) == self.moments[point.id]


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "disk")


def noise(rng: random.Random, length: int) -> bytes:
    return rng.randbytes(length)


@pytest.fixture
def rng() -> random.Random:
    return random.Random(2026)  # noqa: S311 - a test's


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("block_size", [256 << 10, 512 << 10, MIB, 2 * MIB, 4 * MIB, 8 * MIB])
def test_every_point_of_a_disk_reads_back_whatever_its_block_size(
    tmp_path: Path, rng: random.Random, block_size: int, sealed: bool
) -> None:
    disk = Disk(tmp_path / "disk", block_size=block_size, sealed=sealed)
    size = 9 * MIB + 3 * CLUSTER + 777
    disk.resize(size)
    disk.write(0, noise(rng, 5 * MIB + 12345))
    disk.back_up()
    for _ in range(6):
        for _ in range(8):
            at = rng.randrange(size)
            length = min(rng.choice([1, 4096, CLUSTER, 3 * CLUSTER + 5]), size - at)
            data = bytes(length) if rng.random() < 0.3 else noise(rng, length)
            disk.write(at, data)
        if rng.random() < 0.5:
            disk.punch(rng.randrange(8) * MIB, rng.choice([CLUSTER, MIB, 70000]))
        disk.back_up()
    disk.check()


def test_a_cluster_that_changes_costs_one_cluster(disk: Disk, rng: random.Random) -> None:
    disk.write(0, noise(rng, 8 * MIB))
    first = disk.back_up()
    assert first.changed_bytes == 8 * MIB
    for cluster in (3, 40, 41, 99):
        disk.write(cluster * CLUSTER + 100, b"changed")
    second = disk.back_up()
    assert second.read_bytes == 8 * MIB
    assert second.changed_bytes == 4 * CLUSTER
    assert 4 * CLUSTER < second.stored_bytes < 4 * CLUSTER * 1.25
    disk.check()


def test_zeros_are_stored_nowhere_whether_written_or_never_written(disk: Disk) -> None:
    disk.resize(64 * MIB)
    disk.write(10 * MIB, bytes(5 * MIB))
    first = disk.back_up()
    assert first.read_bytes == 5 * MIB
    assert first.changed_bytes == 0
    (point,) = disk.job.points()
    assert isinstance(point.details.root, DiskRoot)
    assert point.details.root.page is None
    assert [*index_reader.walk_disk(disk.job.reader(point.body), point.details.root)] == []
    disk.check()


def test_zeros_that_appear_and_vanish_are_seen(disk: Disk, rng: random.Random) -> None:
    disk.write(0, noise(rng, 4 * MIB))
    disk.back_up()
    disk.write(MIB, bytes(MIB))  # written zeros
    disk.punch(3 * MIB, MIB)  # a hole
    gone = disk.back_up()
    assert gone.changed_bytes == 0
    disk.write(MIB + 5 * CLUSTER, b"again")
    disk.write(3 * MIB + 15 * CLUSTER, b"again")
    back = disk.back_up()
    assert back.changed_bytes == 2 * CLUSTER
    disk.check()


def test_a_disk_that_grows_and_shrinks_by_anything_reads_back(
    disk: Disk, rng: random.Random
) -> None:
    sizes = [
        1,
        CLUSTER,
        CLUSTER + 1,
        LEAF - 1,
        LEAF,
        LEAF + 1,
        3 * LEAF + 5 * CLUSTER + 9,
        2 * LEAF + CLUSTER,
        LEAF // 2,
        LEAF // 2 - 100,
        100,
        2 * LEAF,
        0,
        MIB,
    ]
    for before, size in itertools.pairwise([0, *sizes]):
        disk.resize(size)
        if size > before:
            disk.write(before, noise(rng, min(size - before, 2 * MIB)))
        disk.back_up()
    disk.check()


@pytest.mark.parametrize("size", [LEAF // 2, LEAF // 2 + 7, LEAF - CLUSTER])
def test_a_disk_cut_short_within_a_page_of_its_map_maps_nothing_behind_its_end(
    disk: Disk, rng: random.Random, size: int
) -> None:
    disk.write(0, noise(rng, LEAF))
    disk.back_up()
    disk.resize(size)
    disk.back_up()
    disk.check()
    disk.resize(LEAF)
    disk.back_up()
    disk.check()


def test_an_image_file_that_did_not_change_is_not_read(
    disk: Disk, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.write(0, noise(rng, 3 * MIB))
    disk.back_up()
    reads: list[int] = []
    inner = ImageSource.read

    def counting(self: ImageSource, offset: int, length: int) -> bytes:
        reads.append(offset)
        return inner(self, offset, length)

    monkeypatch.setattr(ImageSource, "read", counting)
    second = disk.back_up()
    assert (second.read_bytes, second.changed_bytes, second.stored_bytes) == (0, 0, 0)
    assert reads == []
    disk.write(0, b"now")
    assert disk.back_up().changed_bytes == CLUSTER
    assert reads
    disk.check()


def test_a_change_that_keeps_size_and_time_is_seen(disk: Disk, rng: random.Random) -> None:
    disk.write(0, noise(rng, MIB))
    disk.back_up()
    before = disk.path.stat()
    disk.write(5 * CLUSTER, b"quietly")
    os.utime(disk.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert disk.back_up().changed_bytes == CLUSTER
    disk.check()


def test_the_same_area_ten_times_is_stored_once(disk: Disk, rng: random.Random) -> None:
    area = noise(rng, 2 * MIB)
    for number in range(10):
        disk.write(number * len(area), area)
    outcome = disk.back_up()
    assert outcome.read_bytes == 20 * MIB
    assert outcome.stored_bytes < 2 * MIB * 1.1
    # And an area that comes back later is recognised too.
    disk.write(20 * MIB, area)
    assert disk.back_up().stored_bytes < 64 << 10
    disk.check()


@pytest.mark.parametrize("shift", [4096, 7 * 4096, CLUSTER, CLUSTER + 4096])
def test_a_copy_at_another_page_of_the_disk_is_stored_once(
    disk: Disk, rng: random.Random, shift: int
) -> None:
    content = noise(rng, 6 * MIB)
    disk.write(0, content)
    disk.write(8 * MIB + shift, content)
    outcome = disk.back_up()
    # A cluster that lies in two blocks of the first has to be stored: one in each area of 1 MiB.
    assert outcome.stored_bytes < (6 * MIB + 9 * CLUSTER) * 1.05
    assert outcome.changed_bytes >= 12 * MIB
    disk.check()
    # And a copy made later, of what did not change.
    disk.write(20 * MIB + 3 * 4096, content)
    assert disk.back_up().stored_bytes < 10 * CLUSTER
    disk.check()


def test_a_copy_of_what_has_changed_meanwhile_is_stored_as_it_is(
    disk: Disk, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a place holds is what was hashed, not what the disk shows by now."""
    content = noise(rng, 2 * MIB)
    disk.write(0, content)
    disk.write(4 * MIB + 4096, content)
    inner = ImageSource.read

    def meddling(self: ImageSource, offset: int, length: int) -> bytes:
        data = inner(self, offset, length)
        if offset == 4 * MIB:
            # The first is another now, and so is the copy: they are alike, and new.
            disk.write(0, bytes(reversed(content)))
            data = data[:4096] + bytes(reversed(content))[: MIB - 4096]
        return data

    with monkeypatch.context() as patched:
        patched.setattr(ImageSource, "read", meddling)
        disk.job.run()
    restored = disk.job.read_image(disk.job.points()[-1])
    assert restored[: 2 * MIB] == content
    assert restored[4 * MIB + 4096 : 5 * MIB] == bytes(reversed(content))[: MIB - 4096]


def test_a_disk_that_ends_within_a_cluster_keeps_its_last_bytes(
    disk: Disk, rng: random.Random
) -> None:
    disk.write(0, noise(rng, 5 * CLUSTER + 1))
    disk.back_up()
    disk.write(5 * CLUSTER, b"!")
    disk.back_up()
    disk.write(5 * CLUSTER, bytes(1))
    disk.back_up()
    disk.check()


def test_blocks_that_are_mostly_dead_are_given_up(disk: Disk, rng: random.Random) -> None:
    """What lives of them is stored again, little by little, and still reads back."""
    disk.write(0, noise(rng, 8 * MIB))
    disk.back_up()
    for round_number in range(12):
        for area in range(8):
            for cluster in range(13 if round_number == 0 else 2):
                at = area * MIB + (cluster + round_number) % 13 * CLUSTER
                disk.write(at, noise(rng, 100))
        disk.back_up()
    disk.check()
    newest = disk.job.points()[-1]
    held = sum(
        len(disk.job.reader(newest.body).read(address, 0))  # type: ignore[arg-type]
        for address in {
            run.address
            for run in index_reader.walk_disk(
                disk.job.reader(newest.body),
                newest.details.root,  # type: ignore[arg-type]
            )
        }
    )
    assert held <= 2 * 8 * MIB


def test_an_image_that_is_cut_while_it_is_read_fails_its_source(
    disk: Disk, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.write(0, noise(rng, 4 * MIB))
    inner = ImageSource.read

    def cutting(self: ImageSource, offset: int, length: int) -> bytes:
        os.truncate(self.path, 2 * MIB)
        return inner(self, offset, length)

    monkeypatch.setattr(ImageSource, "read", cutting)
    with pytest.raises(errors.SourceUnavailableError, match="cut while being read"):
        disk.job.run()
    assert disk.job.points() == []


def test_an_image_that_changes_while_it_is_read_is_kept_with_a_warning_and_read_again(
    disk: Disk, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.write(0, noise(rng, 4 * MIB))
    inner = ImageSource.read

    def meddling(self: ImageSource, offset: int, length: int) -> bytes:
        got = inner(self, offset, length)
        disk.write(0, b"meddled")
        return got

    with monkeypatch.context() as patched:
        patched.setattr(ImageSource, "read", meddling)
        settle()
        outcome = disk.job.run()
    (warning,) = outcome.warnings
    assert "changed while it was being read" in warning.message
    assert disk.job.run().read_bytes == 4 * MIB
    assert disk.job.read_image(disk.job.points()[-1]) == disk.path.read_bytes()


@contextmanager
def block_device(image: Path) -> Iterator[Path]:
    """Give a loop device over `image`, or the file itself where there are none."""
    words = ["losetup", "--find", "--show", str(image)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        yield image
        return
    if done.returncode:
        yield image
        return
    device = Path(done.stdout.strip())
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", str(device)], check=True)


def test_a_block_device_is_read_each_time_and_only_what_changed_is_stored(
    tmp_path: Path, rng: random.Random
) -> None:
    image = tmp_path / "backing"
    image.write_bytes(noise(rng, 3 * MIB) + bytes(MIB))
    with block_device(image) as device:
        job = EngineJob(MemoryStorage(), [source("image", device)], cache=tmp_path / "cache")
        settle()
        job.run()
        contents = [image.read_bytes()]
        fd = os.open(device, os.O_WRONLY)
        os.pwrite(fd, b"changed", 20 * CLUSTER)
        os.fsync(fd)
        os.close(fd)
        settle()
        second = job.run()
        contents.append(contents[0][: 20 * CLUSTER] + b"changed" + contents[0][20 * CLUSTER + 7 :])
        assert second.changed_bytes == CLUSTER
        if device.is_block_device():
            assert job.run().read_bytes == 4 * MIB
            contents.append(contents[-1])
    assert [job.read_image(point) for point in job.points()] == contents
