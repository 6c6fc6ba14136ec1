"""What is given up of worn blocks and packs, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.engine import wear
from strongroom.engine.wear import Wear, load_wear, save_wear
from strongroom.repository.usage import BlockUsage

MIB = 1 << 20


def using(blocks: dict[int, int]) -> BlockUsage:
    """Return a usage of blocks of session 1, each in a pack of its own: live bytes by ordinal."""
    usage = BlockUsage()
    for ordinal, live in blocks.items():
        usage.add(1, ordinal << 16, live)
    return usage


def worn(dead: dict[int, int], changed_bytes: int = 0) -> Wear:
    """Return the wear of a session in which so many bytes died, by ordinal."""
    known = Wear(changed_bytes=changed_bytes)
    for ordinal, count in dead.items():
        known.lose(1, ordinal << 16, count)
    return known


def given_up(following: Wear) -> list[int]:
    return sorted(number >> 16 for _, number in following.blocks)


@pytest.fixture(autouse=True)
def _without_a_least_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wear, "_LEAST_BUDGET", 0)


def test_a_block_is_given_up_once_half_of_it_is_dead() -> None:
    session = worn({0: 49, 1: 50, 2: 51}, changed_bytes=MIB)
    following = session.successor(using({0: 51, 1: 50, 2: 49}), lambda *_: 1)
    assert given_up(following) == [1, 2]
    assert following.lost == session.lost


def test_no_more_is_given_up_than_changed_and_the_deadest_first() -> None:
    dead = {0: 60, 1: 90, 2: 70, 3: 80}
    usage = using({ordinal: 100 - count for ordinal, count in dead.items()})
    following = worn(dead, changed_bytes=30).successor(usage, lambda *_: 1)
    assert following.budget == 30
    assert given_up(following) == [1, 3]


def test_what_alone_is_more_than_may_be_moved_is_given_up_part_by_part() -> None:
    following = worn({0: 3 * MIB}, changed_bytes=MIB).successor(using({0: 2 * MIB}), lambda *_: 1)
    assert given_up(following) == [0]
    assert following.spend(MIB)
    assert not following.spend(1)


def test_a_pack_is_given_up_once_half_of_its_blocks_are_unused() -> None:
    usage = using({0: 10, 1: 10})
    following = worn({}, changed_bytes=MIB).successor(usage, lambda _, ordinal: 1 + ordinal)
    assert following.packs == {(1, 1)}
    assert following.is_doomed(1, 1 << 16)
    assert not following.is_doomed(1, 0)


def test_a_block_is_not_counted_twice_when_its_pack_goes_too() -> None:
    # Of the pack 0 one block of four is used, and that is half dead; the block 1 is less worn.
    dead, usage = {0: 100, 1: 100}, using({0: 100, 1: 100})
    following = worn(dead, changed_bytes=101).successor(usage, lambda _, at: 4 if at == 0 else 1)
    assert following.packs == {(1, 0)}
    assert given_up(following) == [1]


def test_what_is_known_outlives_the_session(tmp_path: Path) -> None:
    following = worn({0: 60}, changed_bytes=MIB).successor(using({0: 40, 1: 5}), lambda *_: 2)
    save_wear(tmp_path, following, 7, b"seven")
    assert load_wear(tmp_path, {7: b"seven"}.get) == following


def test_what_was_known_of_another_history_is_forgotten(tmp_path: Path) -> None:
    save_wear(tmp_path, worn({0: 60}), 7, b"seven")
    assert load_wear(tmp_path, {7: b"another"}.get) == Wear()
    assert load_wear(tmp_path, lambda _: None) == Wear()


def test_a_damaged_file_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "wear").write_bytes(b"\xc1")
    assert load_wear(tmp_path, lambda _: b"") == Wear()
