"""The line to a server that speaks plain HTTP: it drops, repeats, delays and cuts what it carries.

    with FaultyLine.before(port) as line:
        line.rule = each_once(Fault.LOSE)           # nothing is answered at its first attempt
        line.rule = from_on("PUT", 3, Fault.DROP)   # no more writes
        ...
        assert line.faults                          # else nothing went wrong

What is asked is handed on as it was sent, the `Host` included, which signatures cover.
"""

from __future__ import annotations

import enum
import itertools
import re
import socket
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

_LENGTH: Final = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)
_CHUNKED: Final = re.compile(rb"^transfer-encoding: *chunked", re.IGNORECASE | re.MULTILINE)
_RANGE: Final = re.compile(rb"^range: *([^\r]+)", re.IGNORECASE | re.MULTILINE)


class Fault(enum.Enum):
    """What can happen to a request."""

    DROP = "the connection breaks before anything is sent"
    LOSE = "it is carried out, and its answer never comes"
    BUSY = "503, and nothing was done"
    BROKEN = "500, and it was carried out"
    CUT = "what is sent of it ends in the middle; of one that sends nothing, the answer does"
    LATE = "the connection breaks, and it is carried out behind the next that asks the same"
    TWICE = "it is carried out twice, and the second answer is given"


RETRIED: Final = (Fault.DROP, Fault.LOSE, Fault.BUSY, Fault.BROKEN, Fault.CUT, Fault.LATE)
"""After these a client asks again, and cannot tell what happened."""


@dataclass(frozen=True)
class Request:
    """What was asked."""

    verb: str
    """The method; LIST for a listing."""
    path: str
    of: str
    """The range that was asked for, if any."""
    nth: int
    """Which of its verb this is, from 1."""
    time: int
    """For which time the very same is asked, from 1."""


Rule: TypeAlias = "Callable[[Request], Fault | None]"


def no_fault(_: Request) -> Fault | None:
    """Let everything pass."""
    return None


def each_once(*faults: Fault) -> Rule:
    """Meet every request once with a fault, in turn with these; asked again, it passes."""
    turns = itertools.cycle(faults)

    def rule(request: Request) -> Fault | None:
        return next(turns) if request.time == 1 else None

    return rule


def only(verb: str, part: str, nth: int, fault: Fault) -> Rule:
    """Meet the nth request of a verb for a path with `part` in it, and no other."""
    left = [nth]

    def rule(request: Request) -> Fault | None:
        if request.verb == verb and part in request.path:
            left[0] -= 1
            return None if left[0] else fault
        return None

    return rule


def from_on(nth: int, then: Callable[[], None] = lambda: None) -> Rule:
    """Carry nothing any more from the nth request on that changes something.

    Args:
        nth: Which.
        then: Is called when it comes, once.
    """
    changes = 0

    def rule(request: Request) -> Fault | None:
        nonlocal changes
        changes += request.verb in ("PUT", "DELETE")
        if changes == nth and request.verb in ("PUT", "DELETE"):
            then()
        return Fault.DROP if changes >= nth else None

    return rule


