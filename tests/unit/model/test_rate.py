"""What a limit's words mean, and which of its rules holds when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from strongroom.errors import InvalidInputError
from strongroom.model.rate import Timetable, Unlimited, parse_limit

OFFICE = Timetable.parse("10MB/s mon-fri 8:00-18:00; 50MB/s")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10MB/s", 10_000_000),
        ("10 MB/s", 10_000_000),
        ("10MiB/s", 10 << 20),
        ("500kB/s", 500_000),
        ("500KB/s", 500_000),
        ("1.5GB/s", 1_500_000_000),
        ("100Mbit/s", 12_500_000),
        ("25000B/s", 25_000),
        ("10MB", 10_000_000),
    ],
)
def test_a_rate_is_read_in_the_unit_it_names(text: str, rate: int) -> None:
    assert Timetable.parse(text).in_force(at("2026-11-24 12:00")) == rate


@pytest.mark.parametrize(
    "text",
    [
        *("", ";", "10", "10M", "10Mb/s", "10mb/s", "-1MB/s", "0MB/s", "9999B/s", "fast"),
        *("10MB/s mondays", "10MB/s mon-", "10MB/s 8:00", "10MB/s 25:00-26:00", "10MB/s 8:00-8:00"),
        *("10MB/s mon tue", "10MB/s mon 8:00-9:00 10:00-11:00", "10MB/s; ", "8:00-18:00 10MB/s"),
        *("10MB/s 8:60-9:00", "1e3MB/s"),
    ],
)
def test_what_is_no_limit_is_refused_with_its_own_words(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_limit(text)
    assert repr(text) in str(caught.value)
    assert "10MB/s" in (caught.value.hint or "")


def test_none_is_no_limit() -> None:
    assert isinstance(parse_limit("none"), Unlimited)


@pytest.mark.parametrize(
    ("moment", "rate"),
    [
        ("2026-11-23 07:59:59", 50_000_000),  # a Monday
        ("2026-11-23 08:00:00", 10_000_000),
        ("2026-11-27 17:59:59", 10_000_000),
        ("2026-11-27 18:00:00", 50_000_000),
        ("2026-11-28 12:00:00", 50_000_000),  # a Saturday
    ],
)
def test_the_lowest_rule_that_holds_counts(moment: str, rate: int) -> None:
    assert OFFICE.in_force(at(moment)) == rate


def test_where_no_rule_holds_nothing_is_limited() -> None:
    assert Timetable.parse("1MB/s sat,sun").in_force(at("2026-11-25 12:00")) is None


@pytest.mark.parametrize(
    ("moment", "holds"),
    [
        ("2026-11-27 21:59", False),  # a Friday
        ("2026-11-27 22:00", True),
        ("2026-11-28 05:59", True),
        ("2026-11-28 06:00", False),
        ("2026-11-28 23:00", False),
        ("2026-11-27 05:00", False),
    ],
)
def test_hours_that_pass_midnight_belong_to_the_day_they_begin_on(moment: str, holds: bool) -> None:
    nights = Timetable.parse("1MB/s fri 22:00-6:00")

    assert (nights.in_force(at(moment)) is not None) is holds


def test_days_may_pass_the_end_of_the_week_and_stand_in_lists() -> None:
    limit = Timetable.parse("1MB/s sat-mon,wed")

    monday = at("2026-11-23 12:00")
    days = [limit.in_force(monday + timedelta(days=n)) is not None for n in range(7)]
    assert days == [True, False, True, False, False, True, True]


def test_a_day_ends_at_twenty_four() -> None:
    evening = Timetable.parse("1MB/s mon 20:00-24:00")

    assert evening.in_force(at("2026-11-23 23:59:59"))
    assert evening.in_force(at("2026-11-24 00:00:00")) is None


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        ("2026-03-29", 0),  # 2:00 becomes 3:00
        ("2026-10-25", 2),  # 3:00 becomes 2:00
        ("2026-11-24", 1),
    ],
)
def test_an_hour_lasts_as_long_as_the_clock_on_the_wall_shows_it(day: str, hours: int) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    limit = Timetable.parse("1MB/s 2:00-3:00")
    midnight = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(hours=3)

    minutes = [midnight + timedelta(minutes=n) for n in range(24 * 60)]
    limited = sum(limit.in_force(minute.astimezone(berlin)) is not None for minute in minutes)

    assert limited == 60 * hours


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10 MB/s", "10MB/s"),
        ("10MiB/s", "10MiB/s"),
        ("100Mbit/s", "12.5MB/s"),
        ("0.5GB/s tue,mon,wed 8-18", "500MB/s mon-wed 8:00-18:00"),
        ("12345B/s mon-sun 20:00-24:00 ;1MB/s", "12345B/s 20:00-24:00; 1MB/s"),
    ],
)
def test_a_limit_is_said_in_one_way_and_read_back_as_the_same(text: str, said: str) -> None:
    limit = Timetable.parse(text)

    assert str(limit) == said
    assert Timetable.parse(said) == limit
