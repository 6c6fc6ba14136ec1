"""Words and numbers as people read them, and values as JSON.

Names come out of repositories that others may have written, so whatever could move a
terminal's cursor, or turn the direction of a line, is shown as an escape. JSON carries the
same names whole.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from strongroom.clock import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TextIO

WIDTH: Final = 80
ELLIPSIS: Final = "…"
_GAP: Final = "  "
_NARROWEST: Final = 8
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_TURNING: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


# --- names ------------------------------------------------------------------------------------


def printable(text: str | bytes) -> str:
    """Return `text` with everything that a terminal might obey shown as an escape."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    if text.isascii() and text.isprintable():
        return text
    return "".join(_harmless(character) for character in text)


def _harmless(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{number - 0xDC00:02x}"
    if character in _TURNING or unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs"):
        return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
    return character


def cells(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(_cells_of(character) for character in text)


def _cells_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def shorten(text: str, width: int) -> str:
    """Return `text` in at most `width` columns; what is left out is left out in the middle.

    The end is kept longer than the beginning: names differ at their ends.
    """
    if cells(text) <= width:
        return text
    if width <= 1:
        return ELLIPSIS[:width]
    tail_cells = (width - 1) * 3 // 5 if width > 3 else width - 1
    tail = _fitting(reversed(text), tail_cells)[::-1]
    return _fitting(text, width - 1 - cells(tail)) + ELLIPSIS + tail


def _fitting(characters: Iterable[str], width: int) -> str:
    kept: list[str] = []
    for character in characters:
        width -= _cells_of(character)
        if width < 0:
            break
        kept.append(character)
    return "".join(kept)


# --- numbers and times ------------------------------------------------------------------------


def size(count: int | None) -> str:
    """Return a number of bytes with a binary unit, in at most eight columns."""
    if count is None:
        return "-"
    value = float(count)
    for unit in _UNITS:
        if abs(value) < 999.5 or unit == _UNITS[-1]:
            break
        value /= 1024
    if unit == "B":
        return f"{count} B"
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def number(count: int | None) -> str:
    """Return a count with its thousands apart."""
    return "-" if count is None else f"{count:,}"


def when(moment: datetime | None) -> str:
    """Return a moment in local time with its offset from UTC."""
    if moment is None:
        return "-"
    local = moment.astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S ") + _offset(local)


def when_ns(nanoseconds: int | None) -> str:
    """Return a file's time in local time with its offset from UTC."""
    if nanoseconds is None:
        return "-"
    try:
        return when(datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC))
    except (OverflowError, ValueError, OSError):
        return f"@{nanoseconds // 1_000_000_000}"


def _offset(local: datetime) -> str:
    text = local.strftime("%z")
    return f"{text[:3]}:{text[3:5]}"


def duration(seconds: float) -> str:
    """Return `0:07`, `12:40` or `3:05:00`."""
    whole = max(0, int(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours}:{minutes:02}:{whole % 60:02}"
    return f"{minutes}:{whole % 60:02}"


def took(seconds: float) -> str:
    """Return how long something took: tenths of a second while that says something."""
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def yes(flag: bool) -> str:
    return "yes" if flag else "no"


# --- tables -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    right: bool = False
    """Numbers stand at the right."""
    flexible: bool = False
    """May be shortened in the middle so that the table fits."""


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream leads to a screen; one that was closed beforehand is None."""
    return stream is not None and not stream.closed and stream.isatty()


def screen_width() -> int:
    """Return the columns there are; 80 where nobody can tell."""
    return max(40, shutil.get_terminal_size((WIDTH, 24)).columns)


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None
) -> list[str]:
    """Return the lines of a table with its titles, shortened to fit the screen.

    What goes to a pipe or a file is whole, unless COLUMNS asks for a width.
    """
    if width is None:
        whole = not is_terminal(sys.stdout) and "COLUMNS" not in os.environ
        width = sys.maxsize if whole else screen_width()
    clean = [[printable(cell) for cell in row] for row in rows]
    widths = [
        max([cells(column.title), *(cells(row[place]) for row in clean)])
        for place, column in enumerate(columns)
    ]
    room = width - len(_GAP) * (len(columns) - 1)
    while sum(widths) > room:
        candidates = [
            place
            for place, column in enumerate(columns)
            if column.flexible and widths[place] > max(_NARROWEST, cells(column.title))
        ]
        if not candidates:
            break
        widths[max(candidates, key=lambda place: widths[place])] -= 1
    titles = [column.title for column in columns]
    return [_line(columns, row, widths) for row in (titles, *clean)]


def _line(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int]) -> str:
    parts: list[str] = []
    for column, cell, width in zip(columns, row, widths, strict=True):
        text = shorten(cell, width) if column.flexible else cell
        padding = " " * (width - cells(text))
        parts.append(padding + text if column.right else text + padding)
    return _GAP.join(parts).rstrip()


def pairs(items: Iterable[tuple[str, str | Sequence[str]]]) -> list[str]:
    """Return `name:  value` lines; several values of one name stand below each other."""
    listed = [(name, [value] if isinstance(value, str) else [*value]) for name, value in items]
    width = max((len(name) for name, _ in listed), default=0) + 1
    lines: list[str] = []
    for name, values in listed:
        for place, value in enumerate(values or ["-"]):
            label = f"{name}:" if place == 0 else ""
            lines.append(f"{label:<{width}} {printable(value)}".rstrip())
    return lines


def wrapped(text: str, indent: str = "", width: int = WIDTH) -> list[str]:
    """Return `text` on as many lines as it needs; a word that is longer stays whole."""
    import textwrap

    return textwrap.wrap(
        printable(text),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


# --- JSON -------------------------------------------------------------------------------------


def plain(value: object) -> object:
    r"""Return `value` as what JSON knows.

    Moments become RFC 3339 in UTC, bytes hexadecimal, spans seconds; text that is no UTF-8
    keeps its bytes as lone surrogates, which JSON writes as escapes (`\udc80` for byte 0x80).
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    names = _field_names(value)
    if names is not None:
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return str(value)


def _field_names(value: object) -> tuple[str, ...] | None:
    if dataclasses.is_dataclass(value):
        return tuple(field.name for field in dataclasses.fields(value))
    names: tuple[str, ...] | None = getattr(value, "__struct_fields__", None)
    return names


def as_json(value: object) -> str:
    """Return one JSON document, without a line end."""
    import json

    return json.dumps(plain(value), ensure_ascii=True, allow_nan=False, indent=2)


def as_json_line(value: object) -> str:
    """Return one JSON document on one line."""
    import json

    return json.dumps(plain(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