class FaultyLine:
    """Carries requests to a port of 127.0.0.1, one connection there for each."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._turns = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._late: dict[tuple[str, str, str], bytes] = {}
        self._rule: Rule = no_fault
        self._verbs: Counter[str] = Counter()
        self._times: Counter[tuple[str, str, str]] = Counter()
        self.faults: Counter[tuple[str, Fault]] = Counter()
        """What was met so far, by verb and fault."""
        self._begin(self._admit)

    @classmethod
    @contextmanager
    def before(cls, port: int) -> Iterator[Self]:
        line = cls(port)
        try:
            yield line
        finally:
            line._close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def rule(self) -> Rule:
        """What decides on each request; setting one begins to count anew."""
        return self._rule

    @rule.setter
    def rule(self, rule: Rule) -> None:
        with self._turns:
            self._rule = rule
            self._verbs.clear()
            self._times.clear()

    def asked(self) -> dict[str, int]:
        """Return how often each verb was asked since the rule was set."""
        return dict(self._verbs)

    def clear(self) -> None:
        """Carry out what is late, and meet nothing any more."""
        self.rule = no_fault
        with self._turns:
            late, self._late = self._late, {}
        for message in late.values():
            self._carry_out(message)

    # --- connections ------------------------------------------------------------------------

    def _begin(self, work: Callable[..., None], *given: object) -> None:
        thread = threading.Thread(target=work, args=given, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _close(self) -> None:
        self._door.shutdown(socket.SHUT_RDWR)  # wakes who waits for a connection
        self._door.close()
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        while self._threads:
            self._threads.pop().join()

    def _admit(self) -> None:
        while True:
            try:
                client = self._door.accept()[0]
            except OSError:
                return
            self._connections.add(client)
            self._begin(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as reader, suppress(OSError):
            while message := _message(reader):
                answer = self._answer(message)
                if answer:
                    client.sendall(answer.whole)
                if answer is None or answer.is_cut:
                    break
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        self._connections.discard(client)

    # --- requests ---------------------------------------------------------------------------

    def _answer(self, message: _Message) -> _Answer | None:
        """Return what the client is to see; None where the connection breaks."""
        request, fault = self._judged(message)
        same = (request.verb, request.path, request.of)
        if fault is Fault.DROP:
            return None
        if fault is Fault.BUSY:
            return _refusal(b"503 Service Unavailable", b"SlowDown", request)
        if fault is Fault.LATE:
            with self._turns:
                self._late[same] = message.whole
            return None
        if fault is Fault.CUT and message.body:
            self._send_half(message)
            return None
        answer = self._carry_out(message.whole)
        if fault is Fault.TWICE:
            answer = self._carry_out(message.whole)
        with self._turns:
            late = self._late.pop(same, None)
        if late is not None:
            self._carry_out(late)
        if fault is Fault.BROKEN:
            return _refusal(b"500 Internal Server Error", b"InternalError", request)
        if fault is Fault.LOSE or answer is None:
            return None
        if fault is Fault.CUT:
            half = len(answer.whole) - max(1, len(answer.body) // 2)
            return _Answer(answer.whole[:half], b"", is_cut=True)
        return answer

    def _judged(self, message: _Message) -> tuple[Request, Fault | None]:
        method, target, _ = message.head.split(b" ", 2)
        path = target.decode()
        verb = "LIST" if b"list-type=" in target else method.decode()
        asked_for = _RANGE.search(message.head)
        of = asked_for[1].decode() if asked_for else ""
        with self._turns:
            self._verbs[verb] += 1
            self._times[verb, path, of] += 1
            request = Request(verb, path, of, self._verbs[verb], self._times[verb, path, of])
            fault = self._rule(request)
            if fault is not None:
                self.faults[verb, fault] += 1
        return request, fault

    def _carry_out(self, message: bytes) -> _Answer | None:
        try:
            with self._to_server() as server, server.makefile("rb") as reader:
                server.sendall(message)
                answer = _message(reader, asked=message)
        except OSError:
            return None
        return None if answer is None else _Answer(answer.whole, answer.body)

    def _send_half(self, message: _Message) -> None:
        with suppress(OSError), self._to_server() as server:
            server.sendall(message.head + message.body[: len(message.body) // 2])

    def _to_server(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._behind))


@dataclass(frozen=True)
class _Message:
    head: bytes
    body: bytes

    @property
    def whole(self) -> bytes:
        return self.head + self.body


@dataclass(frozen=True)
class _Answer:
    whole: bytes
    body: bytes
    is_cut: bool = False


def _message(reader: BinaryIO, asked: bytes = b"") -> _Message | None:
    """Return the next request, or the answer to what was asked; None where it ends before."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        row = reader.readline()
        if not row:
            return None
        head += row
    if asked.startswith(b"HEAD ") or (asked and head.split(b" ", 2)[1] in (b"204", b"304")):
        return _Message(head, b"")
    if _CHUNKED.search(head):
        return _Message(head, _chunks(reader))
    length = _LENGTH.search(head)
    if length is None:
        return _Message(head, reader.read() if asked else b"")
    body = reader.read(int(length[1]))
    return _Message(head, body) if len(body) == int(length[1]) else None


def _chunks(reader: BinaryIO) -> bytes:
    body = b""
    while row := reader.readline():
        size = int(row.split(b";")[0], 16)
        body += row + reader.read(size + 2)
        if not size:
            break
    return body


def _refusal(status: bytes, code: bytes, request: Request) -> _Answer:
    body = b"" if request.verb == "HEAD" else b"<Error><Code>%s</Code></Error>" % code
    head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    return _Answer(head + body, body)
