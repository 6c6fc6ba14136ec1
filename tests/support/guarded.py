"""A guard that runs in a thread of the test, by a clock turned by hand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from strongroom.clock import to_microseconds
from strongroom.storage.guard import Guard, Moment, Rules
from strongroom.storage.guard_socket import GuardServer, socket_path
from strongroom.testing.turned_clock import NOON


@dataclass
class GuardClock:
    """The wall clock of a machine, and the one that nobody can set."""

    boot: str = "first"
    wall: int = to_microseconds(NOON)
    since_boot: int = 10**9

    def moment(self) -> Moment:
        return Moment(self.wall, self.boot, self.since_boot)

    def advance(self, by: timedelta) -> None:
        self.set(by)
        self.since_boot += by // timedelta(microseconds=1)

    def set(self, by: timedelta) -> None:
        """Move the wall clock alone."""
        self.wall += by // timedelta(microseconds=1)

    def start_again(self, off_for: timedelta) -> None:
        """Start the machine anew after a time."""
        self.boot += "+"
        self.wall += off_for // timedelta(microseconds=1)
        self.since_boot = 10**6


@dataclass
class Guarded:
    """A folder and its guard."""

    folder: Path
    sockets: Path
    state: Path
    clock: GuardClock = field(default_factory=GuardClock)
    rules: Rules = field(default_factory=lambda: Rules(7, 400))

    def guard(self) -> Guard:
        return Guard(self.folder, self.state, self.rules, self.clock.moment)

    @contextmanager
    def serving(self) -> Iterator[None]:
        stop, ready = threading.Event(), threading.Event()

        def serve() -> None:
            with closing(self.guard()) as guard, closing(GuardServer(guard, self.sockets)) as it:
                ready.set()
                it.serve(stop.is_set)

        thread = threading.Thread(target=serve)
        thread.start()
        assert ready.wait(20)
        try:
            yield
        finally:
            stop.set()
            with suppress(OSError), socket.socket(socket.AF_UNIX) as waking:
                waking.connect(str(socket_path(self.sockets, self.folder)))
            thread.join()
