"""Who is at work on a job or a repository; everybody else waits.

A lock is a row of numbered objects, and the highest says how things stand: held by
somebody, or free.

    locks/<name>/0000000007             held, by a process that has died since
    locks/<name>/0000000007.beat-…02    its last sign of life
    locks/<name>/0000000008             held, by who found it dead
    locks/<name>/0000000009             free

Every change is the exclusive creation of the next number. So of two contenders one
creates it and the other finds it taken, whether the lock was free or its holder dead; and
the highest number never goes before a higher one is there, so an old one cannot be given
out again to somebody who read the row long ago. The numbers fence: whoever finds a higher
one than its own has lost the lock.

A holder on this machine is dead when its process is. Of a holder elsewhere only its beats
are seen, and 24 hours without one count as death; this is the one decision here that hangs
on two machines' clocks, so it is generous, and what a wrong one could break is protected
by the journal and not by this lock.

The storage sees what is written here: callers name a lock by an id, not by a job's name.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

import msgspec

from strongroom import errors
from strongroom.clock import rfc3339
from strongroom.storage.reading import together

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from strongroom.clock import Clock
    from strongroom.storage.base import ObjectKey, Storage

SILENT_FOR: Final = timedelta(hours=24)
"""A holder on another machine that shows no sign of life for so long counts as dead."""
BEAT_EVERY: Final = timedelta(hours=1)

_NAME: Final = re.compile(r"[a-z0-9_-][a-z0-9._-]{0,99}", re.ASCII)
_ROW: Final = re.compile(r"(\d{10})(?:\.beat-(\d{10}))?", re.ASCII)
_KEPT: Final = 4
"""Older numbers stay for a while, so that a listing that runs while the row changes cannot
miss all of it."""
_MOST_RECORD_BYTES: Final = 64 * 1024
_MOST_COMMAND: Final = 1000
PRUNING: Final = "repository prune"
"""What a lock says that a prune holds: sessions wait for it to end."""
RUNNING: Final = "job run"
"""What a lock says that a session holds: prune works beside it."""
_MOST_ROWS: Final = 10**9
"""A lock is never taken so often: somebody put such a number there, to leave none above it."""
_ATTEMPTS: Final = 100
"""Each lost to somebody else's progress; more than this and the storage is lying."""


_Moment: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]


class Whereabouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One process, so that another can tell whether it lives."""

    host: str
    machine: str
    """A hash of the machine id, for that is not to be shown; empty if there is none."""
    boot: str
    """The kernel's id of this start of the machine; empty if it tells none."""
    pid_namespace: str
    """Containers on one machine count their processes apart."""
    pid: int
    started_ticks: int
    """When the process started, in ticks since the boot: numbers of processes come again."""


class _Record(msgspec.Struct, frozen=True, tag_field="state", forbid_unknown_fields=True):
    """What the highest number says."""


class _Held(_Record, frozen=True, tag="held"):
    holder: Whereabouts
    session: str
    command: str
    started_at: _Moment
    token: str
    """Makes every record unlike all others, so that a repeated put knows its own."""


class _Free(_Record, frozen=True, tag="free"):
    released_at: _Moment
    token: str


class _Beat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    at: _Moment


