from __future__ import annotations

import errno
import fcntl
import gc
import hashlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import strongroom
from strongroom import errors
from strongroom.storage import local
from strongroom.storage.local import LocalStorage
from strongroom.testing.turned_clock import TurnedClock
from tests.support.descriptors import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(Path(strongroom.__file__).parents[1]), *sys.path]),
}


@pytest.fixture(autouse=True, scope="module")
def _little_to_collect() -> None:
    """Keep what other tests left out of the collections that each count of descriptors makes."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def storage(root: Path) -> Iterator[LocalStorage]:
    storage = LocalStorage(root)
    yield storage
    storage.close()


def files_under(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


# --- what lies in the folder ----------------------------------------------------------------


def test_an_object_is_a_file_of_its_name_that_only_its_owner_reads(
    storage: LocalStorage, root: Path
) -> None:
    storage.put("packs/00/a", b"data")

    assert (root / "packs/00/a").read_bytes() == b"data"
    assert stat.S_IMODE((root / "packs/00/a").stat().st_mode) == 0o600
    for folder in ("packs", "packs/00", ".tmp"):
        assert stat.S_IMODE((root / folder).stat().st_mode) == 0o700
    assert files_under(root) == ["packs/00/a"]


def test_foreign_files_are_not_objects(storage: LocalStorage, root: Path) -> None:
    (root / "lost+found").mkdir()
    (root / "lost+found" / "a").write_bytes(b"")
    (root / ".hidden").write_bytes(b"")
    (root / "README").write_bytes(b"")
    (root / ("a" * 201)).write_bytes(b"")
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")

    assert [*storage.list()] == []
    for key in ("folder", "pipe"):
        assert not storage.exists(key)
        with pytest.raises(errors.ObjectMissingError):
            storage.get(key)
        with pytest.raises(errors.RefusedError):
            storage.put(key, b"1")


def test_a_socket_is_not_an_object(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(storage.location)  # a socket's path has to be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")

        with pytest.raises(errors.ObjectMissingError):
            storage.get("socket")


def test_an_object_cannot_hold_objects(storage: LocalStorage) -> None:
    storage.put("a", b"1")
    storage.put("b/c", b"1")

    with pytest.raises(errors.RefusedError):
        storage.put("a/b", b"2")
    with pytest.raises(errors.RefusedError):
        storage.put("b", b"2")


def test_no_symbolic_link_inside_is_followed(
    storage: LocalStorage, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"not an object")
    (root / "packs").symlink_to(outside)
    (root / "link").symlink_to(outside / "file")
    (root / "dangling").symlink_to(outside / "nothing")

    assert [*storage.list()] == []
    assert [*storage.list("packs/")] == []
    for key in ("packs/file", "link", "dangling"):
        assert not storage.exists(key)
        with pytest.raises(errors.ObjectMissingError):
            storage.get(key)
        with pytest.raises(errors.ObjectMissingError):
            storage.get(key, 0, 3)
        with pytest.raises(errors.ObjectMissingError):
            storage.size(key)
        with pytest.raises(errors.RefusedError):
            storage.put(key, b"1")
    with pytest.raises(errors.RefusedError):
        storage.put("packs/new", b"1")
    storage.delete("packs/file")
    assert files_under(outside) == ["file"]


def test_a_link_in_place_of_the_temporary_folder_is_not_followed(
    storage: LocalStorage, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / ".tmp").symlink_to(outside)

    with pytest.raises(errors.RefusedError):
        storage.put("a", b"1")
    assert files_under(outside) == []


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").symlink_to(root)
    storage = LocalStorage(tmp_path / "disk")

    storage.put("a", b"1")

    assert storage.location == str(tmp_path / "disk")
    assert (root / "a").exists()


def test_a_relative_root_stays_where_it_was(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    storage = LocalStorage(Path("root"))
    monkeypatch.chdir("/")

    storage.put("a", b"1")

    assert (root / "a").exists()


def test_a_folder_of_many_objects_is_listed_in_order(storage: LocalStorage, root: Path) -> None:
    (root / "packs").mkdir()
    names = [hashlib.sha256(bytes([n // 256, n % 256])).hexdigest() for n in range(20_000)]
    for name in names:
        (root / "packs" / name).touch()

    assert [info.key for info in storage.list("packs/")] == [
        f"packs/{name}" for name in sorted(names)
    ]
    assert len([*storage.list("packs/00")]) == sum(name.startswith("00") for name in names)


# --- durable before it has its name ---------------------------------------------------------


def test_an_object_is_durable_before_it_has_its_name_and_its_name_before_put_returns(
    storage: LocalStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, link = os.fsync, os.link

    def path_of(descriptor: int) -> str:
        return os.path.relpath(Path(f"/proc/self/fd/{descriptor}").readlink(), root)

    def recording_fsync(descriptor: int) -> None:
        path = path_of(descriptor)
        done.append("sync file" if path.startswith(".tmp/") else f"sync {path}")
        fsync(descriptor)

    def recording_link(*args: Any, **kwargs: Any) -> None:
        done.append("link")
        link(*args, **kwargs)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "link", recording_link)
    storage.put("packs/00/a", b"1")
    storage.put("packs/00/b", b"1")
    storage.delete("packs/00/a")

    assert done == [
        *("sync .", "sync packs", "sync ."),  # the folders made, each in the one that holds it
        *("sync file", "link", "sync packs/00"),
        *("sync file", "link", "sync packs/00"),
        "sync packs/00",
    ]


def test_folders_within_folders_without_end_are_passed_over(
    storage: LocalStorage, root: Path
) -> None:
    storage.put("a/object", b"x")
    top = root / "a" / "a"
    top.mkdir()
    folder = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(1200):
        os.mkdir("a", dir_fd=folder)
        inner = os.open("a", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    try:
        assert [info.key for info in storage.list()] == ["a/object"]
    finally:
        # One by one, for whoever removes the tests' folders goes down as well.
        below = root / "below"
        while any(top.iterdir()):
            (top / "a").rename(below)
            top.rmdir()
            below.rename(top)


def test_a_folder_that_another_process_has_just_made_is_made_durable_too(
    storage: LocalStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "packs").mkdir()
    (root / ".tmp").mkdir()
    synced: list[str] = []
    fsync = os.fsync

    def recording_fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    storage.put("packs/a", b"1")

    assert synced[0] == str(root)
    assert len(synced) == 4  # the root for each of its folders, the file, the folder


def test_a_large_buffer_is_written_without_a_copy(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(32 * MIB)
    written: list[object] = []
    write = os.write

    def recording_write(descriptor: int, piece: memoryview) -> int:
        written.append(piece.obj)
        return write(descriptor, piece[: 5 * MIB])

    monkeypatch.setattr(os, "write", recording_write)
    storage.put("packs/a", memoryview(data))

    assert len(written) == 7
    assert all(piece is data for piece in written)
    assert storage.get("packs/a") == data


# --- when the system says no ----------------------------------------------------------------

FAMILIES = [
    (errno.ENOSPC, errors.StorageFullError),
    (errno.EDQUOT, errors.StorageFullError),
    (errno.EROFS, errors.RefusedError),
    (errno.EACCES, errors.RefusedError),
    (errno.EPERM, errors.RefusedError),
    (errno.EFBIG, errors.RefusedError),
    (errno.EIO, errors.StorageUnavailableError),
    (errno.ESTALE, errors.StorageUnavailableError),
    (errno.ENOTCONN, errors.StorageUnavailableError),
    (errno.EMFILE, errors.StorageUnavailableError),
]


@pytest.mark.parametrize(
    ("call", "number", "family"),
    [
        (call, number, family)
        for call in ("open", "write", "fsync", "link", "mkdir")
        for number, family in FAMILIES
        if (call, number) != ("link", errno.EPERM)  # means that there are no hard links
    ],
    ids=str,
)
def test_a_put_that_fails_says_why_and_leaves_nothing(
    storage: LocalStorage,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    family: type[errors.StrongroomError],
) -> None:
    storage.put("before", b"1")
    descriptors = open_descriptors()

    def failing(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        with pytest.raises(family, match=r"packs/00/a in .*root") as caught:
            storage.put("packs/00/a", b"data")

    assert type(caught.value) is family
    assert caught.value.fields["errno"] == number
    assert isinstance(caught.value.__cause__, OSError)
    assert files_under(root) == ["before"]
    assert open_descriptors() == descriptors
    storage.put("packs/00/a", b"data")


@pytest.mark.parametrize(("number", "family"), FAMILIES, ids=str)
@pytest.mark.parametrize(
    ("verb", "call"),
    [
        ("get", "open"),
        ("get", "pread"),
        ("range", "open"),
        ("range", "pread"),
        ("size", "stat"),
        ("exists", "stat"),
        ("list", "scandir"),
        ("list", "stat"),
        ("delete", "unlink"),
        ("delete", "fsync"),
        ("free_bytes", "statvfs"),
        ("sweep_temporary", "open"),
    ],
)
def test_no_bare_error_of_the_system_comes_out(
    storage: LocalStorage,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    call: str,
    number: int,
    family: type[errors.StrongroomError],
) -> None:
    storage.put("a/b", b"1")
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: storage.get("a/b"),
        "range": lambda: storage.get("a/b", 0, 1),
        "size": lambda: storage.size("a/b"),
        "exists": lambda: storage.exists("a/b"),
        "list": lambda: [*storage.list()],
        "delete": lambda: storage.delete("a/b"),
        "free_bytes": storage.free_bytes,
        "sweep_temporary": storage.sweep_temporary,
    }
    descriptors = open_descriptors()

    def failing(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        with pytest.raises(family):
            calls[verb]()

    assert open_descriptors() == descriptors


@pytest.mark.parametrize("gone", ["missing", "file"])
def test_a_root_that_is_not_there_is_unavailable_and_never_made(tmp_path: Path, gone: str) -> None:
    root = tmp_path / "mnt" / "backup"
    if gone == "file":
        root.parent.mkdir()
        root.write_bytes(b"")
    storage = LocalStorage(root)
    calls: list[Callable[[], object]] = [
        lambda: storage.put("a", b"1"),
        lambda: storage.get("a"),
        lambda: storage.get("a", 0, 1),
        lambda: storage.size("a"),
        lambda: storage.exists("a"),
        lambda: [*storage.list()],
        lambda: [*storage.list("packs/")],
        lambda: storage.delete("a"),
        lambda: storage.sweep_temporary(),
    ]

    for call in calls:
        with pytest.raises(errors.StorageUnavailableError, match="no folder") as caught:
            call()
        assert caught.value.hint == "is the disk mounted?"
    assert not root.is_dir()


def test_a_missing_root_has_no_room_to_tell(tmp_path: Path) -> None:
    with pytest.raises(errors.StorageUnavailableError):
        LocalStorage(tmp_path / "nothing").free_bytes()


def test_a_root_is_made_with_all_above_it_when_asked(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "a" / "b")

    storage.make_root()
    storage.make_root()
    storage.put("c", b"1")

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    assert (tmp_path / "a/b/c").exists()


def test_a_root_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")

    with pytest.raises(errors.StrongroomError):
        LocalStorage(tmp_path / "a" / "b").make_root()


def test_free_bytes_are_those_of_the_file_system(storage: LocalStorage, root: Path) -> None:
    free = storage.free_bytes()

    assert free is not None
    room = os.statvfs(root)
    assert room.f_bavail * room.f_frsize / 2 < free <= room.f_blocks * room.f_frsize


# --- file systems without hard links --------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_hard_links_an_object_is_renamed_and_still_replaces_none(
    storage: LocalStorage, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_links(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_links)
    storage.put("packs/a", b"first")
    with pytest.raises(errors.ObjectExistsError):
        storage.put("packs/a", b"second")
    # The look before the write is not what keeps the second out.
    monkeypatch.setattr(LocalStorage, "_stat", lambda self, key: None)
    with pytest.raises(errors.ObjectExistsError):
        storage.put("packs/a", b"second")

    assert storage.get("packs/a") == b"first"
    assert files_under(root) == ["packs/a"]


@pytest.mark.parametrize("how", ["flag", "libc"])
def test_a_file_system_that_can_neither_link_nor_keep_from_replacing_is_refused(
    storage: LocalStorage, root: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def no_links(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EPERM, "no")

    def no_flags(*args: Any) -> None:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(os, "link", no_links)
    if how == "flag":
        monkeypatch.setattr(local, "_rename_without_replacing", no_flags)
    else:
        monkeypatch.setattr(local, "_renameat2", lambda: None)

    with pytest.raises(errors.RefusedError, match="neither link") as caught:
        storage.put("packs/a", b"first")

    assert caught.value.hint
    assert files_under(root) == []


def test_a_link_that_was_made_although_it_was_said_to_exist_is_the_writers_own(
    storage: LocalStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS sends a request again if its answer is lost."""
    link = os.link

    def linked_twice(*args: Any, **kwargs: Any) -> None:
        link(*args, **kwargs)
        link(*args, **kwargs)

    monkeypatch.setattr(os, "link", linked_twice)
    storage.put("a", b"1")

    assert files_under(root) == ["a"]


