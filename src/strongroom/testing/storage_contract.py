"""What every storage promises, as tests.

A test class inherits `StorageContract` and gives it a fixture `storage`; a storage that
only reads inherits `ReadingContract` and also says through which `writer` it is filled.
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from strongroom import errors
from strongroom.storage.base import ObjectInfo, ObjectRange

if TYPE_CHECKING:
    from strongroom.storage.base import Buffer, Part, Storage

NOT_KEYS = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    ".tmp/a",
    "a/.hidden",
    "A",
    "a b",
    "a\n",
    "a\0",
    "ä",
    "٣",
    "a\\b",
    "a:b",
    "k" * 201,
]

KEYS_IN_ORDER = [
    "-a/b",
    "a-b",
    "a.b/c",
    "a/b",
    "a/c/d",
    "a/c0",
    "a0",
    "a_/b",
    "aa/b",
    "b/" + "0" * 198,
    "packs/00/00ff",
    "packs/01/0000",
    "packs/0a",
]
"""In order of their characters; by folders `a/` would come before `a-b`."""


COMPOSITIONS: dict[str, tuple[Part, ...]] = {
    "nothing": (),
    "an empty part": (b"",),
    "new bytes": (b"new", bytearray(b"er"), memoryview(b"newest")),
    "a whole object": (ObjectRange("packs/a"),),
    "empty ranges": (ObjectRange("packs/a", 0, 0), ObjectRange("packs/a", 1 << 20), b"1"),
    "whole blocks": (ObjectRange("packs/a", 0, 8192), ObjectRange("packs/b", 8192, 8192)),
    "a block before": (b"x" * 4096, ObjectRange("packs/a", 4096), ObjectRange("packs/b")),
    "not quite a block before": (b"x" * 4095, ObjectRange("packs/a", 4095), b"tail"),
    "blocks broken at both ends": (
        b"head",
        ObjectRange("packs/a", 4, 100_000),
        ObjectRange("packs/b", 17, 50_000),
    ),
    "a few bytes": (ObjectRange("packs/a", 5000, 1), ObjectRange("packs/a", 8191, 2), b"."),
    "many ranges": tuple(ObjectRange("packs/b", offset, 700) for offset in range(0, 60_000, 600)),
    "objects in turn": (ObjectRange("packs/a"), ObjectRange("packs/b"), ObjectRange("packs/a")),
}
"""Of `packs/a` of 300,000 bytes and `packs/b` of 65,536."""


class ReadingContract:
    """The promises about reading."""

    reads = 200
    """For each of the threads that read at once; a real server takes its time over each."""

    @pytest.fixture
    def storage(self) -> Storage:
        """Return the storage under test, empty."""
        raise NotImplementedError

    @pytest.fixture
    def writer(self, storage: Storage) -> Storage:
        """Return what fills the storage under test: itself, if it can."""
        return storage

    def test_the_location_is_said(self, storage: Storage) -> None:
        assert storage.location

    @pytest.mark.parametrize("data", [b"", b"\0", b"block" * 1000])
    def test_what_was_put_is_read_back(
        self, storage: Storage, writer: Storage, data: bytes
    ) -> None:
        writer.put("packs/00/a", data)

        assert storage.get("packs/00/a") == data
        assert type(storage.get("packs/00/a")) is bytes
        assert storage.size("packs/00/a") == len(data)
        assert storage.exists("packs/00/a")
        assert [*storage.list()] == [ObjectInfo("packs/00/a", len(data))]

    @pytest.mark.parametrize(
        ("offset", "length", "expected"),
        [
            (0, None, b"0123456789"),
            (0, 0, b""),
            (0, 4, b"0123"),
            (3, 4, b"3456"),
            (3, None, b"3456789"),
            (9, 1, b"9"),
            (10, None, b""),
            (10, 1, b""),
        ],
    )
    def test_a_range_is_read(
        self, storage: Storage, writer: Storage, offset: int, length: int | None, expected: bytes
    ) -> None:
        writer.put("a", b"0123456789")

        assert storage.get("a", offset, length) == expected

    @pytest.mark.parametrize(
        ("offset", "length", "expected"),
        [(8, 5, b"89"), (0, 2**40, b"0123456789"), (11, 1, b""), (2**40, None, b"")],
    )
    def test_a_range_beyond_the_end_returns_what_is_there(
        self, storage: Storage, writer: Storage, offset: int, length: int | None, expected: bytes
    ) -> None:
        writer.put("a", b"0123456789")

        assert storage.get("a", offset, length) == expected

    def test_a_range_of_an_empty_object_is_empty(self, storage: Storage, writer: Storage) -> None:
        writer.put("a", b"")

        assert storage.get("a", 0, 10) == b""
        assert storage.get("a", 5) == b""

    @pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1)])
    def test_a_range_that_counts_backwards_is_refused(
        self, storage: Storage, writer: Storage, offset: int, length: int | None
    ) -> None:
        writer.put("a", b"0123456789")

        with pytest.raises(errors.InvalidInputError):
            storage.get("a", offset, length)

    def test_an_object_of_40_mib_is_read_whole_and_in_ranges(
        self, storage: Storage, writer: Storage
    ) -> None:
        data = hashlib.shake_256(b"pack").digest(40 << 20)
        writer.put("packs/00/large", memoryview(data))

        assert storage.size("packs/00/large") == len(data)
        assert storage.get("packs/00/large") == data
        assert storage.get("packs/00/large", 33 << 20, 4096) == data[33 << 20 :][:4096]

    def test_a_missing_object_is_missing(self, storage: Storage, writer: Storage) -> None:
        writer.put("a/b", b"1")

        for key in ("a", "a/c", "a/b/c", "b"):
            assert not storage.exists(key)
            with pytest.raises(errors.ObjectMissingError):
                storage.get(key)
            with pytest.raises(errors.ObjectMissingError):
                storage.get(key, 0, 1)
            with pytest.raises(errors.ObjectMissingError):
                storage.size(key)

    def test_a_deleted_object_is_seen_by_nobody(self, storage: Storage, writer: Storage) -> None:
        writer.put("a", b"1")
        assert storage.get("a", 0, 1) == b"1"

        writer.delete("a")

        assert not storage.exists("a")
        assert [*storage.list()] == []
        with pytest.raises(errors.ObjectMissingError):
            storage.get("a", 0, 1)

    def test_a_deleted_key_can_be_written_again(self, storage: Storage, writer: Storage) -> None:
        writer.put("a", b"1")
        assert storage.get("a", 0, 9) == b"1"

        writer.delete("a")
        writer.put("a", b"22")

        assert storage.get("a", 0, 9) == b"22"
        assert storage.size("a") == 2

    def test_objects_are_listed_in_order_of_their_keys(
        self, storage: Storage, writer: Storage
    ) -> None:
        for size, key in reversed([*enumerate(KEYS_IN_ORDER)]):
            writer.put(key, bytes(size))

        assert [*storage.list()] == [
            ObjectInfo(key, size) for size, key in enumerate(KEYS_IN_ORDER)
        ]

    @pytest.mark.parametrize(
        "prefix",
        ["a", "a/", "a/c", "a/c/", "a/c/d", "a-", "packs/0", "packs/00/", "b", "z", "b/0", "packs"],
    )
    def test_a_prefix_is_one_of_characters_not_of_folders(
        self, storage: Storage, writer: Storage, prefix: str
    ) -> None:
        for key in KEYS_IN_ORDER:
            writer.put(key, b"")

        assert [info.key for info in storage.list(prefix)] == [
            key for key in KEYS_IN_ORDER if key.startswith(prefix)
        ]

    @pytest.mark.parametrize("prefix", ["/", "../", "a//", "./", "a/../", "A", ".", "\0/", "a/b/c"])
    def test_a_prefix_that_starts_no_key_lists_nothing(
        self, storage: Storage, writer: Storage, prefix: str
    ) -> None:
        writer.put("a/b", b"1")

        assert [*storage.list(prefix)] == []

    def test_an_empty_storage_lists_nothing(self, storage: Storage) -> None:
        assert [*storage.list()] == []
        assert [*storage.list("packs/")] == []

    def test_a_listing_survives_what_happens_meanwhile(
        self, storage: Storage, writer: Storage
    ) -> None:
        for number in range(100):
            writer.put(f"a/{number:03}", b"")

        seen = []
        for info in storage.list("a/"):
            seen.append(info.key)
            if len(seen) == 10:
                writer.delete("a/050")
                writer.put("a/0505", b"")

        always = [f"a/{number:03}" for number in range(100) if number != 50]
        assert [key for key in seen if key not in ("a/050", "a/0505")] == always
        assert seen == sorted(seen)

    def test_free_bytes_are_a_number_or_unknown(self, storage: Storage) -> None:
        free = storage.free_bytes()

        assert free is None or free >= 0

    @pytest.mark.parametrize("key", NOT_KEYS)
    def test_what_is_no_key_is_refused_in_reading(self, storage: Storage, key: str) -> None:
        for call in (storage.get, storage.size, storage.exists):
            with pytest.raises(errors.InvalidInputError):
                call(key)

    def test_threads_read_ranges_of_the_same_objects(
        self, storage: Storage, writer: Storage
    ) -> None:
        objects = {f"packs/{n:02}": hashlib.shake_256(bytes([n])).digest(5000) for n in range(40)}
        for key, data in objects.items():
            writer.put(key, data)

        def read(seed: int) -> None:
            for step in range(self.reads):
                key = f"packs/{(seed * 7 + step * 3) % 40:02}"
                offset = (seed * 131 + step * 17) % 5000
                assert storage.get(key, offset, 100) == objects[key][offset : offset + 100]

        with ThreadPoolExecutor(8) as threads:
            for done in [threads.submit(read, seed) for seed in range(8)]:
                done.result()


class StorageContract(ReadingContract):
    """Every promise, those about writing included."""

    races = 25
    """How often threads race for a key."""

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_any_buffer_is_stored(self, storage: Storage, kind: type[Buffer]) -> None:
        storage.put("a", kind(b"0123"))

        assert storage.get("a") == b"0123"

    def test_a_buffer_may_be_used_again_after_put(self, storage: Storage) -> None:
        buffer = bytearray(b"first")
        storage.put("a", memoryview(buffer)[:3])
        buffer[:] = b"other"

        assert storage.get("a") == b"fir"

    @pytest.mark.parametrize("second", [b"first", b"second, and longer", b""])
    def test_a_second_put_raises_and_changes_nothing(self, storage: Storage, second: bytes) -> None:
        storage.put("a/b", b"first")

        with pytest.raises(errors.ObjectExistsError):
            storage.put("a/b", second)

        assert storage.get("a/b") == b"first"
        assert [*storage.list()] == [ObjectInfo("a/b", 5)]

    def test_deleting_a_missing_key_is_no_error(self, storage: Storage) -> None:
        storage.delete("a")
        storage.delete("a/b/c")
        storage.put("a/b", b"1")
        storage.delete("a/b")
        storage.delete("a/b")
        storage.delete("a")

        assert [*storage.list()] == []

    def test_deleting_one_object_leaves_the_others(self, storage: Storage) -> None:
        for key in ("a/b", "a/c", "b"):
            storage.put(key, key.encode())

        storage.delete("a/b")

        assert [info.key for info in storage.list()] == ["a/c", "b"]
        assert storage.get("a/c") == b"a/c"

    def test_an_object_does_not_go_with_a_key_above_it(self, storage: Storage) -> None:
        storage.put("a/b", b"1")

        storage.delete("a")

        assert storage.get("a/b") == b"1"

    @pytest.mark.parametrize("key", NOT_KEYS)
    def test_what_is_no_key_is_refused_in_writing(self, storage: Storage, key: str) -> None:
        with pytest.raises(errors.InvalidInputError):
            storage.put(key, b"1")
        with pytest.raises(errors.InvalidInputError):
            storage.delete(key)

        assert [*storage.list()] == []

    def test_of_many_threads_that_put_one_key_one_succeeds(self, storage: Storage) -> None:
        for turn in range(self.races):
            barrier = threading.Barrier(8)
            key = f"journal/{turn:04}"

            def put(number: int, key: str = key, barrier: threading.Barrier = barrier) -> bool:
                barrier.wait()
                try:
                    storage.put(key, bytes([number]) * 1000)
                except errors.ObjectExistsError:
                    return False
                return True

            with ThreadPoolExecutor(8) as threads:
                won = [*threads.map(put, range(8))]

            assert won.count(True) == 1
            assert storage.get(key) == bytes([won.index(True)]) * 1000

    def test_no_reader_sees_half_an_object(self, storage: Storage) -> None:
        size = 1 << 20
        written = threading.Event()

        def write() -> None:
            try:
                for number in range(20):
                    storage.put(f"packs/{number:02}", bytes([number]) * size)
            finally:
                written.set()

        def read() -> None:
            last = False
            while not last:
                last = written.is_set()
                for info in storage.list("packs/"):
                    assert info.size == size
                    assert storage.size(info.key) == size
                    data = storage.get(info.key)
                    assert data == bytes([int(info.key[-2:])]) * size

        with ThreadPoolExecutor(3) as threads:
            for done in [threads.submit(write), threads.submit(read), threads.submit(read)]:
                done.result()

        assert len([*storage.list("packs/")]) == 20

    @pytest.mark.parametrize("parts", COMPOSITIONS.values(), ids=COMPOSITIONS)
    def test_an_object_is_composed_of_its_parts_in_order(
        self, storage: Storage, parts: tuple[Part, ...]
    ) -> None:
        there = {
            "packs/a": hashlib.shake_256(b"a").digest(300_000),
            "packs/b": hashlib.shake_256(b"b").digest(65536),
        }
        for key, data in there.items():
            storage.put(key, data)
        expected = b"".join(_bytes_of(part, there) for part in parts)

        composed = storage.compose("packs/composed", parts)

        assert storage.get("packs/composed") == expected
        assert storage.size("packs/composed") == len(expected)
        assert composed.written_bytes == sum(
            len(part) for part in parts if not isinstance(part, ObjectRange)
        )
        assert composed.size == len(expected)
        assert min(composed.written_bytes, composed.cloned_bytes, composed.copied_bytes) >= 0
        assert {key: storage.get(key) for key in there} == there

    def test_a_composed_object_outlives_what_it_is_made_of(self, storage: Storage) -> None:
        data = hashlib.shake_256(b"a").digest(100_000)
        storage.put("a", data)
        storage.compose("b", [ObjectRange("a")])

        storage.delete("a")

        assert storage.get("b") == data
        assert [*storage.list()] == [ObjectInfo("b", len(data))]

    def test_a_second_object_is_not_composed_under_a_taken_key(self, storage: Storage) -> None:
        storage.put("a", b"0123")
        storage.compose("b", [ObjectRange("a", 1, 2)])

        with pytest.raises(errors.ObjectExistsError):
            storage.compose("b", [ObjectRange("a")])
        with pytest.raises(errors.ObjectExistsError):
            storage.compose("a", [ObjectRange("b"), b"x"])
        with pytest.raises(errors.ObjectExistsError):
            storage.put("b", b"x")

        assert {key: storage.get(key) for key in "ab"} == {"a": b"0123", "b": b"12"}
        assert [*storage.list()] == [ObjectInfo("a", 4), ObjectInfo("b", 2)]

    def test_nothing_is_composed_of_an_object_that_is_missing(self, storage: Storage) -> None:
        storage.put("a", b"0123")

        with pytest.raises(errors.ObjectMissingError):
            storage.compose("b", [b"new", ObjectRange("a"), ObjectRange("c", 0, 1)])

        assert [*storage.list()] == [ObjectInfo("a", 4)]

    @pytest.mark.parametrize(("offset", "length"), [(0, 5), (3, 2), (4, 1), (2**40, 1)])
    def test_nothing_is_composed_of_a_range_beyond_the_end(
        self, storage: Storage, offset: int, length: int
    ) -> None:
        storage.put("a", b"0123")

        with pytest.raises(errors.ObjectCutError):
            storage.compose("b", [b"new", ObjectRange("a", offset, length)])

        assert [*storage.list()] == [ObjectInfo("a", 4)]

    @pytest.mark.parametrize("key", NOT_KEYS)
    def test_what_is_no_key_is_refused_in_composing(self, storage: Storage, key: str) -> None:
        storage.put("a", b"0123")

        with pytest.raises(errors.InvalidInputError):
            storage.compose(key, [b"1"])
        with pytest.raises(errors.InvalidInputError):
            storage.compose("b", [ObjectRange(key)])

        assert [*storage.list()] == [ObjectInfo("a", 4)]

    @pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1)])
    def test_a_range_that_counts_backwards_is_refused_in_composing(
        self, storage: Storage, offset: int, length: int | None
    ) -> None:
        storage.put("a", b"0123")

        with pytest.raises(errors.InvalidInputError):
            storage.compose("b", [ObjectRange("a", offset, length)])

    def test_of_threads_that_put_and_compose_one_key_one_succeeds(self, storage: Storage) -> None:
        storage.put("a", b"a" * 5000)
        for turn in range(10):
            barrier = threading.Barrier(4)
            key = f"packs/{turn}"

            def write(number: int, key: str = key, barrier: threading.Barrier = barrier) -> bool:
                barrier.wait()
                try:
                    if number % 2:
                        storage.compose(key, [ObjectRange("a"), bytes([number])])
                    else:
                        storage.put(key, b"a" * 5000 + bytes([number]))
                except errors.ObjectExistsError:
                    return False
                return True

            with ThreadPoolExecutor(4) as threads:
                won = [*threads.map(write, range(4))]

            assert won.count(True) == 1
            assert storage.get(key) == b"a" * 5000 + bytes([won.index(True)])

    def test_threads_write_and_delete_side_by_side(self, storage: Storage) -> None:
        def work(number: int) -> None:
            for step in range(10):
                storage.put(f"work/{number}/{step}", bytes([number, step]))
                assert storage.get(f"work/{number}/{step}") == bytes([number, step])
                if step % 2:
                    storage.delete(f"work/{number}/{step}")

        with ThreadPoolExecutor(8) as threads:
            for done in [threads.submit(work, number) for number in range(8)]:
                done.result()

        assert [info.key for info in storage.list("work/")] == [
            f"work/{number}/{step}" for number in range(8) for step in range(0, 10, 2)
        ]


def _bytes_of(part: Part, there: dict[str, bytes]) -> bytes:
    if not isinstance(part, ObjectRange):
        return bytes(part)
    end = None if part.length is None else part.offset + part.length
    return there[part.key][part.offset : end]
