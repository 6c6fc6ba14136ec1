"""The only way to a server: it can be shut, opened again, and broken within a call.

with Gate.before(port) as gate:
    gate.shut()          # nobody listens any more, as where a server was stopped
    gate.break_next()    # the next request is taken, and its answer never comes
"""

from __future__ import annotations

import re
import select
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_HANDSHAKE: Final = (b"\x14", b"\x15", b"\x16")
"""What records of TLS 1.2 begin with before there is a request."""
_ASKED: Final = re.compile(
    rb"(?P<line>[A-Z]+ /\S*) HTTP/1\.1\r\n(?:[^\r]+\r\n)*?"
    rb"(?:X-Amz-Target: TrentService\.(?P<target>\w+)\r\n|\r\n)"
)


class Gate:
    """Carries connections to a port of 127.0.0.1."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        # The port stays taken while it is shut: nobody else is to have it then.
        self._door = _bound(0)
        self.port: int = self._door.getsockname()[1]
        self._is_open = False
        self._turns = threading.Lock()
        self._carried: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._breaks = False
        self._heard = bytearray()  # bytes would be copied with every piece of a large upload

    @classmethod
    @contextmanager
    def before(cls, port: int) -> Iterator[Self]:
        gate = cls(port)
        gate.open()
        try:
            yield gate
        finally:
            gate.shut()
            gate._door.close()

    def open(self) -> None:
        """Let everybody in; harmless where it is open."""
        if not self._is_open:
            self._is_open, self._breaks = True, False
            self._door.listen()
            self._begin(self._admit, self._door)

    def shut(self) -> None:
        """Let nobody in, and end the connections that are there."""
        self._stop_listening()
        for connection in tuple(self._carried):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        while self._threads:
            self._threads.pop().join()

    def break_next(self) -> None:
        """Break the connection over which the next request comes, before its answer; then shut."""
        self._breaks = True

    def requests(self) -> list[str]:
        """Return what was asked in plain HTTP since the last time: AWS's operations, or paths."""
        heard, self._heard = bytes(self._heard), bytearray()
        return [(one["target"] or one["line"]).decode() for one in _ASKED.finditer(heard)]

    def _begin(self, work: object, with_what: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(with_what,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _stop_listening(self) -> None:
        with self._turns:
            if self._is_open:
                self._is_open = False
                self._door.shutdown(socket.SHUT_RDWR)  # wakes who waits for a connection
                self._door.close()
                self._door = _bound(self.port)

    def _admit(self, listener: socket.socket) -> None:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            self._begin(self._carry, client)

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._behind)) as server:
            self._carried |= {client, server}
            with suppress(OSError):
                self._exchange(client, server)
            self._carried -= {client, server}

    def _exchange(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        asked = False
        while True:
            for one in select.select([client, server], [], [])[0]:
                data = one.recv(1 << 16)
                if not data:
                    return
                if one is client:
                    asked = asked or not data.startswith(_HANDSHAKE)
                    self._heard += data
                elif asked and self._breaks:
                    self._stop_listening()
                    return
                other[one].sendall(data)


def _bound(port: int) -> socket.socket:
    """Return a socket at a port that nobody listens at yet."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made
