"""The guard of a folder: what it locks, what it lets go, and what nobody has it do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from strongroom import errors
from strongroom.clock import from_microseconds, to_microseconds
from strongroom.storage import inode_flags
from strongroom.storage.guarded_folder import GuardedFolder
from strongroom.storage.local import LocalStorage
from strongroom.testing.turned_clock import NOON, TurnedClock
from tests.support.guarded import Guarded
from tests.support.loop_folder import loop_folder

DAY = timedelta(days=1)
NOBODY = 65534
PACK = "chains/00/packs/aa/aa01"


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with loop_folder(tmp_path_factory.mktemp("loop")) as place:
        yield place


@pytest.fixture
def guarded(mounted: Path, tmp_path: Path) -> Guarded:
    folder = mounted / tmp_path.name
    folder.mkdir()
    return Guarded(folder, tmp_path / "sockets", tmp_path / "state.sqlite")


def put(guarded: Guarded, key: str = PACK) -> str:
    LocalStorage(guarded.folder).put(key, b"sealed")
    return key


def until_day(guarded: Guarded, day: int) -> int:
    return guarded.clock.wall + day * DAY // timedelta(microseconds=1)


def is_immutable(path: Path) -> bool:
    file = os.open(path, os.O_RDONLY)
    try:
        return bool(inode_flags.get(file) & inode_flags.IMMUTABLE)
    finally:
        os.close(file)


def test_not_even_root_removes_changes_or_renames_what_is_locked(guarded: Guarded) -> None:
    guarded.guard().lock([put(guarded)], 0)
    path = guarded.folder / PACK
    path.with_name("new").write_bytes(b"put, and not locked yet")
    for attempt in (
        path.unlink,
        lambda: path.rename(path.with_name("other")),
        lambda: path.write_bytes(b""),
        lambda: path.chmod(0),
        lambda: os.link(path, path.with_name("other")),
        lambda: path.parent.rename(path.parent.with_name("bb")),
        lambda: (guarded.folder / "chains").rename(guarded.folder / "gone"),
        path.with_name("new").unlink,
    ):
        with pytest.raises(PermissionError):
            attempt()
    assert path.read_bytes() == b"sealed"


def test_a_writer_shortens_nothing_and_lengthens_within_bounds(guarded: Guarded) -> None:
    guard = guarded.guard()
    guard.lock([put(guarded)], until_day(guarded, 1))
    assert guard.until(PACK) == until_day(guarded, 7)
    guard.lock([PACK], until_day(guarded, 30))
    guard.lock([PACK], until_day(guarded, 8))
    assert guard.until(PACK) == until_day(guarded, 30)
    guard.lock([PACK], until_day(guarded, 9000))
    assert guard.until(PACK) == until_day(guarded, 400)


def test_what_is_past_its_date_goes_on_request_and_not_before(guarded: Guarded) -> None:
    guard = guarded.guard()
    guard.lock([put(guarded), put(guarded, "chains/00/packs/aa/aa02")], 0)
    guarded.clock.advance(7 * DAY - timedelta(seconds=1))
    with pytest.raises(errors.ObjectLockedError) as refused:
        guard.remove(PACK)
    assert refused.value.until == NOON + 7 * DAY
    guarded.clock.advance(timedelta(seconds=1))
    guard.remove(PACK)
    assert not (guarded.folder / PACK).exists()
    assert is_immutable(guarded.folder / "chains/00/packs/aa/aa02")
    with pytest.raises(PermissionError):
        (guarded.folder / "chains/00/packs/aa").rename(guarded.folder / "gone")
    guard.remove(PACK)


def test_a_lost_state_leaves_all_locked_as_if_it_were_new(guarded: Guarded) -> None:
    guarded.guard().lock([put(guarded)], until_day(guarded, 300))
    guarded.clock.advance(20 * DAY)
    guarded.state.unlink()
    guard = guarded.guard()
    with pytest.raises(errors.ObjectLockedError):
        guard.remove(PACK)
    assert guard.until(PACK) == until_day(guarded, 7)


def test_a_sweep_locks_what_nobody_asked_for_and_leaves_what_comes_and_goes(
    guarded: Guarded,
) -> None:
    guard = guarded.guard()
    put(guarded)
    put(guarded, "locks/job/1")
    (guarded.folder / ".tmp" / "half").write_bytes(b"")
    assert guard.sweep() == 1
    assert guard.sweep() == 0
    assert is_immutable(guarded.folder / PACK)
    (guarded.folder / ".tmp" / "half").unlink()
    (guarded.folder / "locks/job/1").unlink()


def test_a_sweep_mends_an_attribute_that_a_crash_lost(guarded: Guarded) -> None:
    guard = guarded.guard()
    guard.lock([put(guarded)], until_day(guarded, 30))
    file = os.open(guarded.folder / PACK, os.O_RDONLY)
    inode_flags.change(file, take=inode_flags.IMMUTABLE)
    os.close(file)
    assert guard.sweep(thorough=True) == 1
    assert guard.until(PACK) == until_day(guarded, 30)


# --- the clock ------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [8 * DAY, -8 * DAY, timedelta(hours=25)])
def test_a_clock_that_jumps_a_day_blocks_removals_until_root_confirms(
    guarded: Guarded, by: timedelta
) -> None:
    guard = guarded.guard()
    guard.lock([put(guarded)], 0)
    guarded.clock.advance(7 * DAY)
    guarded.clock.set(by)
    with pytest.raises(errors.ObjectLockedError):
        guard.remove(PACK)
    guarded.clock.set(-by)  # back where it was: somebody turned it all the same
    assert guard.blocked is not None
    with pytest.raises(errors.ObjectLockedError, match="clock"):
        guard.remove(PACK)
    assert guard.confirm_clock() is not None
    guard.remove(PACK)
    assert not (guarded.folder / PACK).exists()


def test_many_small_jumps_are_a_large_one(guarded: Guarded) -> None:
    guard = guarded.guard()
    guard.lock([put(guarded)], 0)
    for _ in range(20):
        guarded.clock.set(timedelta(hours=10))
        guard.sweep()
    with pytest.raises(errors.ObjectLockedError):
        guard.remove(PACK)
    assert (guarded.folder / PACK).exists()


@pytest.mark.parametrize(("off_for", "blocks"), [(timedelta(hours=20), False), (3 * DAY, True)])
def test_a_machine_that_was_off_for_days_blocks_removals(
    guarded: Guarded, off_for: timedelta, blocks: bool
) -> None:
    guard = guarded.guard()
    guard.lock([put(guarded)], 0)
    guarded.clock.advance(6 * DAY)
    guard.sweep()
    guarded.clock.start_again(off_for)
    guarded.clock.advance(2 * DAY)
    assert (guard.sweep(), guard.blocked is not None) == (0, blocks)


def test_a_clock_that_was_set_back_gives_no_shorter_locks(guarded: Guarded) -> None:
    guard = guarded.guard()
    guarded.clock.set(-40 * DAY)
    guard.lock([put(guarded)], 0)
    assert guard.until(PACK) == to_microseconds(NOON + 7 * DAY)


# --- what nobody has it do ------------------------------------------------------------------


def test_nothing_outside_the_folder_is_touched(guarded: Guarded, tmp_path: Path) -> None:
    guard = guarded.guard()
    victim = guarded.folder.parent / "victim"
    victim.mkdir(exist_ok=True)
    (victim / "file").write_bytes(b"")
    (guarded.folder / "link").symlink_to(victim / "file")
    (guarded.folder / "folder").symlink_to(victim)
    os.mkfifo(guarded.folder / "pipe")
    for key in ("link", "folder/file", "pipe", "../victim/file", "/etc/passwd", "locks/a", ""):
        with pytest.raises(errors.StrongroomError):
            guard.lock([key], 0)
    guard.sweep(thorough=True)
    assert not is_immutable(victim / "file")


def test_another_user_s_file_is_not_locked(guarded: Guarded) -> None:
    guard = guarded.guard()
    put(guarded, "aa")
    os.chown(guarded.folder / "aa", NOBODY, NOBODY)
    with pytest.raises(errors.RefusedError):
        guard.lock(["aa"], 0)
    assert guard.sweep(thorough=True) == 0


def test_a_file_system_without_the_attribute_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.RefusedError, match="immutable attribute"):
        Guarded(Path("/proc"), tmp_path, tmp_path / "state").guard()


# --- the socket -----------------------------------------------------------------------------


def test_the_writer_s_side_says_who_is_missing(guarded: Guarded) -> None:
    storage = GuardedFolder(guarded.folder, guarded.sockets, DAY, TurnedClock())
    with pytest.raises(errors.StorageUnavailableError, match="guard") as refused:
        storage.put(PACK, b"")
    assert "guard run" in str(refused.value.hint)


def test_a_thousand_dates_are_one_request(guarded: Guarded) -> None:
    keys = [f"chains/00/tables/{number:04}" for number in range(1001)]
    for key in keys:
        path = guarded.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with guarded.serving():
        storage = GuardedFolder(guarded.folder, guarded.sockets, DAY, TurnedClock())
        storage.lock(keys, NOON + 30 * DAY)
        assert storage.locked_until(keys[-1]) == NOON + 30 * DAY
        assert storage.locked_until(keys[0]) == from_microseconds(until_day(guarded, 30))


def test_strangers_are_not_answered(guarded: Guarded) -> None:
    put(guarded)
    code = (
        "import os, socket, sys\n"
        f"os.setuid({NOBODY})\n"
        "with socket.socket(socket.AF_UNIX) as s:\n"
        "    s.connect(sys.argv[1])\n"
        "    try:\n"
        '        s.sendall(b\'{"verb": "lock", "keys": ["%s"], "until": 0}\\n\')\n'
        "    except BrokenPipeError:\n"
        "        pass\n"
        "    print(s.recv(1000).decode())\n" % PACK
    )
    with guarded.serving():
        (socket_file,) = guarded.sockets.iterdir()
        # From inside, since nobody else may look into the tests' folders above.
        said = subprocess.run(
            [sys.executable, "-c", code, socket_file.name],
            cwd=guarded.sockets,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    assert "only the owner" in said.stdout
    assert not is_immutable(guarded.folder / PACK)


def test_a_stranger_who_says_nothing_keeps_nobody_off(guarded: Guarded) -> None:
    put(guarded)
    code = (
        "import os, socket, sys\n"
        f"os.setuid({NOBODY})\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "s.connect(sys.argv[1])\n"
        "print(s.recv(1000).decode())\n"
    )
    with guarded.serving():
        (socket_file,) = guarded.sockets.iterdir()
        # Told no although it never ends its line: it is not waited for.
        said = subprocess.run(
            [sys.executable, "-c", code, socket_file.name],
            cwd=guarded.sockets,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    assert "only the owner" in said.stdout


@pytest.mark.parametrize(
    "nonsense",
    [
        b'{"verb": "lock", "keys": [], "until": Infinity}',
        b'{"verb": "lock", "keys": [], "until": 1e999}',
        b"[" * 100_000,
        b'{"verb": "lock", "keys": "chains", "until": 0}',
        b'{"verb": "lock", "keys": ["\\ud800"], "until": 0}',
        b"",
    ],
    ids=["infinity", "too large", "deep", "letters", "half a letter", "nothing"],
)
def test_nonsense_ends_a_request_and_not_the_guard(guarded: Guarded, nonsense: bytes) -> None:
    put(guarded)
    with guarded.serving():
        (path,) = guarded.sockets.iterdir()
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(path))
            asking.sendall(nonsense + b"\n")
            assert b"error" in asking.recv(1000)
        storage = GuardedFolder(guarded.folder, guarded.sockets, DAY, TurnedClock())
        assert storage.locked_until(PACK) is None


def test_a_date_counts_where_a_crash_lost_the_attribute(guarded: Guarded) -> None:
    guard = guarded.guard()
    guard.lock([put(guarded)], 0)
    file = os.open(guarded.folder / PACK, os.O_RDONLY)
    inode_flags.change(file, take=inode_flags.IMMUTABLE)
    os.close(file)
    with pytest.raises(errors.ObjectLockedError):
        guard.remove(PACK)
