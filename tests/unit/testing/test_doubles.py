"""The doubles themselves: a test that leans on one that does not bite proves nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from strongroom import errors
from strongroom.testing.adversary_storage import AdversaryStorage, Attack
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage
from strongroom.testing.turned_clock import TurnedClock

if TYPE_CHECKING:
    from collections.abc import Callable

NO_ANSWER = errors.StorageUnavailableError("no answer")


# --- memory ---------------------------------------------------------------------------------


def test_memory_goes_back_to_a_snapshot() -> None:
    memory = MemoryStorage()
    memory.put("a/b", b"1")
    memory.put("c", b"2")
    then = memory.snapshot()
    memory.delete("a/b")
    memory.put("a", b"a key that the snapshot has as a folder")
    memory.put("d", b"3")

    memory.restore(then)

    assert memory.snapshot() == then == {"a/b": b"1", "c": b"2"}
    assert [info.key for info in memory.list()] == ["a/b", "c"]
    with pytest.raises(errors.RefusedError):
        memory.put("a", b"")


def test_a_snapshot_does_not_change_with_the_memory() -> None:
    memory = MemoryStorage()
    then = memory.snapshot()
    memory.put("a", b"1")
    assert then == {}


def test_an_object_in_memory_cannot_hold_objects() -> None:
    memory = MemoryStorage()
    memory.put("a", b"1")
    memory.put("b/c", b"1")
    for key in ("a/b", "a/b/c", "b"):
        with pytest.raises(errors.RefusedError):
            memory.put(key, b"2")
    memory.delete("b/c")
    memory.put("b", b"2")


def test_memory_of_a_size_fills_up_and_keeps_nothing_of_what_does_not_fit() -> None:
    memory = MemoryStorage(capacity=10)
    memory.put("a", bytes(6))
    with pytest.raises(errors.StorageFullError):
        memory.put("b", bytes(5))
    assert memory.free_bytes() == 4
    assert not memory.exists("b")
    memory.delete("a")
    memory.put("b", bytes(10))
    assert memory.free_bytes() == 0


# --- faulty ---------------------------------------------------------------------------------


def test_the_nth_call_from_now_on_fails_once() -> None:
    faulty = FaultyStorage(MemoryStorage())
    faulty.put("0", b"")
    faulty.fail("put", 2, NO_ANSWER)

    faulty.put("1", b"")
    with pytest.raises(errors.StorageUnavailableError):
        faulty.put("2", b"")
    assert not faulty.exists("2")
    faulty.put("2", b"")

    faulty.assert_all_hit()
    assert faulty.calls == {"put": 4, "exists": 1}


def test_a_fault_after_the_call_takes_only_the_answer() -> None:
    faulty = FaultyStorage(MemoryStorage())
    faulty.fail("put", 1, NO_ANSWER, "after")
    faulty.fail("delete", 1, NO_ANSWER, "after")
    faulty.fail("list", 1, NO_ANSWER, "after")

    with pytest.raises(errors.StorageUnavailableError):
        faulty.put("a", b"1")
    assert faulty.exists("a")
    listing = faulty.list()
    assert next(listing).key == "a"
    with pytest.raises(errors.StorageUnavailableError):
        next(listing)
    with pytest.raises(errors.StorageUnavailableError):
        faulty.delete("a")
    assert not faulty.exists("a")
    faulty.assert_all_hit()


def test_a_fault_that_was_never_met_is_told() -> None:
    faulty = FaultyStorage(MemoryStorage())
    faulty.fail("get", 1, NO_ANSWER)
    with pytest.raises(AssertionError, match="get number 1"):
        faulty.assert_all_hit()


def test_after_the_kill_no_write_happens_and_reads_still_do() -> None:
    faulty = FaultyStorage(MemoryStorage())
    faulty.put("0", b"")
    faulty.kill_after(2)
    faulty.put("1", b"")
    faulty.delete("0")
    with pytest.raises(AssertionError, match="a write after number 3"):
        faulty.assert_all_hit()

    for _ in range(3):
        with pytest.raises(errors.StorageUnavailableError):
            faulty.put("2", b"")
        with pytest.raises(errors.StorageUnavailableError):
            faulty.delete("1")

    assert [info.key for info in faulty.list()] == ["1"]
    faulty.assert_all_hit()


@pytest.mark.parametrize(("verb", "nth"), [("put", 0), ("push", 1)])
def test_a_fault_that_can_never_fire_is_refused(verb: str, nth: int) -> None:
    with pytest.raises(ValueError, match="no such call"):
        FaultyStorage(MemoryStorage()).fail(verb, nth, NO_ANSWER)  # type: ignore[arg-type]


# --- adversary ------------------------------------------------------------------------------


@pytest.fixture
def enemy() -> AdversaryStorage:
    enemy = AdversaryStorage(MemoryStorage())
    enemy.put("a/1", b"one")
    enemy.put("a/2", b"two")
    enemy.put("b/1", b"three")
    return enemy


ATTACKS: list[tuple[Callable[[AdversaryStorage], None], Attack, dict[str, bytes | None]]] = [
    (lambda e: e.flip("a/1", 0, 0x80), Attack("flip", ("a/1",)), {"a/1": b"\xefne"}),
    (lambda e: e.flip("a/1", -1), Attack("flip", ("a/1",)), {"a/1": b"ond"}),
    (lambda e: e.truncate("a/1", 1), Attack("truncate", ("a/1",)), {"a/1": b"o"}),
    (lambda e: e.truncate("a/1", -1), Attack("truncate", ("a/1",)), {"a/1": b"on"}),
    (lambda e: e.append("a/1", b"!"), Attack("append", ("a/1",)), {"a/1": b"one!"}),
    (lambda e: e.replace("a/1", b"1"), Attack("replace", ("a/1",)), {"a/1": b"1"}),
    (
        lambda e: e.swap("a/1", "b/1"),
        Attack("swap", ("a/1", "b/1")),
        {"a/1": b"three", "b/1": b"one"},
    ),
    (lambda e: e.duplicate("a/1", "a/3"), Attack("duplicate", ("a/3",)), {"a/3": b"one"}),
    (lambda e: e.plant("c", b"new"), Attack("plant", ("c",)), {"c": b"new"}),
    (lambda e: e.hide("a/"), Attack("hide", ("a/1", "a/2")), {"a/1": None, "a/2": None}),
    (lambda e: e.hide("b/1"), Attack("hide", ("b/1",)), {"b/1": None}),
]


@pytest.mark.parametrize(
    ("attack", "record", "changes"),
    ATTACKS,
    ids=[f"{number}-{record.kind}" for number, (_, record, _) in enumerate(ATTACKS)],
)
def test_an_attack_changes_what_it_says_and_is_recorded(
    enemy: AdversaryStorage,
    attack: Callable[[AdversaryStorage], None],
    record: Attack,
    changes: dict[str, bytes | None],
) -> None:
    expected: dict[str, bytes | None] = {**enemy.snapshot(), **changes}

    attack(enemy)

    assert enemy.snapshot() == {key: data for key, data in expected.items() if data is not None}
    assert enemy.attacks == (record,)


IDLE_ATTACKS: dict[str, Callable[[AdversaryStorage], None]] = {
    "flip-beyond-end": lambda e: e.flip("a/1", 3),
    "flip-before-start": lambda e: e.flip("a/1", -4),
    "flip-no-bit": lambda e: e.flip("a/1", 0, 0),
    "flip-too-many-bits": lambda e: e.flip("a/1", 0, 256),
    "truncate-at-end": lambda e: e.truncate("a/1", 3),
    "append-nothing": lambda e: e.append("a/1", b""),
    "replace-by-same": lambda e: e.replace("a/1", b"one"),
    "swap-with-itself": lambda e: e.swap("a/1", "a/1"),
    "duplicate-over-another": lambda e: e.duplicate("a/1", "a/2"),
    "hide-nothing": lambda e: e.hide("z"),
    "resurrect-the-living": lambda e: e.resurrect("a/"),
    "replay-the-present": lambda e: e.replay(e.snapshot()),
}


@pytest.mark.parametrize("attack", IDLE_ATTACKS.values(), ids=IDLE_ATTACKS.keys())
def test_an_attack_that_changes_nothing_is_an_error(
    enemy: AdversaryStorage, attack: Callable[[AdversaryStorage], None]
) -> None:
    before = enemy.snapshot()

    with pytest.raises(ValueError, match=r"nothing|is there"):
        attack(enemy)

    assert enemy.snapshot() == before
    assert enemy.attacks == ()


def test_what_was_deleted_or_hidden_comes_back_even_over_its_successor(
    enemy: AdversaryStorage,
) -> None:
    enemy.delete("a/1")
    enemy.hide("a/2")
    enemy.put("a/2", b"written meanwhile")

    enemy.resurrect("a/")

    assert enemy.snapshot() == {"a/1": b"one", "a/2": b"two", "b/1": b"three"}
    assert enemy.attacks[-1] == Attack("resurrect", ("a/1", "a/2"))


def test_a_part_of_the_past_is_replayed(enemy: AdversaryStorage) -> None:
    then = enemy.snapshot()
    enemy.put("a/3", b"later")
    enemy.put("b/2", b"later")
    enemy.delete("a/1")

    enemy.replay(then, "a/")

    assert enemy.snapshot() == {**then, "b/2": b"later"}
    assert enemy.attacks == (Attack("replay", ("a/1", "a/3")),)


def test_an_enemy_left_alone_is_honest(enemy: AdversaryStorage) -> None:
    assert enemy.get("a/1") == b"one"
    assert enemy.attacks == ()
    with pytest.raises(errors.ObjectMissingError):
        enemy.flip("z", 0)


# --- clock ----------------------------------------------------------------------------------


def test_time_passes_only_by_turning_and_sleeping() -> None:
    clock = TurnedClock(datetime(2026, 1, 1, tzinfo=UTC))
    assert clock.now() == clock.now()

    clock.advance(timedelta(hours=1))
    clock.sleep(30)

    assert clock.now() == datetime(2026, 1, 1, 1, 0, 30, tzinfo=UTC)
    assert clock.monotonic() == 3630
    assert clock.slept == (30.0,)
    assert clock.now_ns() == int(clock.now().timestamp()) * 1_000_000_000


def test_a_clock_needs_a_zone_and_goes_one_way() -> None:
    with pytest.raises(ValueError, match="time zone"):
        TurnedClock(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
    with pytest.raises(ValueError, match="back"):
        TurnedClock().advance(timedelta(seconds=-1))
    with pytest.raises(ValueError, match="back"):
        TurnedClock().sleep(-1)
