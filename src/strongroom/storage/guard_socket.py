"""What a writer and the guard of its folder say to each other: one line each way, on a socket.

    {"verb": "lock", "keys": [...], "until": 1790000000000000}
    {"ok": true}   or   {"error": "object-locked", "message": ..., "hint": ..., "until": ...}

The socket lies where only root makes one, and the writer checks that it is root who answers. The
guard answers the folder's owner and root.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from strongroom import errors
from strongroom.clock import from_microseconds, to_microseconds
from strongroom.storage.guard import state_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from strongroom.storage.base import ObjectKey
    from strongroom.storage.guard import Guard

SWEEP_EVERY_SECONDS: Final = 60.0
_MOST_KEYS: Final = 1000
_MOST_LINE: Final = 1 << 20
_ANSWER_SECONDS: Final = 60.0
_REQUEST_SECONDS: Final = 5.0
_LOOK_EVERY_SECONDS: Final = 0.5
_CREDENTIALS: Final = struct.Struct("3i")


def socket_path(sockets: Path, folder: Path) -> Path:
    """Return where the guard of a folder listens.

    Raises:
        StorageUnavailableError: there is no such folder.
    """
    try:
        return sockets / f"{state_name(folder)}.socket"
    except OSError as error:
        raise errors.StorageUnavailableError(
            f"there is no folder {folder}", hint="is the disk mounted?"
        ) from error


# --- the guard's side -----------------------------------------------------------------------


class GuardServer:
    """Answers requests to one guard, one after the other, and sweeps in between."""

    def __init__(self, guard: Guard, sockets: Path) -> None:
        self._guard = guard
        self._path = socket_path(sockets, guard.folder)
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sockets.mkdir(parents=True, exist_ok=True, mode=0o755)
            with suppress(FileNotFoundError):
                self._path.unlink()
            self._listening.bind(str(self._path))
            # Whoever asks is looked at; the guard's user is not the writer's.
            self._path.chmod(0o666)
            self._listening.listen()
        except OSError as error:
            self._listening.close()
            raise errors.RefusedError(
                f"cannot listen at {self._path}: {os.strerror(error.errno or 0)}",
                hint="run the guard as root",
            ) from error
        self._listening.settimeout(_LOOK_EVERY_SECONDS)

    def serve(self, stopped: Callable[[], bool]) -> None:
        """Answer until told to stop."""
        swept = time.monotonic()
        while not stopped():
            with suppress(TimeoutError):
                connection, _ = self._listening.accept()
                with connection:
                    self._answer(connection)
            if time.monotonic() - swept > SWEEP_EVERY_SECONDS:
                self._guard.sweep()
                swept = time.monotonic()

    def close(self) -> None:
        self._listening.close()
        with suppress(OSError):
            self._path.unlink()

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(_REQUEST_SECONDS)
        # A writer that goes away, or talks nonsense, ends its own request and no more.
        with suppress(OSError):
            # Who may not ask is not listened to: one who talks slowly would keep all others off.
            if _peer(connection) in {0, self._guard.owner}:
                reply = self._reply(_read_line(connection, time.monotonic() + _REQUEST_SECONDS))
            else:
                reply = _error(errors.RefusedError("only the owner of the folder is answered"))
            connection.sendall(json.dumps(reply).encode() + b"\n")

    def _reply(self, line: bytes) -> dict[str, Any]:
        guard = self._guard
        try:
            asked = json.loads(line)
            verb, keys = asked["verb"], [str(key) for key in asked["keys"]]
            until = int(asked["until"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return _error(errors.RefusedError("no request that a guard understands"))
        try:
            if verb == "lock":
                guard.lock(keys, until)
            elif verb == "remove":
                for key in keys:
                    guard.remove(key)
            elif verb == "until":
                return {"ok": True, "until": [guard.until(key) for key in keys]}
            elif verb == "describe":
                rules = guard.rules
                return {"ok": True, "days": rules.days, "at_most_days": rules.at_most_days}
            else:
                return _error(errors.RefusedError(f"a guard does not {str(verb)[:20]}"))
        except errors.StrongroomError as error:
            return _error(error)
        return {"ok": True}


def _error(error: errors.StrongroomError) -> dict[str, Any]:
    reply: dict[str, Any] = {"error": error.code, "message": str(error), "hint": error.hint}
    if isinstance(error, errors.ObjectLockedError):
        reply["until"] = to_microseconds(error.until)
    return reply


def _raised(reply: dict[str, Any]) -> errors.StrongroomError:
    """Return the error that the guard came upon, as it was or by its family."""
    message, hint = str(reply["message"]), reply.get("hint")
    if reply["error"] == errors.ObjectLockedError.code:
        until = from_microseconds(int(reply["until"]))
        return errors.ObjectLockedError(message, until=until, hint=hint)
    if reply["error"] == errors.ObjectMissingError.code:
        return errors.ObjectMissingError(message)
    return errors.RefusedError(message, hint=hint)


# --- the writer's side ----------------------------------------------------------------------


class GuardClient:
    """Asks the guard of one folder."""

    def __init__(self, sockets: Path, folder: Path) -> None:
        self._sockets = sockets
        self._folder = folder

    def describe(self) -> tuple[int, int]:
        """Return for how many days it locks at the least, and at most."""
        reply = self._ask("describe", [], 0)
        return int(reply["days"]), int(reply["at_most_days"])

    def lock(self, keys: Sequence[ObjectKey], until: datetime) -> None:
        for batch in _batches(keys):
            self._ask("lock", batch, to_microseconds(until))

    def remove(self, key: ObjectKey) -> None:
        self._ask("remove", [key], 0)

    def until(self, key: ObjectKey) -> datetime | None:
        (until,) = self._ask("until", [key], 0)["until"]
        return None if until is None else from_microseconds(until)

    def _ask(self, verb: str, keys: Sequence[ObjectKey], until: int) -> dict[str, Any]:
        """Return the guard's answer.

        Raises:
            StorageUnavailableError: nobody answers.
            RefusedError: somebody who is not root does, or the answer is no.
        """
        path = socket_path(self._sockets, self._folder)
        request = json.dumps({"verb": verb, "keys": keys, "until": until}).encode() + b"\n"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_ANSWER_SECONDS)
                connection.connect(str(path))
                if _peer(connection) != 0:
                    raise errors.RefusedError(
                        f"what answers at {path} is not run by root, so it is no guard"
                    )
                with suppress(BrokenPipeError):  # it has said no already
                    connection.sendall(request)
                reply: dict[str, Any] = json.loads(_read_line(connection))
        except (OSError, ValueError) as error:
            raise errors.StorageUnavailableError(
                f"the guard of {self._folder} does not answer: {_reason(error)}",
                hint=f"have root run 'strongroom guard run {self._folder} --days N', as a service",
                folder=str(self._folder),
            ) from error
        if "error" in reply:
            raise _raised(reply)
        return reply


def _batches(keys: Sequence[ObjectKey]) -> Iterator[Sequence[ObjectKey]]:
    for at in range(0, len(keys), _MOST_KEYS):
        yield keys[at : at + _MOST_KEYS]


def _peer(connection: socket.socket) -> int:
    """Return the user at the other end, as the kernel says."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])


def _read_line(connection: socket.socket, until: float | None = None) -> bytes:
    """Return what the other side says, up to the end of a line.

    Raises:
        TimeoutError: it goes on at `until`, by the monotonic clock.
    """
    parts: list[bytes] = []
    size = 0
    while size <= _MOST_LINE:
        if until is not None:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
        part = connection.recv(65536)
        parts.append(part)
        size += len(part)
        if not part or part.endswith(b"\n"):
            break
    return b"".join(parts)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        return "none is running"
    return (error.strerror if isinstance(error, OSError) else None) or f"{error}"