def test_the_name_is_taken_by_linking_not_by_looking(
    storage: LocalStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.put("a", b"first")
    monkeypatch.setattr(LocalStorage, "_stat", lambda self, key: None)

    with pytest.raises(errors.ObjectExistsError):
        storage.put("a", b"second")

    assert (root / "a").read_bytes() == b"first"
    assert files_under(root) == ["a"]


# --- files kept open ------------------------------------------------------------------------


def test_ranges_of_one_object_open_it_once(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.put("packs/a", bytes(1000))
    opened: list[str] = []
    system_open = os.open

    def recording_open(path: str, *args: Any, **kwargs: Any) -> int:
        opened.append(path)
        return system_open(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", recording_open)
    for offset in range(100):
        storage.get("packs/a", offset, 10)

    assert opened.count("a") == 1


def test_few_files_stay_open_and_none_after_close(storage: LocalStorage) -> None:
    descriptors = open_descriptors()
    for number in range(100):
        storage.put(f"packs/{number}", b"1")
        storage.get(f"packs/{number}", 0, 1)
    assert open_descriptors() <= descriptors + 16

    storage.close()

    assert open_descriptors() == descriptors
    assert storage.get("packs/5", 0, 1) == b"1"


def test_a_storage_that_is_dropped_closes_its_files(root: Path) -> None:
    descriptors = open_descriptors()
    storage = LocalStorage(root)
    storage.put("a", b"1")
    storage.get("a", 0, 1)
    assert open_descriptors() == descriptors + 1

    del storage

    assert open_descriptors() == descriptors


def test_an_open_file_is_not_the_object_that_has_its_name_now(
    storage: LocalStorage, root: Path
) -> None:
    storage.put("locks/a", b"first")
    assert storage.get("locks/a", 0, 9) == b"first"

    other = LocalStorage(root)
    other.delete("locks/a")
    with pytest.raises(errors.ObjectMissingError):
        storage.get("locks/a", 0, 9)
    other.put("locks/a", b"second")
    assert storage.get("locks/a", 0, 9) == b"second"


def test_threads_read_and_delete_without_closing_each_others_files(
    storage: LocalStorage,
) -> None:
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            for number in range(30):
                try:
                    assert storage.get(f"packs/{number}", 0, 2) == f"{number:02}".encode()
                except errors.ObjectMissingError:
                    continue

    def churn() -> None:
        try:
            for turn in range(300):
                storage.put(f"packs/{turn % 30}", f"{turn % 30:02}".encode())
                storage.delete(f"packs/{(turn + 15) % 30}")
        finally:
            stop.set()

    with ThreadPoolExecutor(5) as threads:
        tasks = [threads.submit(read) for _ in range(4)]
        tasks.append(threads.submit(churn))
        for task in tasks:
            task.result()


# --- leftovers ------------------------------------------------------------------------------


def test_only_old_leftovers_that_nobody_writes_are_swept(root: Path) -> None:
    clock = TurnedClock()
    storage = LocalStorage(root, clock)
    assert storage.sweep_temporary() == 0
    storage.put("a", b"1")
    ages = {"old": 25, "owned": 25, "young": 23}
    for name, hours in ages.items():
        path = root / ".tmp" / name
        path.write_bytes(b"half")
        then = clock.now_ns() - hours * 3_600_000_000_000
        os.utime(path, ns=(then, then))
    (root / ".tmp" / "folder").mkdir()

    with (root / ".tmp" / "owned").open() as owned:
        fcntl.flock(owned, fcntl.LOCK_EX)
        assert storage.sweep_temporary() == 1
        assert files_under(root / ".tmp") == ["owned", "young"]
    clock.advance(timedelta(hours=2))

    assert storage.sweep_temporary() == 2
    assert files_under(root) == ["a"]


def test_who_writes_first_sweeps(root: Path) -> None:
    (root / ".tmp").mkdir()
    (root / ".tmp" / "left").write_bytes(b"half")
    storage = LocalStorage(root, TurnedClock())

    assert not storage.exists("a")
    assert files_under(root) == [".tmp/left"]
    os.utime(root / ".tmp" / "left", (0, 0))
    storage.put("a", b"1")

    assert files_under(root) == ["a"]


def test_a_put_holds_a_lock_while_it_lasts(
    storage: LocalStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[int] = []
    write = os.write

    def slow_write(descriptor: int, piece: memoryview) -> int:
        written = write(descriptor, piece)
        os.utime(descriptor, ns=(0, 0))
        swept.append(LocalStorage(root).sweep_temporary())
        return written

    monkeypatch.setattr(os, "write", slow_write)
    storage.put("a", b"1")

    assert swept == [0]
    assert storage.get("a") == b"1"


# --- a small disk, and a process that is killed ---------------------------------------------

FILL = """
import os, sys
from pathlib import Path
from strongroom import errors
from strongroom.storage.local import LocalStorage

root = Path(sys.argv[1])
storage = LocalStorage(root)
room = storage.free_bytes()
storage.put("packs/00/small", b"s" * 5000)
try:
    for number in range(1000):
        storage.put(f"packs/01/{number:04}", bytes([number % 256]) * 300_000)
except errors.RefusedError as error:
    print(type(error).__name__, error)
files = [str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()]
listed = {info.key: info.size for info in storage.list()}
assert sorted(files) == sorted(listed), files
assert listed.pop("packs/00/small") == 5000
assert listed and all(size == 300_000 for size in listed.values()), listed
assert 0 <= storage.free_bytes() < room
for key in listed:
    assert storage.get(key) == bytes([int(key[-4:]) % 256]) * 300_000
for key in listed:
    storage.delete(key)
storage.put("packs/02/after", b"1")
print("whole")
"""

MOUNT = 'mount -t tmpfs -o size=2m,mode=700 strongroom "$1" && exec "$2" -c "$3" "$1"'

LIMIT = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
# Not even the first fits, and the room of a disk that others use too goes up and down.
exec(sys.argv[2].replace("listed and all", "all").replace("< room", ""))
"""


def mounting() -> list[str] | None:
    """Return the words that give a command mounts of its own, if that is allowed here."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    for words in ([unshare, "--mount"], [unshare, "--user", "--map-root-user", "--mount"]):
        probe = [*words, "mount", "-t", "tmpfs", "none", "/mnt"]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:  # noqa: S603
            return words
    return None


def test_a_full_disk_leaves_whole_objects_and_nothing_else(root: Path) -> None:
    words = mounting()
    if words is not None:
        command = [*words, "sh", "-c", MOUNT, "sh", str(root), sys.executable, FILL]
        expected = "StorageFullError cannot write packs/01/"
    else:
        # Where nothing can be mounted, a limit on file sizes stops the write half way too.
        command = [sys.executable, "-c", LIMIT, str(root), FILL]
        expected = "RefusedError cannot write packs/01/"
    ran = subprocess.run(  # noqa: S603 - this very interpreter
        command, capture_output=True, text=True, env=ENVIRONMENT, check=False
    )

    assert ran.stderr == ""
    assert ran.stdout.startswith(expected)
    assert ran.stdout.endswith("whole\n")


def test_a_write_that_is_cut_off_half_way_leaves_nothing(root: Path) -> None:
    ran = subprocess.run(  # noqa: S603 - this very interpreter
        [sys.executable, "-c", LIMIT, str(root), FILL],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )

    assert ran.stderr == ""
    assert ran.stdout.startswith("RefusedError cannot write packs/01/0000")
    assert ran.stdout.endswith("whole\n")


WRITE = """
import hashlib, sys
from pathlib import Path
from strongroom.storage.local import LocalStorage

storage = LocalStorage(Path(sys.argv[1]))
turn = sys.argv[2]
print("ready", flush=True)
for number in range(10_000):
    key = f"packs/{turn}/{number:05}"
    storage.put(key, hashlib.shake_256(key.encode()).digest(number % 7 * 100_000))
    print(key, flush=True)
"""


def test_a_writer_killed_at_any_instant_leaves_whole_objects(root: Path) -> None:
    storage = LocalStorage(root)
    leftovers = 0
    for turn in range(40):
        with subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-c", WRITE, str(root), f"{turn:02}"],
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.001 * turn * (1 + turn % 3 / 10))
            process.kill()
            acknowledged = process.stdout.read().splitlines()

        listed = [info.key for info in storage.list(f"packs/{turn:02}/")]
        assert [key for key in acknowledged if len(key) == 14 and key not in listed] == []
        assert len(listed) - len(acknowledged) in (0, 1)
        for key in listed:
            size = int(key[-5:]) % 7 * 100_000
            assert storage.get(key) == hashlib.shake_256(key.encode()).digest(size)
        leftovers = len([*(root / ".tmp").iterdir()]) if (root / ".tmp").exists() else 0

    later = TurnedClock()
    later.advance(timedelta(days=365 * 50))
    assert LocalStorage(root, later).sweep_temporary() == leftovers
    assert not any("tmp" in info.key for info in storage.list())