@dataclass(slots=True)
class Lock:
    """A lock that is held; ends with `release`, or as a context.

    A long session calls `refresh` now and then, and `confirm` before what must not
    happen twice.
    """

    name: str
    number: int
    """Grows with every holder."""
    session_id: str
    taken_over: str | None
    """The session that died holding it, whose work may be continued."""
    _storage: Storage = field(repr=False)
    _clock: Clock = field(repr=False)
    _token: str = field(repr=False)
    _beats: int = field(default=0, repr=False)
    _beaten_at: float = field(default=0.0, repr=False)
    _beating: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _outlived: tuple[ObjectKey, ...] = field(default=(), repr=False)
    """Older rows that nobody looks for any more: they go with this one."""

    def refresh(self) -> None:
        """Show that the holder lives; cheap to call, for it writes once an hour.

        Raises:
            FencedError: somebody else holds the lock now.
        """
        with self._beating:
            if self._clock.monotonic() - self._beaten_at < BEAT_EVERY.total_seconds():
                return
            self.confirm()
            self._beats += 1
            beat = _encode(_Beat(self._clock.now()))
            self._storage.put(self._beat_key(self._beats), beat)
            self._beaten_at = self._clock.monotonic()
            if self._beats > 1:
                with suppress(errors.UnavailableError, errors.RefusedError):
                    self._storage.delete(self._beat_key(self._beats - 1))

    def confirm(self) -> None:
        """Return if this lock is still held.

        Raises:
            FencedError: somebody broke it, or took the holder for dead.
        """
        newest = _newest(self._storage, self.name)
        if newest is None or newest.number != self.number or self._token not in _held_here:
            raise errors.FencedError(
                f"session {self.session_id} has lost the lock {self.name}: it was released, "
                "broken, or taken over from it",
                lock=self.name,
                session=self.session_id,
            )

    def release(self) -> None:
        """Let the lock go; a second call does nothing, nor does one after it was lost."""
        if self._token not in _held_here:
            return
        try:
            free = _Free(self._clock.now(), uuid.uuid4().hex)
            with suppress(errors.ObjectExistsError):  # lost: the next number is another's
                self._storage.put(_key(self.name, self.number + 1), _encode(free))
        finally:
            # Even if the storage does not answer: then this process's next attempt finds
            # a lock that is its own and that nobody in it holds.
            _held_here.discard(self._token)
        beat = (self._beat_key(self._beats),) if self._beats else ()
        ended = (*beat, _key(self.name, self.number), *self._outlived)
        with suppress(errors.UnavailableError, errors.RefusedError):  # the next holder clears up
            together(self._storage, *(partial(self._storage.delete, key) for key in ended))

    def _beat_key(self, beat: int) -> ObjectKey:
        return f"{_key(self.name, self.number)}.beat-{beat:010}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def acquire(
    storage: Storage,
    name: str,
    session_id: str,
    clock: Clock,
    *,
    command: str = "",
    break_lock: bool = False,
    here: Whereabouts | None = None,
) -> Lock:
    """Return the lock `name`, held by this process for `session_id`.

    Args:
        storage: Where the lock is kept: that of the repository it protects.
        name: One part of a key; an id, for the storage sees it.
        session_id: Whose lock it will be; shown to others.
        clock: Says since when, and how long a holder elsewhere has been silent.
        command: What is being run; shown to others.
        break_lock: Take the lock even from a holder that may live. It learns of it from
            `confirm`, or from the journal.
        here: Which process asks; this one unless a test says otherwise.

    Raises:
        LockedError: another session holds it; the message names it.
        InvalidInputError: `name` cannot be part of a key.
    """
    if _NAME.fullmatch(name) is None:
        raise errors.InvalidInputError(f"{name!r} cannot name a lock", lock=name)
    here = here or this_process()
    for _ in range(_ATTEMPTS):
        newest = _newest(storage, name)
        dead: str | None = None
        number = 1
        if newest is not None:
            number = newest.number + 1
            if number >= _MOST_ROWS:
                storage.delete(newest.key)
                continue
            try:
                record = _read(storage, newest)
            except errors.ObjectMissingError:
                continue  # superseded and cleared away between two looks
            if isinstance(record, _Held):
                if not break_lock and not _is_dead(storage, newest, record, here, clock):
                    raise _locked(name, record)
                dead = record.session
            elif record is None and not break_lock:
                raise errors.LockedError(
                    f"the lock {name} is held, but its record cannot be read",
                    hint="if no other session is at work, break the lock",
                    lock=name,
                )
        lock = _create(storage, name, number, session_id, clock, command, dead, here)
        if lock is not None:
            return lock
    raise errors.LockedError(
        f"the lock {name} has changed hands {_ATTEMPTS} times in a row", lock=name
    )


def folder(name: str) -> str:
    """Return what the keys of a lock's row begin with."""
    return f"locks/{name}/"


def this_process() -> Whereabouts:
    """Return what others need to know to tell whether this process lives."""
    # Asked each time, not kept: a child that was forked is another process.
    pid = os.getpid()
    started = _started_ticks(pid)
    return Whereabouts(
        host=os.uname().nodename,
        machine=_machine(),
        boot=_boot(),
        pid_namespace=_pid_namespace(),
        pid=pid,
        started_ticks=-1 if started is None else started,
    )


# --- taking ---------------------------------------------------------------------------------

_held_here: set[str] = set()
"""Tokens of the locks that this process holds; a set's single operations are atomic."""


def _create(
    storage: Storage,
    name: str,
    number: int,
    session_id: str,
    clock: Clock,
    command: str,
    taken_over: str | None,
    here: Whereabouts,
) -> Lock | None:
    """Create the next number and return its lock, or nothing if somebody else was first."""
    now = clock.now()
    token = uuid.uuid4().hex
    record = _Held(here, session_id, command[:_MOST_COMMAND], now, token)
    # Before the object is there, for another thread that finds it asks who holds it.
    _held_here.add(token)
    lock = Lock(name, number, session_id, taken_over, storage, clock, token)
    lock._beaten_at = clock.monotonic()
    try:
        storage.put(_key(name, number), _encode(record))
    except errors.ObjectExistsError:
        _held_here.discard(token)
        return None
    except BaseException:
        _held_here.discard(token)
        raise
    with _letting_go(lock):
        row = [info.key for info in storage.list(folder(name))]
        newest = _newest_of(row)
        if newest is None or newest.number != number:
            # The row had moved on so far that this number was cleared away already.
            _held_here.discard(token)
            with suppress(errors.UnavailableError, errors.RefusedError):
                storage.delete(_key(name, number))
            return None
    lock._outlived = tuple(key for key in row if _is_outlived(key, number))
    return lock


