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
from strongroom.storage.base import ObjectInfo

if TYPE_CHECKING:
    from strongroom.storage.base import Buffer, Storage

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
