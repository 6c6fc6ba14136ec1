"""Where the room ends: sessions fail early, say so in numbers, and leave room to go on.

Care that writes says so as well, and is whole once there is more.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from strongroom.errors import StorageFullError
from strongroom.storage.local import LocalStorage
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.caretaker import (
    AREA,
    AWAY,
    FIRST,
    MAIN,
    Caretaker,
    in_memory,
    with_small_packs,
)
from tests.support.installation import Installation
from tests.support.loop_mounts import file_system

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with file_system("ext4", tmp_path, 128) as mounted:
        yield mounted


@pytest.fixture
def installation(disk: Path, tmp_path: Path) -> Iterator[Installation]:
    """A server whose repository is on a small disk, with one point of a small tree."""
    storage = LocalStorage(disk)
    installation = Installation.create(tmp_path, AdversaryStorage(storage))
    installation.tree.mkdir()
    installation.job()
    installation.point_of("small")
    yield installation
    storage.close()


def free(installation: Installation) -> int:
    room = installation.storage.free_bytes()
    assert room is not None
    return room


def test_a_session_that_the_storage_cannot_hold_stops_while_others_still_can(
    installation: Installation, tmp_path: Path
) -> None:
    (installation.tree / "large").write_bytes(os.urandom(90 * MIB))

    with pytest.raises(StorageFullError, match=r"has \d+\.\d MiB free; an object of") as caught:
        installation.run()

    assert "run the job again" in (caught.value.hint or "")
    assert free(installation) >= 60 * MIB  # within what threads write at the same time
    (installation.tree / "large").unlink()
    point = installation.point_of("smaller")
    installation.bare().restore(point, tmp_path / "out")
    assert (tmp_path / "out" / "file").read_text() == "smaller"


def test_a_session_does_not_begin_where_there_is_hardly_room(
    installation: Installation, disk: Path
) -> None:
    (disk / "Others").write_bytes(bytes(free(installation) - 31 * MIB))
    objects = [*installation.storage.list("chains/")]

    with pytest.raises(StorageFullError, match=r"has 3\d MiB free; a session needs at least 32"):
        installation.run()

    assert [*installation.storage.list("chains/")] == objects
    (disk / "Others").unlink()
    installation.run()


@pytest.mark.parametrize(
    ("operation", "place", "areas"),
    [
        ("compact", MAIN, 0.5),
        ("synthetic", MAIN, 1.5),
        ("copy", AWAY, 0.5),
        ("first_copy", FIRST, 1.5),
        ("first_copy_under_own_key", FIRST, 1.5),
    ],
)
def test_an_operation_whose_room_ends_says_so_and_ends_when_there_is_more(
    operation: str,
    place: str,
    areas: float,
    prepared: Caretaker,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with_small_packs(monkeypatch)
    begun = prepared.moved(tmp_path / "begun", in_memory())
    begun.begin(operation)
    held = sum(info.size for info in begun.storages[place].list())
    small = MemoryStorage(held + int(AREA * areas), location=place)
    full = begun.moved(tmp_path / "full", {**in_memory(), place: small})

    with pytest.raises(StorageFullError):
        full.do(operation)

    full.check_promised(replaced=operation == "synthetic")
    roomy = full.moved(tmp_path / "roomy", in_memory())
    roomy.do(operation)
    roomy.check(operation)