def _is_outlived(key: ObjectKey, number: int) -> bool:
    """Tell whether a row is of no use to anybody once `number` is the newest."""
    found = _ROW.fullmatch(key.rpartition("/")[2])
    return found is not None and int(found[1]) < number - (0 if found[2] else _KEPT)


@contextmanager
def _letting_go(lock: Lock) -> Iterator[None]:
    """Release the lock if taking it fails after all."""
    try:
        yield
    except BaseException:
        with suppress(errors.StrongroomError):
            lock.release()
        raise


# --- reading --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Newest:
    key: ObjectKey
    number: int
    beat: ObjectKey | None


def _newest(storage: Storage, name: str) -> _Newest | None:
    return _newest_of(info.key for info in storage.list(folder(name)))


def _newest_of(row: Iterable[ObjectKey]) -> _Newest | None:
    number, key = 0, ""
    beats: dict[int, tuple[int, ObjectKey]] = {}
    for name in row:
        found = _ROW.fullmatch(name.rpartition("/")[2])
        if found is None:
            continue
        if found[2]:
            beats[int(found[1])] = (int(found[2]), name)  # in order: the last is newest
        elif number < int(found[1]) < _MOST_ROWS:
            number, key = int(found[1]), name
    if not number:
        return None
    return _Newest(key, number, beats[number][1] if number in beats else None)


def _read(storage: Storage, newest: _Newest) -> _Held | _Free | None:
    """Return the newest record, or nothing if it is none."""
    try:
        return msgspec.json.decode(
            storage.get(newest.key, 0, _MOST_RECORD_BYTES), type=_Held | _Free, strict=True
        )
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _key(name: str, number: int) -> ObjectKey:
    return f"{folder(name)}{number:010}"


def _encode(record: _Record | _Beat) -> bytes:
    return msgspec.json.encode(record)


def _locked(name: str, record: _Held) -> errors.LockedError:
    # The record is not signed: whoever keeps the storage could write to the terminal.
    host, session, command = map(_plain, (record.holder.host, record.session, record.command))
    doing = f" ({command})" if command else ""
    return errors.LockedError(
        f"the lock {name} is held by process {record.holder.pid} on {host} for session "
        f"{session}{doing} since {rfc3339(record.started_at)}",
        lock=name,
        host=host,
        pid=record.holder.pid,
        session=session,
        command=command,
        since=rfc3339(record.started_at),
    )


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


# --- telling the dead -----------------------------------------------------------------------


def _is_dead(
    storage: Storage, newest: _Newest, record: _Held, here: Whereabouts, clock: Clock
) -> bool:
    sight: Literal["dead", "alive", "unseen"] = _look_for(record, here)
    if sight != "unseen":
        return sight == "dead"
    last_sign = record.started_at
    if newest.beat is not None:
        with suppress(errors.ObjectMissingError, msgspec.MsgspecError, UnicodeDecodeError):
            beat = msgspec.json.decode(
                storage.get(newest.beat, 0, _MOST_RECORD_BYTES), type=_Beat, strict=True
            )
            last_sign = max(last_sign, beat.at)
    return clock.now() - last_sign >= SILENT_FOR


def _look_for(record: _Held, here: Whereabouts) -> Literal["dead", "alive", "unseen"]:
    """Look for the holder's process, if it can be seen from here."""
    holder = record.holder
    if here.boot and (holder.boot, holder.pid_namespace) == (here.boot, here.pid_namespace):
        if (holder.pid, holder.started_ticks) == (here.pid, here.started_ticks):
            return "alive" if record.token in _held_here else "dead"
        return "alive" if _lives(holder) else "dead"
    # Cloned machines share a machine id and containers a boot, so one sign is not enough.
    same_machine = here.machine != "" and (holder.host, holder.machine) == (here.host, here.machine)
    if same_machine and holder.boot and here.boot and holder.boot != here.boot:
        return "dead"
    return "unseen"


def _lives(holder: Whereabouts) -> bool:
    if holder.pid <= 0:  # to `kill`, these are groups of processes
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # there, and somebody else's
    except OverflowError:
        return False
    started = _started_ticks(holder.pid)
    # Where /proc hides other users' processes, the number alone has to do.
    return started is None or holder.started_ticks < 0 or started == holder.started_ticks


def _started_ticks(pid: int) -> int | None:
    """Return when process `pid` started, or nothing if /proc does not tell; -1 for a dead one."""
    stat = _text(Path(f"/proc/{pid}/stat"))
    # proc(5): the name in parentheses may hold spaces and parentheses itself.
    fields = stat.rpartition(")")[2].split()
    if len(fields) < 20:
        return None
    # A zombie has its number until its parent looks, and does no work.
    return -1 if fields[0] in {"Z", "X"} else int(fields[19])


@cache
def _machine() -> str:
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        machine = _text(Path(path)).strip()
        if machine and machine != "uninitialized":
            return hashlib.sha256(b"strongroom lock " + machine.encode()).hexdigest()[:32]
    return ""


@cache
def _boot() -> str:
    return _text(Path("/proc/sys/kernel/random/boot_id")).strip()


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
