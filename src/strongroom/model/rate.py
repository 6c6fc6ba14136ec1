"""How fast bytes may move, and at which hours: `10MB/s mon-fri 8:00-18:00; 50MB/s`.

A timetable is a list of rules, each a rate and the days and hours at which it holds. Where
several hold at once the lowest counts; where none does nothing is limited. Hours are those of
the clock on the wall: what is decided is decided anew for each moment and nothing is counted
ahead, so that an hour that a change to summer time leaves out, or gives twice, is never held
to have another length than it has.

This module decides; waiting is for `storage.throttling`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import time
from typing import TYPE_CHECKING, Final, TypeAlias

from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from datetime import datetime

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SLOWEST: Final = 10_000
"""Bytes a second. A pack of tens of MiB takes an hour at this rate, and the lock of a session
that stores one counts as given up after a day."""

_MIDNIGHT: Final = time()
_BITS: Final = {
    "B": 8,
    **{f"{sign}B": 8 * 1000**n for n, sign in enumerate("kMG", 1)},
    **{f"{sign}iB": 8 * 1024**n for n, sign in enumerate("KMG", 1)},
    **{f"{sign}bit": 1000**n for n, sign in enumerate("kMG", 1)},
}
_RATE: Final = re.compile(r"(\d{1,9})(?:\.(\d{1,6}))?([A-Za-z]+)(?:/s)?")
_HOURS: Final = re.compile(r"(\d{1,2})(?::(\d\d))?-(\d{1,2})(?::(\d\d))?")
_HINT: Final = (
    "write 10MB/s, or '10MB/s mon-fri 8:00-18:00; 50MB/s'; units are kB, MB, GB, KiB, MiB, GiB, "
    "kbit, Mbit, Gbit"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rate, and when it holds."""

    bytes_per_second: int
    days: frozenset[int] = frozenset(range(7))
    """Monday is 0. Hours that pass midnight belong to the day that they begin on."""
    begins: time = _MIDNIGHT
    ends: time = _MIDNIGHT
    """Midnight is the end of the day; the same as `begins` means the whole day."""

    def holds(self, wall: datetime) -> bool:
        """Tell whether the rule holds when the clock on the wall shows this."""
        today, hour = wall.weekday(), wall.time()
        if self.begins < self.ends:
            return today in self.days and self.begins <= hour < self.ends
        if today in self.days and hour >= self.begins:
            return True
        return (today - 1) % 7 in self.days and hour < self.ends

    def __str__(self) -> str:
        parts = [_rate_text(self.bytes_per_second)]
        if len(self.days) < len(DAYS):
            parts.append(_days_text(self.days))
        if (self.begins, self.ends) != (_MIDNIGHT, _MIDNIGHT):
            parts.append(f"{_hour_text(self.begins)}-{_hour_text(self.ends, last=True)}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Timetable:
    """The rules of one limit."""

    rules: tuple[Rule, ...]

    @classmethod
    def parse(cls, text: str) -> Timetable:
        """Return what an operator wrote.

        Raises:
            InvalidInputError: it is no timetable.
        """
        return cls(tuple(_rule(part.split(), text) for part in text.split(";")))

    def in_force(self, wall: datetime) -> int | None:
        """Return the bytes a second that may move when the clock on the wall shows this."""
        rates = [rule.bytes_per_second for rule in self.rules if rule.holds(wall)]
        return min(rates, default=None)

    def __str__(self) -> str:
        return "; ".join(map(str, self.rules))


class Unlimited:
    """An operator said `none`: no limit, be there one otherwise."""

    def __str__(self) -> str:
        return "none"


Limit: TypeAlias = Timetable | Unlimited


def parse_limit(text: str) -> Limit:
    """Return what an operator wrote: a timetable, or `none`.

    Raises:
        InvalidInputError: it is neither.
    """
    return Unlimited() if text.strip() == "none" else Timetable.parse(text)


def standing_limit(text: str | None) -> Timetable | None:
    """Return what is to be kept of what an operator wrote: `none` and nothing are no limit.

    Raises:
        InvalidInputError: it is no limit.
    """
    limit = None if text is None else parse_limit(text)
    return None if isinstance(limit, Unlimited) else limit


# --- reading --------------------------------------------------------------------------------


def _rule(words: list[str], text: str) -> Rule:
    # A space between number and unit is how many people write it.
    if len(words) > 1 and re.fullmatch(r"[\d.]+", words[0]):
        words = [words[0] + words[1], *words[2:]]
    if not words:
        raise _refused(text, "a rule is empty")
    rate = _rate(words[0], text)
    days: frozenset[int] | None = None
    hours: tuple[time, time] | None = None
    for word in words[1:]:
        if word[0].isdigit() and hours is None:
            hours = _hours(word, text)
        elif word[0].isalpha() and days is None:
            days = _days(word, text)
        else:
            raise _refused(text, f"{word} is one word too many")
    begins, ends = hours or (_MIDNIGHT, _MIDNIGHT)
    return Rule(rate, days or frozenset(range(7)), begins, ends)


def _rate(word: str, text: str) -> int:
    match = _RATE.fullmatch(word)
    if match is None:
        raise _refused(text, f"{word} is no rate")
    whole, decimals, unit = match[1], match[2] or "", match[3]
    bits = _BITS.get("kB" if unit == "KB" else unit)
    if bits is None:
        raise _refused(text, f"{unit} is no unit of a rate")
    rate: int = int(whole + decimals) * bits // (8 * 10 ** len(decimals))
    if rate < SLOWEST:
        raise _refused(text, f"{word} is less than {_rate_text(SLOWEST)}, the slowest there is")
    return rate


def _days(word: str, text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in word.lower().split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if first not in DAYS or last not in DAYS:
            raise _refused(text, f"{part} names no day: they are {', '.join(DAYS)}")
        begin, end = DAYS.index(first), DAYS.index(last)
        found.update((begin + n) % 7 for n in range((end - begin) % 7 + 1))
    return frozenset(found)


def _hours(word: str, text: str) -> tuple[time, time]:
    match = _HOURS.fullmatch(word)
    if match is None:
        raise _refused(text, f"{word} names no hours: they are written 8:00-18:00")
    begin_hour, begin_minute, end_hour, end_minute = (int(part or 0) for part in match.groups())
    if (end_hour, end_minute) == (24, 0):
        end_hour = 0
    try:
        begins, ends = time(begin_hour, begin_minute), time(end_hour, end_minute)
    except ValueError:
        raise _refused(text, f"{word} names an hour that no clock shows") from None
    if begins == ends != _MIDNIGHT:
        raise _refused(text, f"{word} begins and ends at once")
    return begins, ends


def _refused(text: str, why: str) -> InvalidInputError:
    return InvalidInputError(f"{text!r} is no limit: {why}", hint=_HINT, limit=text)


# --- writing --------------------------------------------------------------------------------


def _rate_text(rate: int) -> str:
    """Return a rate in the largest unit that says it in few digits."""
    for unit in ("GB", "GiB", "MB", "MiB", "kB", "KiB"):
        size = _BITS[unit] // 8
        if rate >= size and rate * 10 % size == 0:
            return f"{rate / size:.12g}{unit}/s"
    return f"{rate}B/s"


def _days_text(days: frozenset[int]) -> str:
    runs: list[list[int]] = []
    for day in sorted(days):
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ",".join(
        DAYS[run[0]] if len(run) == 1 else f"{DAYS[run[0]]}-{DAYS[run[-1]]}" for run in runs
    )


def _hour_text(hour: time, *, last: bool = False) -> str:
    if last and hour == _MIDNIGHT:
        return "24:00"
    return f"{hour.hour}:{hour.minute:02}"
