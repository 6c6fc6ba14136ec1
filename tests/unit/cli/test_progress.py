"""Progress fits 80 columns, says what matters first, and never comes in the way of words."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.cli import output
from strongroom.cli.progress import (
    JsonDisplay,
    LineDisplay,
    ShownProgress,
    SilentDisplay,
    Snapshot,
    TerminalDisplay,
    display_for,
    line,
)
from strongroom.cli.speaker import Speaker

GIB = 1 << 30


class _Clock:
    """A clock that a test turns by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> object:
        raise NotImplementedError

    def now_ns(self) -> int:
        raise NotImplementedError

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class _Notes:
    """A display that keeps what it is shown, and never ticks by itself."""

    every_seconds = 3600.0

    def __init__(self) -> None:
        self.shown: list[tuple[str, Snapshot]] = []
        self.closed = False

    def begin(self, snapshot: Snapshot) -> None:
        self.shown.append(("begin", snapshot))

    def show(self, snapshot: Snapshot) -> None:
        self.shown.append(("show", snapshot))

    def end(self, snapshot: Snapshot) -> None:
        self.shown.append(("end", snapshot))

    def close(self) -> None:
        self.closed = True


def _snapshot(**given: object) -> Snapshot:
    values: dict[str, object] = {
        "stage": "backup",
        "byte_count": GIB,
        "total_bytes": 4 * GIB,
        "files": 12_345,
        "seconds": 10.0,
        "rate": 100.0 * (1 << 20),
        "reading": "",
        "bottleneck": "",
    }
    return Snapshot(**{**values, **given})  # type: ignore[arg-type]


def test_the_line_says_how_far_how_fast_and_how_long() -> None:
    assert line(_snapshot(), 79) == (
        "backup, 25% 1.00 GiB of 4.00 GiB, 12,345 files, 100 MiB/s, 0:30 left"
    )


def test_an_unknown_total_leaves_the_time_since_the_beginning() -> None:
    shown = line(_snapshot(total_bytes=None, reading="/srv/a"), 79)
    assert shown == "backup, 1.00 GiB, 12,345 files, 100 MiB/s, 0:10: /srv/a"


def test_the_bottleneck_stands_before_what_is_being_read() -> None:
    shown = line(_snapshot(total_bytes=None, files=0, bottleneck="reading", reading="/x" * 90), 79)
    assert shown.startswith("backup, 1.00 GiB, 100 MiB/s, 0:10, reading-bound: /x/x")
    assert len(shown) == 79
    assert "…" in shown


@given(
    st.builds(
        Snapshot,
        st.text(max_size=90),
        st.integers(0, 1 << 62),
        st.none() | st.integers(0, 1 << 62),
        st.integers(0, 10**9),
        st.floats(0, 1e7),
        st.floats(0, 1e12),
        st.text(max_size=200),
        st.text(max_size=30),
    ),
    st.integers(40, 80),
)
def test_the_line_always_fits_and_holds_no_control_character(
    snapshot: Snapshot, width: int
) -> None:
    shown = line(snapshot, width)
    assert output.cells(shown) <= width
    assert output.printable(shown) == shown


def test_time_left_follows_a_change_of_pace() -> None:
    clock, notes = _Clock(), _Notes()
    progress = ShownProgress(notes, clock)  # type: ignore[arg-type]
    progress.begin("backup", 1000)
    for _ in range(20):
        clock.seconds += 1
        progress.advance(10)
        progress._snapshot()
    for _ in range(20):
        clock.seconds += 1
        progress.advance(1)
        latest = progress._snapshot()
    progress.__exit__(None, None, None)
    assert latest.rate == pytest.approx(1, rel=0.15)
    assert notes.closed


def test_a_stage_that_begins_ends_the_one_before() -> None:
    notes = _Notes()
    with ShownProgress(notes, _Clock()) as progress:  # type: ignore[arg-type]
        progress.begin("scan")
        progress.advance(files=3)
        progress.begin("backup", 10)
        progress.advance(10, 1)
        progress.finish()
        progress.finish()
    told = [(event, shot.stage, shot.byte_count, shot.files) for event, shot in notes.shown]
    assert told == [
        ("begin", "scan", 0, 0),
        ("end", "scan", 0, 3),
        ("begin", "backup", 0, 0),
        ("end", "backup", 10, 1),
    ]


def test_on_a_terminal_words_stand_above_the_line() -> None:
    stream = _Terminal()
    speaker = Speaker(stream)
    display = TerminalDisplay(speaker, 200)
    display.show(_snapshot(reading="/x" * 100))
    drawn = stream.getvalue().removeprefix("\r\x1b[K")
    assert output.cells(drawn) <= 80
    stream.truncate(0)
    stream.seek(0)
    speaker.warn("a file vanished")
    assert stream.getvalue() == f"\r\x1b[Kstrongroom: warning: a file vanished\n{drawn}"
    stream.truncate(0)
    stream.seek(0)
    display.close()
    assert stream.getvalue() == "\r\x1b[K"


def test_lines_elsewhere_are_whole_and_fit() -> None:
    stream = io.StringIO()
    LineDisplay(Speaker(stream)).show(_snapshot(reading="/x" * 100))
    (shown,) = stream.getvalue().splitlines()
    assert shown.startswith("strongroom: backup, 25%")
    assert output.cells(shown) <= 80


def test_json_lines_hold_every_figure() -> None:
    stream = io.StringIO()
    speaker = Speaker(stream)
    speaker.json_lines = True
    JsonDisplay(speaker).show(_snapshot(reading="/srv/a", bottleneck="compress"))
    speaker.warn("look")
    progress, warning = map(json.loads, stream.getvalue().splitlines())
    assert progress == {
        "event": "progress",
        "stage": "backup",
        "bytes": GIB,
        "total_bytes": 4 * GIB,
        "files": 12_345,
        "seconds": 10.0,
        "bytes_per_second": 100 << 20,
        "seconds_left": 30.7,
        "reading": "/srv/a",
        "bottleneck": "compress",
    }
    assert warning == {"event": "warning", "message": "look"}


@pytest.mark.parametrize(
    ("mode", "stream", "term", "kind"),
    [
        ("auto", _Terminal(), "xterm", TerminalDisplay),
        ("auto", _Terminal(), "dumb", LineDisplay),
        ("auto", io.StringIO(), "xterm", LineDisplay),
        ("json", _Terminal(), "xterm", JsonDisplay),
        ("none", _Terminal(), "xterm", SilentDisplay),
    ],
)
def test_the_place_decides_how_progress_is_shown(
    mode: str, stream: io.StringIO, term: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    assert isinstance(display_for(mode, Speaker(stream), 80), kind)


def test_a_standard_error_that_is_gone_stops_nothing() -> None:
    stream = io.StringIO()
    speaker = Speaker(stream)
    stream.close()
    speaker.say("nobody hears")
    speaker.stand("nobody sees")
