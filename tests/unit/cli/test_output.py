"""What people read fits their screen and cannot move its cursor; JSON is exact."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.cli import output
from strongroom.cli.output import Column


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (1024, "1.00 KiB"),
        (10_230, "9.99 KiB"),
        (10_239, "10.0 KiB"),
        (1023 * 1024, "1.00 MiB"),
        (1 << 30, "1.00 GiB"),
        (150 << 30, "150 GiB"),
        ((1 << 60) * 5000, "5000 EiB"),
    ],
)
def test_sizes_keep_three_digits(count: int | None, text: str) -> None:
    assert output.size(count) == text


@given(st.integers(0, 1 << 64))
def test_sizes_take_at_most_eight_columns(count: int) -> None:
    assert len(output.size(count)) <= 8


def test_times_are_local_with_their_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert output.when(datetime(2026, 11, 3, 12, tzinfo=UTC)) == "2026-11-03 17:30:00 +05:30"
        assert output.when_ns(0) == "1970-01-01 05:30:00 +05:30"
        assert output.when_ns(10**28) == f"@{10**19}"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.9, "0:59"), (61, "1:01"), (3661, "1:01:01"), (-5, "0:00")],
)
def test_durations(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain/name.txt", "plain/name.txt"),
        ("Grüße", "Grüße"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("two\nlines", "two\\x0alines"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("\x9b31m", "\\x9b31m"),
        ("\u2028", "\\u2028"),
    ],
)
def test_what_a_terminal_might_obey_is_shown_as_an_escape(raw: str | bytes, shown: str) -> None:
    assert output.printable(raw) == shown


@given(st.text(st.characters(codec=None)))
def test_nothing_that_is_shown_controls_a_terminal(text: str) -> None:
    shown = output.printable(text)
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in shown)
    shown.encode()


def test_a_long_name_is_shortened_in_the_middle() -> None:
    assert output.shorten("/srv/data/projects/2026/report.txt", 20) == "/srv/dat…/report.txt"
    assert output.shorten("short", 20) == "short"


@given(st.text(), st.integers(0, 40))
def test_a_shortened_name_fits(text: str, width: int) -> None:
    clean = output.printable(text)
    assert output.cells(output.shorten(clean, width)) <= max(width, 0)


@given(
    st.lists(
        st.tuples(st.text(max_size=90), st.text(max_size=90), st.integers(0, 10**15)), max_size=5
    )
)
def test_tables_fit_80_columns(rows: list[tuple[str, str, int]]) -> None:
    columns = [
        Column("NAME", flexible=True),
        Column("SOURCE", flexible=True),
        Column("SIZE", right=True),
    ]
    lines = output.table(columns, [(a, b, output.size(c)) for a, b, c in rows], 80)
    assert all(output.cells(line) <= 80 for line in lines)
    assert len(lines) == len(rows) + 1


def test_numbers_stand_at_the_right() -> None:
    lines = output.table([Column("N"), Column("SIZE", right=True)], [("a", "1 B"), ("b", "100 B")])
    assert lines == ["N   SIZE", "a    1 B", "b  100 B"]


def test_several_values_of_one_name_stand_below_each_other() -> None:
    assert output.pairs([("job", "a"), ("sources", ["x", "y"]), ("exclude", [])]) == [
        "job:     a",
        "sources: x",
        "         y",
        "exclude: -",
    ]


class _Colour(Enum):
    RED = "red"


@dataclass
class _Inner:
    raw: bytes


@dataclass
class _Outer:
    inner: _Inner
    moment: datetime
    many: tuple[int, ...]


def test_json_knows_times_ids_spans_and_values_within_values() -> None:
    value = {
        "outer": _Outer(_Inner(b"\x01\xff"), datetime(2026, 1, 2, 3, 4, 5, 6, UTC), (1, 2)),
        "span": timedelta(hours=1),
        "colour": _Colour.RED,
        "path": Path("/x"),
        "none": None,
    }
    assert json.loads(output.as_json(value)) == {
        "outer": {
            "inner": {"raw": "01ff"},
            "moment": "2026-01-02T03:04:05.000006Z",
            "many": [1, 2],
        },
        "span": 3600.0,
        "colour": "red",
        "path": "/x",
        "none": None,
    }


def test_json_keeps_the_bytes_of_a_name_that_is_no_utf8() -> None:
    name = b"\x80.txt".decode("utf-8", "surrogateescape")
    text = output.as_json({"path": name})
    assert text.isascii()
    assert json.loads(text)["path"].encode("utf-8", "surrogateescape") == b"\x80.txt"
