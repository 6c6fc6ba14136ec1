"""The rules of long-term retention, one by one, and over 14 months against a diary of them."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from strongroom.errors import InvalidInputError
from strongroom.model.gfs import Flag, Flagged, Month, Week, Weekday, assign, end_of, replay
from strongroom.model.job import RetentionRules
from strongroom.model.retention import PointFacts, decide

W, M, Y = Flag
ALL = RetentionRules(keep_days=7, keep_weekly=4, keep_monthly=6, keep_yearly=2)


def days(first: date, number: int) -> list[date]:
    return [first + timedelta(days=at) for at in range(number)]


def flagged(taken: list[date], rules: RetentionRules) -> dict[date, tuple[Flag, ...]]:
    """Return the points of one source that get flags, by their day."""
    flags = replay([(b"s", day) for day in taken], rules)
    return {day: got for day, got in zip(taken, flags, strict=True) if got}


# --- how long a flag keeps --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "day", "number", "end"),
    [
        (W, date(2026, 11, 24), 1, date(2026, 12, 1)),
        (W, date(2026, 12, 27), 4, date(2027, 1, 24)),
        (M, date(2026, 11, 24), 1, date(2026, 12, 25)),
        (M, date(2026, 12, 15), 3, date(2027, 3, 16)),
        (M, date(2026, 1, 31), 1, date(2026, 3, 1)),
        (M, date(2028, 1, 31), 1, date(2028, 3, 1)),
        (M, date(2026, 10, 31), 1, date(2026, 12, 1)),
        (M, date(2026, 2, 28), 1, date(2026, 3, 29)),
        (M, date(2026, 8, 31), 6, date(2027, 3, 1)),
        (Y, date(2026, 11, 24), 1, date(2027, 11, 25)),
        (Y, date(2028, 2, 29), 1, date(2029, 3, 1)),
        (Y, date(2028, 2, 29), 4, date(2032, 3, 1)),
        (Y, date(2026, 12, 31), 1, date(2028, 1, 1)),
    ],
)
def test_a_flag_ends_after_its_weeks_months_or_years(
    flag: Flag, day: date, number: int, end: date
) -> None:
    assert end_of(flag, day, number) == end


def test_another_duration_holds_for_flags_that_were_given_before() -> None:
    one = Flagged(date(2026, 11, 22), (W, M))
    today = date(2026, 12, 20)
    assert [flag for flag, _ in one.kept(ALL, today)] == [M]
    longer = ALL.changed({"keep_weekly": 5})
    assert one.kept(longer, today) == ((W, date(2026, 12, 27)), (M, date(2027, 5, 23)))
    none = ALL.changed({"keep_weekly": None, "keep_monthly": None})
    assert one.kept(none, today) == ()
    assert one.kept(none, one.day - timedelta(days=9)) == (), "nor one of a clock that ran ahead"


# --- who gets one -----------------------------------------------------------------------------


def test_the_first_point_of_a_week_from_its_day_on_is_weekly() -> None:
    rules = RetentionRules(keep_days=7, keep_weekly=4, weekly_on=Weekday.WEDNESDAY)
    wednesday = date(2026, 11, 4)
    assert [*flagged(days(wednesday, 22), rules)] == [
        wednesday + timedelta(weeks=at) for at in range(4)
    ]


def test_where_there_is_none_on_the_day_the_next_one_is_taken() -> None:
    rules = RetentionRules(keep_days=7, keep_weekly=4)
    sunday = date(2026, 11, 1)
    taken = [day for day in days(sunday, 28) if day.weekday() != 6 or day == sunday]
    assert [*flagged(taken, rules)] == [sunday] + [date(2026, 11, day) for day in (9, 16, 23)]


def test_of_several_points_of_a_day_the_first_is_taken() -> None:
    flags = replay([(b"s", date(2026, 11, 22))] * 3, ALL)
    assert flags == ((W, M, Y), (), ())


def test_every_source_has_its_own() -> None:
    day = date(2026, 11, 22)
    assert replay([(b"a", day), (b"b", day), (b"a", day)], ALL) == ((W, M, Y), (W, M, Y), ())


@pytest.mark.parametrize(
    ("week", "first"), [("first", 1), ("second", 8), ("third", 15), ("fourth", 22), ("last", 25)]
)
def test_a_month_begins_with_the_week_that_the_rules_name(week: str, first: int) -> None:
    rules = RetentionRules(keep_days=7, keep_monthly=6, monthly_on=Week(week))
    taken = days(date(2026, 5, 1), 31)
    before = () if first == 1 else (date(2026, 5, 1),)  # for the month that began in April
    assert [*flagged(taken, rules)] == [*before, date(2026, 5, first)]


def test_the_last_week_of_a_february_is_its_last_seven_days() -> None:
    rules = RetentionRules(keep_days=7, keep_monthly=6, monthly_on=Week.LAST)
    common, leap = date(2027, 2, 22), date(2028, 2, 23)
    assert common in flagged(days(date(2027, 1, 25), 40), rules)
    assert leap in flagged(days(date(2028, 1, 25), 40), rules)


def test_a_year_begins_with_the_month_that_the_rules_name() -> None:
    rules = RetentionRules(keep_days=7, keep_yearly=3, yearly_in=Month.JULY)
    taken = days(date(2026, 1, 1), 800)
    assert [*flagged(taken, rules)] == [
        date(2026, 1, 1),
        date(2026, 7, 1),
        date(2027, 7, 1),
    ]


def test_a_higher_flag_waits_for_the_lower() -> None:
    taken = days(date(2026, 12, 1), 62)
    got = flagged(taken, ALL)
    assert got[date(2026, 12, 1)] == (W, M, Y)  # the first of all: week, month and year had none
    assert date(2027, 1, 1) not in got
    assert got[date(2027, 1, 3)] == (W, M, Y)  # the first Sunday
    assert all(flags == (W,) for day, flags in got.items() if day.day > 7)


def test_a_yearly_flag_waits_for_the_monthly_where_there_is_no_weekly() -> None:
    rules = RetentionRules(keep_days=7, keep_monthly=2, keep_yearly=2, monthly_on=Week.SECOND)
    got = flagged(days(date(2026, 12, 20), 40), rules)
    assert got == {date(2026, 12, 20): (M, Y), date(2027, 1, 8): (M, Y)}


def test_yearly_beside_weekly_alone_waits_for_nothing() -> None:
    rules = RetentionRules(keep_days=7, keep_weekly=2, keep_yearly=2)
    got = flagged(days(date(2026, 12, 27), 10), rules)
    assert got[date(2027, 1, 1)] == (Y,)
    assert got[date(2027, 1, 3)] == (W,)


def test_without_rules_nothing_is_flagged() -> None:
    assert flagged(days(date(2026, 12, 27), 10), RetentionRules(keep_days=7)) == {}


def test_a_point_of_a_clock_that_ran_ahead_takes_no_flag_from_those_of_today() -> None:
    ahead = Flagged(date(2050, 1, 2), (W, M, Y))
    assert assign(date(2026, 11, 22), ALL, [ahead]) == (W, M, Y)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_changed_clocks_move_no_flag(zone: str) -> None:
    """Points at half past midnight and before it, over the days on which clocks are changed."""
    place = ZoneInfo(zone)
    rules = RetentionRules(keep_days=7, keep_weekly=60, keep_monthly=14)
    for minutes in (30, 23 * 60 + 30):
        taken = [
            (datetime(day.year, day.month, day.day, tzinfo=place) + timedelta(minutes=minutes))
            .astimezone(UTC)
            .astimezone(place)
            .date()
            for day in days(date(2026, 3, 1), 300)
        ]
        weekly = [day for day, flags in flagged(taken, rules).items() if W in flags]
        assert len(weekly) == 43
        assert {day.weekday() for day in weekly} == {6}


# --- what stays -------------------------------------------------------------------------------


def point(day: date, *flags: Flag) -> PointFacts:
    taken = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return PointFacts(
        day.isoformat().encode(), b"s", taken, flagged=Flagged(day, flags) if flags else None
    )


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def test_a_flag_keeps_its_point_until_its_last_day_is_over() -> None:
    day = date(2026, 1, 31)
    points = [point(day, M), *(point(date(2026, 6, at)) for at in (1, 2, 3))]
    rules = RetentionRules(keep_last=1, keep_monthly=1)

    def verdict(today: date) -> tuple[tuple[str, ...], tuple[str, ...]]:
        found = decide(points, rules, noon(today))[0]
        return found.reasons, found.lapsed

    assert verdict(date(2026, 2, 28)) == (("monthly until 2026-03-01",), ())
    gone = ("not one of the newest 1", "was monthly until 2026-03-01")
    assert verdict(date(2026, 3, 1)) == ((), gone)


def test_flagged_points_are_none_of_the_newest_that_are_counted() -> None:
    taken = days(date(2026, 11, 1), 10)
    points = [point(day, *((W,) if day.weekday() == 6 else ())) for day in taken]
    rules = RetentionRules(keep_last=5, keep_weekly=8)
    stays = [
        day
        for day, verdict in zip(taken, decide(points, rules, noon(taken[-1])), strict=True)
        if verdict.stays
    ]
    # The newest five beside the eighth, which is weekly, and the first, which is weekly too.
    assert [day.day for day in stays] == [1, 5, 6, 7, 8, 9, 10]


def test_the_last_three_are_the_last_three_flagged_or_not() -> None:
    points = [point(date(2026, 1, at), *((W,) if at > 2 else ())) for at in range(1, 6)]
    rules = RetentionRules(keep_days=1, keep_weekly=99)
    verdicts = decide(points, rules, noon(date(2026, 6, 1)))
    assert [verdict.stays for verdict in verdicts] == [False, False, True, True, True]


def test_rules_for_long_do_not_stand_alone_and_have_bounds() -> None:
    with pytest.raises(InvalidInputError, match="keeps nothing but weekly"):
        RetentionRules(keep_weekly=4)
    for rule, most in (("keep_weekly", 9999), ("keep_monthly", 999), ("keep_yearly", 999)):
        for number in (0, -1, most + 1):
            with pytest.raises(InvalidInputError, match=f"--{rule.replace('_', '-')} {number}"):
                ALL.changed({rule: number})
        end_of(Flag[rule.removeprefix("keep_").upper()], date(2999, 12, 31), most)
    with pytest.raises(InvalidInputError, match="--weekly-on funday is none of monday"):
        ALL.changed({"weekly_on": "funday"})


# --- 14 months --------------------------------------------------------------------------------


class Diary:
    """The same rules as a clerk would keep them: one day after the other, with notes of what is
    still due, and the end of every flag written down when it is given."""

    def __init__(self) -> None:
        self.due = {"week", "month", "year"}
        self.kept: dict[date, dict[str, date]] = {}

    def day(self, today: date, backed_up: bool) -> None:
        if today.weekday() == calendar.SUNDAY:
            self.due.add("week")
        if today.day == calendar.monthrange(today.year, today.month)[1] - 6:
            self.due.add("month")
        if (today.month, today.day) == (3, 1):
            self.due.add("year")
        if not backed_up or "week" not in self.due:
            return
        self.due.discard("week")
        ends = self.kept[today] = {"weekly": today + timedelta(days=7 * 3)}
        if "month" in self.due:
            self.due.discard("month")
            ends["monthly"] = self.later(today, 5) + timedelta(days=1)
            if "year" in self.due:
                self.due.discard("year")
                ends["yearly"] = self.later(today, 12) + timedelta(days=1)

    @staticmethod
    def later(today: date, months: int) -> date:
        year, month = today.year, today.month
        for _ in range(months):
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        for number in (today.day, 30, 29, 28):
            try:
                return date(year, month, number)
            except ValueError:
                continue
        raise AssertionError("every month has 28 days")


def test_fourteen_months_of_daily_points_are_flagged_and_go_as_the_diary_says() -> None:
    rules = RetentionRules(
        keep_days=5,
        keep_weekly=3,
        keep_monthly=5,
        keep_yearly=1,
        monthly_on=Week.LAST,
        yearly_in=Month.MARCH,
    )
    diary = Diary()
    there: dict[date, PointFacts] = {}
    for today in days(date(2026, 10, 20), 427):
        backed_up = (
            today.toordinal() % 11 not in (3, 4) and not 250 < today.timetuple().tm_yday < 275
        )
        diary.day(today, backed_up)
        if backed_up:
            before = [one.flagged for one in there.values() if one.flagged]
            there[today] = point(today, *assign(today, rules, before))
        taken = [*there]
        verdicts = decide([*there.values()], rules, noon(today))
        there = {day: there[day] for day, one in zip(taken, verdicts, strict=True) if one.stays}
        expected = {
            day
            for day in taken
            if (today - day).days < 5
            or day in taken[-3:]
            or any(today < end for end in diary.kept.get(day, {}).values())
        }
        assert {*there} == expected, today
        for day, one in there.items():
            ends = dict(one.flagged.ends(rules)) if one.flagged else {}
            assert {str(flag): end for flag, end in ends.items()} == diary.kept.get(day, {})
    kinds = {flag for one in there.values() if one.flagged for flag in one.flagged.flags}
    assert kinds == {W, M, Y}
