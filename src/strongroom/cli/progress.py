"""Progress as a person or a program can follow it.

The engine tells how far it is, often and from several threads; here that only adds up
numbers. A thread of its own looks at them now and then and shows them: on a terminal as one
line that overwrites itself, elsewhere as a plain line every few seconds, or as JSON lines.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from strongroom.cli.output import cells, duration, printable, shorten, size
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from strongroom.cli.speaker import Speaker
    from strongroom.clock import Clock

MODES: Final = ("auto", "json", "none")
_TERMINAL_SECONDS: Final = 0.2
_LINE_SECONDS: Final = 5.0
_JSON_SECONDS: Final = 1.0
_RATE_SECONDS: Final = 10.0
"""The rate is that of about this long, so that time left follows a change of pace."""
_READING_CELLS: Final = 12


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far the work is at one moment."""

    stage: str
    byte_count: int
    total_bytes: int | None
    files: int
    seconds: float
    """Since the stage began."""
    rate: float
    """Bytes a second, lately."""
    reading: str
    bottleneck: str

    @property
    def seconds_left(self) -> float | None:
        if self.total_bytes is None or self.rate < 1 or self.byte_count > self.total_bytes:
            return None
        return (self.total_bytes - self.byte_count) / self.rate


class Display(Protocol):
    """One way of showing a snapshot."""

    every_seconds: float

    def begin(self, snapshot: Snapshot) -> None:
        """A stage begins."""
        ...

    def show(self, snapshot: Snapshot) -> None:
        """Some time has passed."""
        ...

    def end(self, snapshot: Snapshot) -> None:
        """The stage is over."""
        ...

    def close(self) -> None:
        """Leave nothing half drawn."""
        ...


class ShownProgress:
    """Adds up what the engine tells and shows it now and then; use it in a `with`."""

    def __init__(self, display: Display, clock: Clock) -> None:
        self._display = display
        self._clock = clock
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._reset("", None)
        self._open = False

    # --- what the engine calls ----------------------------------------------------------------

    def begin(self, stage: str, total_bytes: int | None = None) -> None:
        with self._lock:
            if self._open:
                self._display.end(self._snapshot())
            self._reset(stage, total_bytes)
            self._open = True
            self._display.begin(self._snapshot())
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
                self._thread.start()

    def advance(self, byte_count: int = 0, files: int = 0) -> None:
        with self._lock:
            self._bytes += byte_count
            self._files += files

    def reading(self, what: str) -> None:
        self._reading = what

    def bottleneck(self, name: str) -> None:
        self._bottleneck = name

    def finish(self) -> None:
        with self._lock:
            if self._open:
                self._display.end(self._snapshot())
            self._open = False

    # --- what the door calls ------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._display.close()

    def _watch(self) -> None:
        while not self._stop.wait(self._display.every_seconds):
            with self._lock:
                if self._open:
                    self._display.show(self._snapshot())

    def _reset(self, stage: str, total_bytes: int | None) -> None:
        self._stage, self._total = stage, total_bytes
        self._bytes = self._files = 0
        self._reading = self._bottleneck = ""
        self._began = self._clock.monotonic()
        self._marks: list[tuple[float, int]] = [(self._began, 0)]

    def _snapshot(self) -> Snapshot:
        now = self._clock.monotonic()
        while len(self._marks) > 1 and now - self._marks[1][0] >= _RATE_SECONDS:
            del self._marks[0]
        then, byte_count = self._marks[0]
        rate = (self._bytes - byte_count) / (now - then) if now > then else 0.0
        if now > self._marks[-1][0]:
            self._marks.append((now, self._bytes))
        return Snapshot(
            self._stage,
            self._bytes,
            self._total,
            self._files,
            now - self._began,
            rate,
            self._reading,
            self._bottleneck,
        )


# --- ways of showing it -----------------------------------------------------------------------


