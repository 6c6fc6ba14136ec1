"""The guard of a folder: a process of its own, with rights that who writes there lacks.

It makes objects immutable until a date and removes them on request when the date has passed.
Whoever writes to the folder can ask for a later date and for nothing else; that is why an
intruder with all rights of the writer can remove nothing that is locked.

    writer (any user)                          guard (root)
    puts objects            ── lock ──▶        sets +i on files and +a on their folders
    prunes                  ── remove ──▶      unlinks what is past its date, nothing else

What the guard relies on, it keeps where only root writes: the date of each object, and the last
moment it saw. Dates are not kept beside the objects, for to change one there the attribute would
have to be lifted for an instant. The rules are root's as well: a new object is locked for
`days` at the least, whatever was asked for.

Every step is taken relative to an open folder and follows no symbolic link. Only regular files
of the folder's own owner are touched, so that nobody has the guard lock another's.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from strongroom import errors
from strongroom.clock import from_microseconds
from strongroom.storage import inode_flags
from strongroom.storage.keys import PASSING, PROBES, is_key, is_passing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from strongroom.storage.base import ObjectKey

MOST_JUMP: Final = timedelta(hours=24)
MOST_PROBE: Final = timedelta(days=1)
_MINUTE: Final = 60 * 1_000_000
_DAY: Final = 24 * 60 * 60 * 1_000_000
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NO_ATTRIBUTES: Final = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Moment:
    """What the wall clock says, beside a clock that nobody can set."""

    wall: int
    """Microseconds since 1970."""
    boot: str
    """Which start of the machine it is."""
    since_boot: int
    """Microseconds, time asleep included."""


def present_moment() -> Moment:
    return Moment(
        time.time_ns() // 1000,
        _BOOT_ID.read_text().strip(),
        time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000,
    )


def jump_between(before: Moment, now: Moment) -> str | None:
    """Say how the wall clock moved by more than a day otherwise than time did; None if not.

    Across a start of the machine nobody knows how long it was off, so there more than a day
    counts too: to turn the clock in between looks the same.
    """
    same_boot = now.boot == before.boot
    passed = now.since_boot - (before.since_boot if same_boot else 0)
    jump = now.wall - before.wall - passed
    if abs(jump) <= MOST_JUMP // timedelta(microseconds=1):
        return None
    hours = abs(jump) // 3_600_000_000
    if same_boot:
        return f"the clock was moved {'forward' if jump > 0 else 'back'} by {hours} hours"
    if jump < 0:
        return f"after a start of the machine the clock stood {hours} hours back"
    return f"the machine was off for {hours} hours, or its clock was moved forward"


@dataclass(frozen=True, slots=True)
class Rules:
    """What root decided; no request changes it."""

    days: int
    """Every object is locked so long at the least."""
    at_most_days: int
    """And no longer than this from the moment of asking."""


class Guard:
    """Locks objects of one folder; used by one thread at a time."""

    def __init__(
        self,
        folder: Path,
        state: Path,
        rules: Rules,
        moment: Callable[[], Moment] = present_moment,
    ) -> None:
        """Take the folder under guard: from now on nothing in it can be renamed.

        Args:
            folder: The repository's.
            state: A file for what the guard remembers, where only root writes.
            rules: For how long.
            moment: Tells the time.

        Raises:
            RefusedError: the file system has no such attributes, or this process not the right.
            StorageUnavailableError: there is no such folder.
        """
        self.folder = folder
        self.rules = rules
        self._moment = moment
        try:
            self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise errors.StorageUnavailableError(
                f"cannot guard {folder}: {os.strerror(error.errno or 0)}",
                hint="is the disk mounted?",
            ) from error
        root = os.fstat(self._root)
        self.owner = root.st_uid
        self._device = root.st_dev
        self._folders: set[int] = set()
        with self._explaining():
            self._make_append_only(self._root)
        self._database = _open_state(state)
        self._look_at_clock()

    def close(self) -> None:
        self._database.close()
        os.close(self._root)

    # --- what may be asked -------------------------------------------------------------------

    @property
    def blocked(self) -> str | None:
        """Why nothing is removed at present, whatever its date; None if nothing is the matter."""
        row = self._database.execute("SELECT reason FROM clock").fetchone()
        return row["reason"] if row else None

    def lock(self, keys: Iterable[ObjectKey], until: int) -> None:
        """Keep objects until `until`, within the rules; a later date that is there stays.

        Raises:
            ObjectMissingError: one of them is not there.
            RefusedError: one is nothing to be locked.
        """
        now = self._look_at_clock()
        dates = [(key, self._granted(key, until, now)) for key in keys]
        for key, _ in dates:
            with self._explaining(key), self._opened(key):
                pass  # it is there, and the owner's
        # The dates first: an attribute without a date counts as locked, a date alone is made up
        # for by the next sweep.
        with self._database:
            self._database.executemany(
                "INSERT INTO locks (key, until) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET "
                "until = max(until, excluded.until)",
                dates,
            )
        for key, _ in dates:
            with self._explaining(key), self._opened(key) as (file, _):
                inode_flags.change(file, add=inode_flags.IMMUTABLE)

    def until(self, key: ObjectKey) -> int | None:
        """Return until when an object is locked; None if it is not.

        Raises:
            ObjectMissingError: there is no such object.
        """
        with self._explaining(key), self._opened(key) as (file, _):
            locked = inode_flags.get(file) & inode_flags.IMMUTABLE
        # A date counts also where a crash lost the attribute.
        until = self._recorded(key)
        return self._adopt(key) if until is None and locked else until

    def remove(self, key: ObjectKey) -> None:
        """Remove an object that is past its date; it is no error if it is not there.

        Raises:
            ObjectLockedError: it is not, or the clock is not to be believed.
        """
        now = self._look_at_clock()
        try:
            until = self.until(key)
        except errors.ObjectMissingError:
            self._forget(key)
            return
        if until is not None:
            if now.wall < until:
                raise _locked(key, from_microseconds(until))
            if self.blocked is not None:
                raise _locked(
                    key,
                    from_microseconds(until),
                    f"its date has passed, but {self.blocked}",
                    "set the clock right if it is wrong, then have root run 'strongroom guard "
                    f"confirm-clock {self.folder}'",
                )
        with self._explaining(key), self._opened(key) as (file, parent):
            inode_flags.change(file, take=inode_flags.IMMUTABLE)
            inode_flags.change(parent, take=inode_flags.APPEND_ONLY)
            try:
                os.unlink(key.rpartition("/")[2], dir_fd=parent)
                os.fsync(parent)
            finally:
                # Nothing else could go meanwhile: files are immutable by themselves, and a
                # folder that is append-only can be neither renamed nor removed.
                inode_flags.change(parent, add=inode_flags.APPEND_ONLY)
        self._forget(key)

    def sweep(self, *, thorough: bool = False) -> int:
        """Lock what was put and never asked for, and return how many objects that were.

        Args:
            thorough: Look at the attribute of every file, not of those alone that have no date.
        """
        now = self._look_at_clock()
        known = {row["key"] for row in self._database.execute("SELECT key FROM locks")}
        found = [key for key in self._walk(self._root, "") if thorough or key not in known]
        fresh = []
        for key in found:
            try:
                with self._opened(key) as (file, _):
                    locked = inode_flags.get(file) & inode_flags.IMMUTABLE
                    # Two names: it is being put at this moment.
                    if (not locked and os.fstat(file).st_nlink == 1) or key not in known:
                        fresh.append(key)
            except (OSError, errors.StrongroomError):
                continue  # gone meanwhile, or nothing that could be locked
        for key in fresh:
            try:
                self.lock([key], self._recorded(key) or now.wall)
            except errors.StrongroomError:
                continue
        return len(fresh)

    # --- the clock ---------------------------------------------------------------------------

    def confirm_clock(self) -> str | None:
        """Believe the clock as it is now; return what was the matter."""
        reason = self.blocked
        now = self._moment()
        self._remember(now, now.wall, None)
        return reason

    def _look_at_clock(self) -> Moment:
        """Return the present moment; if the clock jumped, nothing is removed from then on.

        It is held against the first moment since the machine was started and not against the
        last: many small jumps are a large one.
        """
        now = self._moment()
        row = self._database.execute("SELECT * FROM clock").fetchone()
        if row is None:
            self._remember(now, now.wall, None)
            return now
        first = Moment(row["wall"], row["boot"], row["since_boot"])
        if row["reason"] is None:
            same_boot = first.boot == now.boot
            before = first if same_boot else Moment(row["last_wall"], first.boot, 0)
            reason = jump_between(before, now)
            if reason is not None:
                self._remember(first, row["last_wall"], reason)
            elif not same_boot:
                self._remember(now, now.wall, None)
            elif now.wall - row["last_wall"] > _MINUTE:
                self._remember(first, now.wall, None)
        # A clock that was set back gives no shorter locks.
        return replace(now, wall=max(now.wall, row["last_wall"]))

    def _remember(self, first: Moment, last_wall: int, reason: str | None) -> None:
        with self._database:
            self._database.execute(
                "INSERT OR REPLACE INTO clock (id, wall, boot, since_boot, last_wall, reason) "
                "VALUES (1, ?, ?, ?, ?, ?)",
                (first.wall, first.boot, first.since_boot, last_wall, reason),
            )

    # --- dates -------------------------------------------------------------------------------

    def _granted(self, key: ObjectKey, until: int, now: Moment) -> int:
        if not is_key(key) or is_passing(key):
            raise errors.RefusedError(f"{key[:200]!r} is no object to be locked")
        if key.startswith(PROBES):
            return min(max(until, 0), now.wall + MOST_PROBE // timedelta(microseconds=1))
        least = now.wall + self.rules.days * _DAY
        return max(least, min(until, now.wall + self.rules.at_most_days * _DAY))

    def _recorded(self, key: ObjectKey) -> int | None:
        row = self._database.execute("SELECT until FROM locks WHERE key = ?", (key,)).fetchone()
        return int(row["until"]) if row else None

    def _adopt(self, key: ObjectKey) -> int:
        """Give an immutable object without a date one: the state was lost, or root made it so."""
        self.lock([key], 0)
        until = self._recorded(key)
        assert until is not None, "just locked"
        return until

    def _forget(self, key: ObjectKey) -> None:
        with self._database:
            self._database.execute("DELETE FROM locks WHERE key = ?", (key,))

    # --- files -------------------------------------------------------------------------------

    @contextmanager
    def _opened(self, key: ObjectKey) -> Iterator[tuple[int, int]]:
        """Open an object and its folder; every folder on the way is append-only from then on.

        Raises:
            ObjectMissingError: there is no such object.
            RefusedError: it is none that the folder's owner put there.
        """
        if not is_key(key):
            raise errors.RefusedError(f"{key[:200]!r} is no object")
        *folders, name = key.split("/")
        with ExitStack() as opened:
            parent = self._root
            try:
                for part in folders:
                    parent = os.open(part, _FOLDER, dir_fd=parent)
                    opened.callback(os.close, parent)
                    self._make_append_only(parent)
                file = os.open(name, _READ, dir_fd=parent)
                opened.callback(os.close, file)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise errors.ObjectMissingError(f"{self.folder} has no object {key}") from error
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or (found.st_uid, found.st_dev) != (
                self.owner,
                self._device,
            ):
                raise errors.RefusedError(f"{key} in {self.folder} is no object of its owner")
            yield file, parent

    def _make_append_only(self, folder: int) -> None:
        found = os.fstat(folder)
        if found.st_ino in self._folders:
            return
        if (found.st_uid, found.st_dev) != (self.owner, self._device):
            raise errors.RefusedError(f"a folder in {self.folder} is another user's")
        inode_flags.change(folder, add=inode_flags.APPEND_ONLY)
        # A folder that is append-only stays, so nobody else gets its number.
        self._folders.add(found.st_ino)

    def _walk(self, folder: int, inside: str) -> Iterator[ObjectKey]:
        with os.scandir(folder) as entries:
            names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_folder in names:
            key = inside + name
            if not is_key(key) or f"{key}/" == PASSING:
                continue
            if not is_folder:
                if not is_passing(key):
                    yield key
                continue
            try:
                inner = os.open(name, _FOLDER, dir_fd=folder)
            except OSError:
                continue
            try:
                yield from self._walk(inner, f"{key}/")
            finally:
                os.close(inner)

    @contextmanager
    def _explaining(self, key: ObjectKey = "") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = f"{key} in {self.folder}" if key else str(self.folder)
            if error.errno in _NO_ATTRIBUTES:
                raise errors.RefusedError(
                    f"cannot guard {what}: its file system has no immutable attribute",
                    hint="put the repository on ext4, XFS or btrfs",
                ) from error
            if error.errno == errno.EPERM:
                raise errors.RefusedError(
                    f"cannot guard {what}: the right to set the immutable attribute is missing",
                    hint="run the guard as root, with the capability CAP_LINUX_IMMUTABLE",
                ) from error
            raise errors.RefusedError(
                f"cannot guard {what}: {os.strerror(error.errno or 0)}"
            ) from error


def state_name(folder: Path) -> str:
    """Return what the state and the socket of a folder's guard are called.

    By the folder itself and not by its path: a link that leads to it means the same.
    """
    found = folder.stat()
    return f"{found.st_dev:x}-{found.st_ino:x}"


def _open_state(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        database = sqlite3.connect(path)
        database.row_factory = sqlite3.Row
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        with database, closing(database.cursor()) as cursor:
            cursor.execute(
                "CREATE TABLE IF NOT EXISTS locks (key TEXT PRIMARY KEY, until INTEGER NOT NULL) "
                "WITHOUT ROWID"
            )
            cursor.execute(
                "CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY, wall INTEGER NOT NULL, "
                "boot TEXT NOT NULL, since_boot INTEGER NOT NULL, last_wall INTEGER NOT NULL, "
                "reason TEXT)"
            )
    except (OSError, sqlite3.Error) as error:
        raise errors.RefusedError(f"cannot keep the guard's state in {path}: {error}") from error
    return database


def _locked(
    key: ObjectKey, until: datetime, why: str = "", hint: str | None = None
) -> errors.ObjectLockedError:
    reason = why or f"it is locked until {until:%Y-%m-%d %H:%M} UTC"
    return errors.ObjectLockedError(
        f"cannot remove {key}: {reason}", hint=hint, key=key, until=until
    )
