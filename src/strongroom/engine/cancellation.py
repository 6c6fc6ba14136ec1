"""How a session is asked to stop: between two pieces of work, never inside one."""

from __future__ import annotations

import threading

from strongroom.errors import CancelledError


class Cancellation:
    """A request to stop that any thread may make and every loop looks at."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        self._event.set()

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Go on, or raise.

        Raises:
            CancelledError: somebody asked to stop.
        """
        if self._event.is_set():
            raise CancelledError("stopped on request; complete packs are kept for the next run")
