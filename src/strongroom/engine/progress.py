"""What long work says of itself while it runs; the doors decide how to show it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives news of long work; calls may come often and from several threads."""

    def begin(self, stage: str, total_bytes: int | None = None) -> None:
        """A stage begins; its total is given where it is known."""
        ...

    def advance(self, byte_count: int = 0, files: int = 0) -> None:
        """So much more was done."""
        ...

    def reading(self, what: str) -> None:
        """This is being worked on now."""
        ...

    def bottleneck(self, name: str) -> None:
        """This stage is what the others wait for."""
        ...

    def finish(self) -> None:
        """The stage is over."""
        ...


class NullProgress:
    """Says nothing."""

    def begin(self, stage: str, total_bytes: int | None = None) -> None:
        pass

    def advance(self, byte_count: int = 0, files: int = 0) -> None:
        pass

    def reading(self, what: str) -> None:
        pass

    def bottleneck(self, name: str) -> None:
        pass

    def finish(self) -> None:
        pass
