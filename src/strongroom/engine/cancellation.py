"""How a session is asked to stop: between two pieces of work, never inside one."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from strongroom.errors import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Cancellation:
    """A request to stop that any thread may make and every loop looks at."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._calls: list[Callable[[], None]] = []

    def cancel(self) -> None:
        """Ask to stop; may be called from a signal's handler."""
        self._event.set()
        for call in tuple(self._calls):
            call()

    @contextmanager
    def calling(self, call: Callable[[], None]) -> Iterator[None]:
        """Have `cancel` call something that wakes what would wait for ever."""
        self._calls.append(call)
        try:
            if self._event.is_set():
                call()
            yield
        finally:
            self._calls.remove(call)

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Go on, or raise.

        Raises:
            CancelledError: somebody asked to stop.
        """
        if self._event.is_set():
            raise CancelledError("stopped on request")
