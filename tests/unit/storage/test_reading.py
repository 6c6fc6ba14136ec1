"""Reading what is small and far: few requests, none of them for what is not there any more."""

from __future__ import annotations

import threading

import pytest

from strongroom.errors import ObjectMissingError, StorageUnavailableError
from strongroom.storage.base import ObjectInfo
from strongroom.storage.reading import (
    FAR_BYTES,
    AskedAhead,
    ListedAhead,
    WideReads,
    at_once,
    side_by_side,
    small_objects,
)
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.far_storage import FarStorage

CONTENT = bytes(range(256)) * 8192
"""2 MiB."""


@pytest.fixture
def far() -> FarStorage:
    storage = FarStorage()
    storage.put("one", CONTENT)
    storage.requests.clear()
    return storage


def test_pieces_that_lie_together_come_with_one_request(far: FarStorage) -> None:
    reads = WideReads(far)
    for offset in range(0, 200_000, 1000):
        assert reads.get("one", offset, 1000) == CONTENT[offset : offset + 1000]
    assert far.count == 1


def test_of_an_object_that_is_walked_through_more_comes_each_time(far: FarStorage) -> None:
    reads = WideReads(far)
    for offset in range(0, len(CONTENT), 1000):
        assert reads.get("one", offset, 1000) == CONTENT[offset : offset + 1000]
    assert far.count <= 5


def test_of_what_is_expected_whole_much_comes_at_once(far: FarStorage) -> None:
    reads = WideReads(far)
    reads.expect_all()
    assert reads.get("one", 1000, 10) == CONTENT[1000:1010]
    assert reads.get("one", len(CONTENT) - 10, 10) == CONTENT[-10:]
    assert far.count == 1


def test_a_piece_at_the_end_or_behind_it_is_what_the_storage_says(far: FarStorage) -> None:
    reads = WideReads(far)
    assert reads.get("one", len(CONTENT) - 10, 50) == CONTENT[-10:]
    assert reads.get("one", len(CONTENT) + 10, 50) == b""
    with pytest.raises(ObjectMissingError):
        reads.get("none", 0, 5)


def test_what_was_kept_is_bounded_and_asked_for_again(far: FarStorage) -> None:
    for number in range(12):
        far.put(f"large-{number}", bytes([number]) * FAR_BYTES)
    reads = WideReads(far)
    for _ in range(2):
        for number in range(12):
            for offset in range(0, FAR_BYTES, FAR_BYTES // 16):
                assert reads.get(f"large-{number}", offset, 2) == bytes([number] * 2)
    assert sum(map(len, reads._pieces.values())) <= 16 << 20


def test_what_was_mended_since_is_seen_by_who_asks_anew(far: FarStorage) -> None:
    reads = WideReads(far)
    assert reads.get("one", 5, 5) == CONTENT[5:10]
    far.delete("one")
    far.put("one", bytes(100))
    assert reads.get("one", 5, 5) == CONTENT[5:10]
    assert reads.anew("one", 5, 5) == bytes(5)
    assert reads.get("one", 20, 5) == bytes(5)


def test_of_a_near_place_nothing_is_read_but_what_was_asked_for() -> None:
    near = MemoryStorage()
    near.put("one", CONTENT)
    reads = WideReads(near)
    assert reads.get("one", 5, 5) == CONTENT[5:10]
    assert reads._pieces == {}
    assert small_objects(near, ["one"]) == {}
    assert at_once(near) == 1
    assert at_once(near, FarStorage()) > 1


def test_small_objects_leave_out_what_is_missing_or_large(far: FarStorage) -> None:
    far.put("two", b"2")
    assert small_objects(far, ["one", "two", "none"]) == {"two": b"2"}


def test_calls_side_by_side_answer_in_order_and_fail_in_order() -> None:
    both = threading.Barrier(2)

    def call(number: int) -> int:
        if number < 2:
            both.wait(20)
        if number > 1:
            raise ValueError(number)
        return number

    answers = side_by_side(call, [0, 1, 2, 3], 4)
    assert [next(answers), next(answers)] == [0, 1]
    with pytest.raises(ValueError, match="2"):
        next(answers)


def test_listed_objects_are_at_hand_while_they_are_looked_at(far: FarStorage) -> None:
    for number in range(100):
        far.put(f"small/{number:03}", b"%d" % number)
    far.requests.clear()
    reading = ListedAhead(far)
    for info in reading.coming(reading.list(""), lambda info: info.key != "small/007"):
        assert reading.size(info.key) == info.size
        assert reading.get(info.key, 1) == far.get(info.key, 1)
    assert far.requests["size", "small"] == 1
    assert list(reading.coming([ObjectInfo("none", 1)], lambda _: True)) == [ObjectInfo("none", 1)]
    with pytest.raises(ObjectMissingError):
        reading.get("none")


def test_what_was_asked_ahead_is_asked_once_and_answers_once(far: FarStorage) -> None:
    far.put("small/a", b"content")
    far.requests.clear()
    ahead = AskedAhead(far)
    ahead.ask(["small/a"], ["small/"])
    assert far.count == 2
    assert ahead.answered("small/") == ["small/a"]
    assert [info.key for info in ahead.list("small/")] == ["small/a"]
    assert ahead.get("small/a", 0, 4) == b"cont"
    assert far.count == 2

    far.delete("small/a")
    assert ahead.answered("small/") == []
    assert [*ahead.list("small/")] == []
    with pytest.raises(ObjectMissingError):
        ahead.get("small/a")


def test_what_did_not_come_ahead_is_asked_for_when_it_is_needed(
    far: FarStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(prefix: str = "") -> None:
        raise StorageUnavailableError("not now")

    ahead = AskedAhead(far)
    with monkeypatch.context() as patch:
        patch.setattr(far, "list", fails)
        ahead.ask(["one", "none"], ["small/"])
    far.put("none", b"here now")
    far.put("small/a", b"content")
    assert ahead.get("one") == CONTENT
    assert ahead.get("none") == b"here now"
    assert [info.key for info in ahead.list("small/")] == ["small/a"]


def test_what_is_asked_ahead_is_on_its_way_together(
    far: FarStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(3, timeout=20)
    get, listing = far.get, far.list

    def meets(call):
        def waiting(*arguments):
            together.wait()
            return call(*arguments)

        return waiting

    monkeypatch.setattr(far, "get", meets(get))
    monkeypatch.setattr(far, "list", meets(listing))
    AskedAhead(far).ask(["one", "two"], ["small/"])


def test_answers_that_are_forgotten_are_asked_for_anew(far: FarStorage) -> None:
    ahead = AskedAhead(far)
    ahead.ask(["one"], ["small/"])
    ahead.forget()
    far.put("small/a", b"content")
    far.delete("one")
    assert [info.key for info in ahead.list("small/")] == ["small/a"]
    with pytest.raises(ObjectMissingError):
        ahead.get("one")


def test_of_a_near_place_nothing_is_asked_ahead() -> None:
    near = MemoryStorage()
    near.put("one", b"old")
    ahead = AskedAhead(near)
    ahead.ask(["one"], [""])
    near.delete("one")
    near.put("one", b"new")
    assert ahead.get("one") == b"new"
    assert ahead.answered("") == []
