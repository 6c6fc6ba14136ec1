"""What prune has read before it does not ask for again; what is wrong with that hurts nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from strongroom.crypto import random
from strongroom.crypto.content import fingerprint
from strongroom.repository.page_memory import PageMemory

if TYPE_CHECKING:
    from pathlib import Path


def pieces(count: int, size: int = 1000) -> dict[bytes, bytes]:
    return {fingerprint(data): data for data in (random.token(size) for _ in range(count))}


def remember(path: Path, kept: dict[bytes, bytes]) -> None:
    with PageMemory.at(path) as memory:
        assert memory is not None
        for name, data in kept.items():
            memory.put(name, data)
            assert memory.get(name) == data


def told(path: Path, asked: dict[bytes, bytes]) -> dict[bytes, bytes]:
    with PageMemory.at(path) as memory:
        assert memory is not None
        found = {name: memory.get(name) for name in asked}
    return {name: data for name, data in found.items() if data is not None}


def test_what_was_kept_is_there_the_next_time(tmp_path: Path) -> None:
    path, kept = tmp_path / "cache" / "pages", pieces(20)
    remember(path, kept)

    assert told(path, {**kept, **pieces(1)}) == kept
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("cut", [1, 999, 1001, 1043])
def test_a_file_that_was_torn_is_begun_anew(tmp_path: Path, cut: int) -> None:
    path, kept = tmp_path / "pages", pieces(3)
    remember(path, kept)
    path.write_bytes(path.read_bytes()[:-cut])

    assert told(path, kept) == {}
    remember(path, kept)
    assert told(path, kept) == kept


def test_what_is_kept_already_is_not_kept_again(tmp_path: Path) -> None:
    path, kept = tmp_path / "pages", pieces(3)
    remember(path, kept)
    size = path.stat().st_size

    remember(path, kept)

    assert path.stat().st_size == size


def test_what_is_damaged_counts_as_not_there(tmp_path: Path) -> None:
    path, kept = tmp_path / "pages", pieces(3)
    remember(path, kept)
    content = bytearray(path.read_bytes())
    content[-500] ^= 1
    path.write_bytes(content)

    assert told(path, kept) == dict([*kept.items()][:2])


def test_what_nobody_asks_for_any_longer_goes(tmp_path: Path) -> None:
    path, old, new = tmp_path / "pages", pieces(30, 100_000), pieces(10, 100_000)
    remember(path, old)
    remember(path, new)
    assert told(path, new) == new

    assert path.stat().st_size < 1_100_000
    assert told(path, new) == new
    assert told(path, old) == {}


def test_where_nothing_can_be_kept_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with PageMemory.at(tmp_path / "file" / "pages") as memory:
        assert memory is None