def line(snapshot: Snapshot, width: int) -> str:
    """Return one line of at most `width` columns that says all of `snapshot`.

    Where room is short, what is being read goes first, then the bottleneck; figures stay.
    """
    figures = [printable(snapshot.stage) or "working"]
    if snapshot.total_bytes:
        percent = min(100, 100 * snapshot.byte_count // snapshot.total_bytes)
        figures.append(f"{percent}% {size(snapshot.byte_count)} of {size(snapshot.total_bytes)}")
    elif snapshot.byte_count:
        figures.append(size(snapshot.byte_count))
    if snapshot.files:
        figures.append(counted(snapshot.files, "file"))
    if snapshot.rate >= 1:
        figures.append(f"{size(int(snapshot.rate))}/s")
    left = snapshot.seconds_left
    figures.append(f"{duration(left)} left" if left is not None else duration(snapshot.seconds))
    text = ", ".join(figures)
    bottleneck = f", {printable(snapshot.bottleneck)}-bound" if snapshot.bottleneck else ""
    if cells(text + bottleneck) <= width:
        text += bottleneck
    room = width - cells(text) - 2
    if snapshot.reading and room >= _READING_CELLS:
        text += ": " + shorten(printable(snapshot.reading), room)
    return shorten(text, width)


class TerminalDisplay:
    """One line at the bottom of a terminal."""

    every_seconds = _TERMINAL_SECONDS

    def __init__(self, speaker: Speaker, width: int) -> None:
        # The last column stays free: some terminals wrap as soon as it is written.
        self._speaker = speaker
        self._width = min(width, 81) - 1

    def begin(self, snapshot: Snapshot) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        self._speaker.stand(line(snapshot, self._width))

    def end(self, snapshot: Snapshot) -> None:  # noqa: ARG002 - the line just goes
        self._speaker.stand("")

    def close(self) -> None:
        self._speaker.stand("")


class LineDisplay:
    """A plain line every few seconds, for logs."""

    every_seconds = _LINE_SECONDS

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker

    def begin(self, snapshot: Snapshot) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        self._speaker.say(line(snapshot, 80 - len("strongroom: ")))

    def end(self, snapshot: Snapshot) -> None:
        pass

    def close(self) -> None:
        pass


class JsonDisplay:
    """JSON lines, for programs; fields are documented in docs/reference/json.md."""

    every_seconds = _JSON_SECONDS

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker

    def begin(self, snapshot: Snapshot) -> None:
        self._send("begin", snapshot)

    def show(self, snapshot: Snapshot) -> None:
        self._send("progress", snapshot)

    def end(self, snapshot: Snapshot) -> None:
        self._send("end", snapshot)

    def close(self) -> None:
        pass

    def _send(self, event: str, snapshot: Snapshot) -> None:
        left = snapshot.seconds_left
        self._speaker.send(
            {
                "event": event,
                "stage": snapshot.stage,
                "bytes": snapshot.byte_count,
                "total_bytes": snapshot.total_bytes,
                "files": snapshot.files,
                "seconds": round(snapshot.seconds, 3),
                "bytes_per_second": round(snapshot.rate),
                "seconds_left": None if left is None else round(left, 1),
                "reading": snapshot.reading or None,
                "bottleneck": snapshot.bottleneck or None,
            }
        )


class SilentDisplay:
    """Nothing."""

    every_seconds = 3600.0

    def begin(self, snapshot: Snapshot) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        pass

    def end(self, snapshot: Snapshot) -> None:
        pass

    def close(self) -> None:
        pass


def display_for(mode: str, speaker: Speaker, width: int) -> Display:
    """Return the display that `--progress` and the place it goes to ask for."""
    if mode == "none":
        return SilentDisplay()
    if mode == "json":
        return JsonDisplay(speaker)
    if speaker.on_terminal and os.environ.get("TERM") != "dumb":
        return TerminalDisplay(speaker, width)
    return LineDisplay(speaker)
