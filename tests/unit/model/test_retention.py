from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from strongroom.model.gfs import Flag, Flagged
from strongroom.model.job import RetentionRules
from strongroom.model.retention import PointFacts, decide, foresee

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def daily(days: int, source: bytes = b"s", held: frozenset[int] = frozenset()) -> list[PointFacts]:
    """One point a day, oldest first; the newest is of today."""
    return [
        PointFacts(b"%s%d" % (source, age), source, NOON - timedelta(days=age), age in held)
        for age in reversed(range(days))
    ]


def kept(points: list[PointFacts], rules: RetentionRules) -> set[bytes]:
    return {verdict.point_id for verdict in decide(points, rules, NOON) if verdict.stays}


def test_points_older_than_the_days_go() -> None:
    assert kept(daily(10), RetentionRules(keep_days=7)) == {b"s%d" % age for age in range(7)}


def test_the_newest_stay_however_old() -> None:
    assert kept(daily(10), RetentionRules(keep_last=5)) == {b"s%d" % age for age in range(5)}


def test_the_rules_are_a_union() -> None:
    both = kept(daily(10), RetentionRules(keep_last=5, keep_days=7))
    assert both == {b"s%d" % age for age in range(7)}


def test_three_points_stay_even_if_all_are_too_old() -> None:
    old = [
        PointFacts(b"%d" % age, b"s", NOON - timedelta(days=100 + age))
        for age in reversed(range(9))
    ]
    assert kept(old, RetentionRules(keep_days=7)) == {b"0", b"1", b"2"}


def test_three_points_stay_of_every_source() -> None:
    points = [
        PointFacts(b"%s%d" % (source, age), source, NOON - timedelta(days=100 + age))
        for source in (b"a", b"b")
        for age in reversed(range(5))
    ]
    assert kept(points, RetentionRules(keep_last=1)) == {
        b"a0", b"a1", b"a2", b"b0", b"b1", b"b2"
    }  # fmt: skip


def test_a_held_point_stays_and_counts_as_any_other() -> None:
    points = daily(10, held=frozenset({9}))
    assert kept(points, RetentionRules(keep_last=4)) == {b"s0", b"s1", b"s2", b"s3", b"s9"}


def test_every_verdict_says_why() -> None:
    verdicts = {
        verdict.point_id: verdict.reasons
        for verdict in decide(
            daily(6, held=frozenset({5})), RetentionRules(keep_last=2, keep_days=4), NOON
        )
    }
    assert verdicts == {
        b"s5": ("held",),
        b"s4": (),
        b"s3": ("younger than 4 days",),
        b"s2": ("younger than 4 days", "one of the last 3, which always stay"),
        b"s1": (
            "one of the newest 2",
            "younger than 4 days",
            "one of the last 3, which always stay",
        ),
        b"s0": (
            "one of the newest 2",
            "younger than 4 days",
            "one of the last 3, which always stay",
        ),
    }


def test_what_goes_says_which_rules_no_longer_keep_it() -> None:
    def lapsed(rules: RetentionRules) -> list[tuple[str, ...]]:
        return [verdict.lapsed for verdict in decide(daily(5), rules, NOON)]

    assert lapsed(RetentionRules(keep_last=2)) == [("not one of the newest 2",)] * 2 + [()] * 3
    both = ("not one of the newest 3", "not younger than 4 days")
    assert lapsed(RetentionRules(keep_last=3, keep_days=4)) == [both, (), (), (), ()]


def test_a_point_is_too_old_at_the_very_moment() -> None:
    def stays(age: timedelta) -> bool:
        points = [PointFacts(b"p", b"s", NOON - age), *daily(3)]
        return b"p" in kept(points, RetentionRules(keep_days=7))

    assert stays(timedelta(days=7, microseconds=-1))
    assert not stays(timedelta(days=7))


def test_a_point_from_the_future_stays() -> None:
    points = [*daily(5), PointFacts(b"later", b"s", NOON + timedelta(days=400))]
    assert b"later" in kept(points, RetentionRules(keep_days=1))


def test_verdicts_come_in_the_order_of_the_points() -> None:
    points = daily(6)[::-1]
    verdicts = decide(points, RetentionRules(keep_last=4), NOON)
    assert [verdict.point_id for verdict in verdicts] == [point.point_id for point in points]
    assert [verdict.stays for verdict in verdicts] == [True] * 4 + [False] * 2


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        PointFacts(b"p", b"s", NOON.replace(tzinfo=None))


def test_what_becomes_of_points_that_no_new_ones_follow_is_foreseen() -> None:
    def foreseen(points: list[PointFacts], rules: RetentionRules) -> tuple[int, date | None]:
        future = foresee(points, rules, lambda moment: moment)
        return future.staying, future.gone_on

    points = daily(5)
    assert foreseen(points, RetentionRules(keep_days=7)) == (0, date(2026, 12, 1))
    assert foreseen(points, RetentionRules(keep_last=2)) == (2, None)
    assert foreseen(points, RetentionRules(keep_last=2, keep_days=7)) == (2, date(2026, 11, 29))
    assert foreseen(daily(5, held=frozenset({0})), RetentionRules(keep_days=7)) == (
        1,
        date(2026, 11, 30),
    )
    weekly = replace(points[0], flagged=Flagged(date(2026, 11, 20), (Flag.WEEKLY,)))
    rules = RetentionRules(keep_days=7, keep_weekly=4)
    assert foreseen([weekly, *points[1:]], rules) == (0, date(2026, 12, 18))
    assert foreseen([], rules) == (0, None)


def test_what_was_foreseen_is_what_the_rules_say_then() -> None:
    """Nothing is left on the day, and something the day before."""
    points = daily(5)
    weekly = replace(points[0], flagged=Flagged(date(2026, 11, 20), (Flag.WEEKLY,)))
    rules = RetentionRules(keep_days=7, keep_weekly=4)
    gone_on = foresee([weekly, *points[1:]], rules, lambda moment: moment).gone_on
    assert gone_on is not None

    def left(day: date) -> int:
        then = datetime(day.year, day.month, day.day, 23, tzinfo=UTC)
        verdicts = decide([weekly, *points[1:]], rules, then, minimum=0)
        return sum(verdict.stays for verdict in verdicts)

    assert left(gone_on - timedelta(days=1)) == 1
    assert left(gone_on) == 0
