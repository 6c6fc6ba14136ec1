"""Long-term retention: weekly, monthly and yearly flags (grandfather, father, son).

A flag keeps a point longer than the other rules would. New points get flags, and old ones none
any more: the first point of a source in each week, month and year, where a week begins on the
day that the rules name, a month with the week, a year with the month. So a point that is missing
on the day is made up for by the next. A monthly flag goes only to a point that gets the weekly
one, and a yearly one only to a point that gets the monthly one, as far as there are rules for
those; yearly and weekly rules alone do not touch each other.

How long a flag keeps its point is the rules' to say at any time, also of flags given before.

Everything here counts in calendar days. Whose, is the caller's to say
(docs/decisions/0022-gfs.md).
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from strongroom.model.job import RetentionRules


class Flag(StrEnum):
    """Why a point is kept for long."""

    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


class Weekday(StrEnum):
    """The day that a week of points begins with."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


class Week(StrEnum):
    """The week that a month of points begins with: its first seven days, the next, the last."""

    FIRST = "first"
    SECOND = "second"
    THIRD = "third"
    FOURTH = "fourth"
    LAST = "last"


class Month(StrEnum):
    """The month that a year of points begins with."""

    JANUARY = "january"
    FEBRUARY = "february"
    MARCH = "march"
    APRIL = "april"
    MAY = "may"
    JUNE = "june"
    JULY = "july"
    AUGUST = "august"
    SEPTEMBER = "september"
    OCTOBER = "october"
    NOVEMBER = "november"
    DECEMBER = "december"


_WEEKDAYS: Final = tuple(Weekday)
_WEEKS: Final = tuple(Week)
_MONTHS: Final = tuple(Month)


@dataclass(frozen=True, slots=True)
class Flagged:
    """The flags of a point."""

    day: date
    """When it was taken, and so flagged: what the flags' ends are counted from."""
    flags: tuple[Flag, ...]

    def ends(self, rules: RetentionRules) -> tuple[tuple[Flag, date], ...]:
        """Return the flags with the first day on which each keeps its point no longer.

        A flag for which there is no rule any more is left out: it keeps nothing.
        """
        found: list[tuple[Flag, date]] = []
        for flag in self.flags:
            number = _number(rules, flag)
            if number is not None:
                found.append((flag, end_of(flag, self.day, number)))
        return tuple(found)

    def kept(self, rules: RetentionRules, today: date) -> tuple[tuple[Flag, date], ...]:
        """Return the flags that keep the point today, each with its end."""
        return tuple((flag, end) for flag, end in self.ends(rules) if today < end)


def end_of(flag: Flag, day: date, number: int) -> date:
    """Return the first day on which a flag of `day` keeps its point no longer.

    Args:
        flag: Which.
        day: When it was given.
        number: For how many weeks, months or years.
    """
    if flag is Flag.WEEKLY:
        return day + timedelta(weeks=number)
    months = number if flag is Flag.MONTHLY else 12 * number
    return _months_later(day, months) + timedelta(days=1)


def _months_later(day: date, months: int) -> date:
    """Return the same day of a later month, or that month's last day if it has none."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def assign(day: date, rules: RetentionRules, before: Iterable[Flagged]) -> tuple[Flag, ...]:
    """Return the flags of a new point.

    Args:
        day: When it was taken.
        rules: The job's.
        before: The flags of its source's other points.
    """
    given = {(flag, _period(one.day, rules, flag)) for one in before for flag in one.flags}
    flags: list[Flag] = []
    lower: Flag | None = None
    for flag in Flag:
        if _number(rules, flag) is None:
            continue
        # Yearly beside weekly alone is the one pair whose higher flag waits for nothing.
        depends = lower is not None and (lower, flag) != (Flag.WEEKLY, Flag.YEARLY)
        if (not depends or lower in flags) and (flag, _period(day, rules, flag)) not in given:
            flags.append(flag)
        lower = flag
    return tuple(flags)


def replay(
    points: Sequence[tuple[bytes, date]], rules: RetentionRules
) -> tuple[tuple[Flag, ...], ...]:
    """Return the flags that points would have, had the rules been these from the first one on.

    Args:
        points: Source and day of each, oldest first.
        rules: The job's.
    """
    found: list[tuple[Flag, ...]] = []
    before: dict[bytes, list[Flagged]] = {}
    for source, day in points:
        own = before.setdefault(source, [])
        flags = assign(day, rules, own)
        own.append(Flagged(day, flags))
        found.append(flags)
    return tuple(found)


def _number(rules: RetentionRules, flag: Flag) -> int | None:
    if flag is Flag.WEEKLY:
        return rules.keep_weekly
    return rules.keep_monthly if flag is Flag.MONTHLY else rules.keep_yearly


def _period(day: date, rules: RetentionRules, flag: Flag) -> date:
    """Return the day with which the week, month or year of points that `day` is in begins."""
    if flag is Flag.WEEKLY:
        return day - timedelta(days=(day.weekday() - _WEEKDAYS.index(rules.weekly_on)) % 7)
    if flag is Flag.MONTHLY:
        first = _month_begins(day.year, day.month, rules.monthly_on)
        if day >= first:
            return first
        last = day.replace(day=1) - timedelta(days=1)
        return _month_begins(last.year, last.month, rules.monthly_on)
    first = date(day.year, _MONTHS.index(rules.yearly_in) + 1, 1)
    return first if day >= first else first.replace(year=day.year - 1)


def _month_begins(year: int, month: int, week: Week) -> date:
    if week is Week.LAST:
        return date(year, month, calendar.monthrange(year, month)[1] - 6)
    return date(year, month, 1 + 7 * _WEEKS.index(week))
