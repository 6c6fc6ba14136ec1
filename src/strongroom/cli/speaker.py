"""Standard error: everything said to the person, one line at a time.

Lines are `strongroom: …`, lower case, without a full stop, and never hold control characters.
On a terminal one more line can stand at the bottom and overwrite itself (`cli.progress`); what
is said meanwhile appears above it. With `--progress json` every line is a JSON object.

A standard error that went away (a closed terminal, a full disk) stops nothing: the work
matters, the words do not.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING

from strongroom.cli.output import as_json_line, is_terminal, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TextIO

_CLEAR = "\r\x1b[K"


class Speaker:
    """Says one thing at a time, whichever thread speaks."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._standing = ""
        self.json_lines = False

    @property
    def stream(self) -> TextIO | None:
        """Where it speaks; looked up late, so that tests can put another in its place."""
        return self._stream if self._stream is not None else sys.stderr

    @property
    def on_terminal(self) -> bool:
        return is_terminal(self.stream)

    def say(self, text: str) -> None:
        """Say one line to the person."""
        self._tell("message", text, "")

    def warn(self, text: str) -> None:
        """Say that something needs a look."""
        self._tell("warning", text, "warning: ")

    def hint(self, text: str) -> None:
        """Say what to do next."""
        self._tell("hint", text, "hint: ")

    def fail(self, fields: Mapping[str, object]) -> None:
        """Say what went wrong, and the hint that belongs to it."""
        if self.json_lines:
            self.send({"event": "error", **fields})
            return
        self._write_line(f"strongroom: {_one_line(str(fields['message']))}")
        if fields.get("hint"):
            self.hint(str(fields["hint"]))

    def plain(self, text: str) -> None:
        """Write lines as they are: a plan before its question."""
        for line in text.splitlines() or [""]:
            if self.json_lines:
                self.send({"event": "message", "message": line})
            else:
                self._write_line(printable(line))

    def send(self, event: Mapping[str, object]) -> None:
        """Write one JSON line."""
        self._write_line(as_json_line(event))

    def _tell(self, event: str, text: str, prefix: str) -> None:
        if self.json_lines:
            self.send({"event": event, "message": text})
        else:
            self._write_line(f"strongroom: {prefix}{_one_line(text)}")

    # --- the line at the bottom ---------------------------------------------------------------

    def stand(self, line: str) -> None:
        """Put `line` at the bottom in place of the one before; an empty one takes it away."""
        with self._lock:
            if line or self._standing:
                self._write(_CLEAR + line)
            self._standing = line

    @contextlib.contextmanager
    def quiet_bottom(self) -> Iterator[None]:
        """Keep the bottom free, for a question."""
        with self._lock:
            self.stand("")
            yield

    def _write_line(self, line: str) -> None:
        with self._lock:
            if self._standing:
                self._write(f"{_CLEAR}{line}\n{self._standing}")
            else:
                self._write(line + "\n")

    def _write(self, text: str) -> None:
        stream = self.stream
        if stream is None:
            return
        # RuntimeError: a signal handler speaks while the stream is being written to.
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            stream.write(text)
            stream.flush()


def _one_line(text: str) -> str:
    return printable("; ".join(part for part in text.splitlines() if part.strip()))
