"""What long work in a repository tells of itself, and how it is asked to stop.

The engine's `Progress` and `Cancellation` fit; this layer does not know them.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives news of long work."""

    def begin(self, stage: str, total_bytes: int | None = None) -> None: ...

    def advance(self, byte_count: int = 0, files: int = 0) -> None: ...

    def reading(self, what: str) -> None: ...

    def finish(self) -> None: ...


class Cancellation(Protocol):
    """Tells whether somebody asked to stop."""

    def check(self) -> None:
        """Go on, or raise.

        Raises:
            CancelledError: somebody asked to stop.
        """
        ...


class Silent:
    """Tells nobody: reading back is part of writing."""

    def begin(self, stage: str, total_bytes: int | None = None) -> None: ...

    def advance(self, byte_count: int = 0, files: int = 0) -> None: ...

    def reading(self, what: str) -> None: ...

    def finish(self) -> None: ...
