"""A folder on file systems that share blocks between files, and on one that does not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from strongroom.storage.base import Composed, ObjectRange
from strongroom.storage.local import LocalStorage
from strongroom.testing.storage_contract import StorageContract
from tests.support.loop_mounts import file_system

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from strongroom.storage.base import Storage

GRAIN = 4096
PACK = 32 << 20


@pytest.fixture(scope="module")
def xfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with file_system("xfs", tmp_path_factory.mktemp("xfs")) as mounted:
        yield mounted


@pytest.fixture(scope="module")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with file_system("btrfs", tmp_path_factory.mktemp("btrfs"), 256) as mounted:
        yield mounted


class CloningContract(StorageContract):
    """What a folder promises besides where blocks can be shared."""

    def test_an_object_copied_whole_is_cloned_whole(self, storage: Storage) -> None:
        data = os.urandom(3 * GRAIN + 5)
        storage.put("a", data)

        assert storage.compose("b", [ObjectRange("a")]) == Composed(cloned_bytes=len(data))
        assert storage.get("b") == data

    def test_a_cloned_pack_takes_no_room(self, storage: Storage) -> None:
        storage.put("a", os.urandom(PACK))
        before = storage.free_bytes()

        composed = storage.compose("b", [b"h" * GRAIN, ObjectRange("a", GRAIN)])

        after = storage.free_bytes()
        assert composed == Composed(written_bytes=GRAIN, cloned_bytes=PACK - GRAIN)
        assert before is not None
        assert after is not None
        assert before - after < PACK // 20
        assert storage.get("b", GRAIN) == storage.get("a", GRAIN)

    def test_whole_blocks_are_cloned_and_broken_ones_copied(self, storage: Storage) -> None:
        data = os.urandom(10 * GRAIN)
        storage.put("a", data)

        composed = storage.compose(
            "b", [b"h" * 10, ObjectRange("a", 10, 8 * GRAIN), ObjectRange("a", 20, 100)]
        )

        # From byte 10 to 4096 and from 8 * 4096 on blocks are broken.
        assert composed == Composed(10, 7 * GRAIN, GRAIN + 100)
        assert storage.get("b") == b"h" * 10 + data[10 : 10 + 8 * GRAIN] + data[20:120]

    def test_what_lies_elsewhere_in_a_block_is_copied(self, storage: Storage) -> None:
        data = os.urandom(10 * GRAIN)
        storage.put("a", data)

        assert storage.compose("b", [ObjectRange("a", 1)]) == Composed(copied_bytes=len(data) - 1)
        assert storage.get("b") == data[1:]

    def test_a_clone_stays_as_it_was_when_its_source_goes(self, storage: Storage) -> None:
        data = os.urandom(4 * GRAIN)
        storage.put("a", data)
        storage.compose("b", [ObjectRange("a")])
        storage.delete("a")
        storage.put("a", bytes(4 * GRAIN))

        assert storage.get("b") == data


class TestXfs(CloningContract):
    @pytest.fixture
    def storage(self, xfs: Path, request: pytest.FixtureRequest) -> Iterator[Storage]:
        yield from _fresh(xfs)


class TestBtrfs(CloningContract):
    @pytest.fixture
    def storage(self, btrfs: Path) -> Iterator[Storage]:
        yield from _fresh(btrfs)


def test_where_nothing_can_be_cloned_all_is_copied_and_told(tmp_path: Path) -> None:
    with file_system("ext4", tmp_path, 16) as mounted:
        storage = LocalStorage(mounted)
        data = os.urandom(100 * GRAIN)
        storage.put("a", data)

        composed = storage.compose("b", [b"h" * GRAIN, ObjectRange("a")])

        assert composed == Composed(written_bytes=GRAIN, copied_bytes=len(data))
        assert storage.get("b", GRAIN) == data
        storage.close()


def _fresh(mounted: Path) -> Iterator[Storage]:
    """Yield an empty storage, whose objects make room for the next test's."""
    root = mounted / "storage"
    storage = LocalStorage(root)
    storage.make_root()
    yield storage
    storage.close()
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
