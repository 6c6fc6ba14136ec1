from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from strongroom.model.clock_guard import ClockReading, jump

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
BEFORE = ClockReading.taken(NOON, "first", 5 * DAY)


def far(
    passed: timedelta, running: timedelta, *, start: str = "first"
) -> tuple[timedelta | None, timedelta | None]:
    """Return how far the clock is off, judged for ordinary repositories and for vaults."""
    now = ClockReading.taken(NOON + passed, start, running)
    return jump(BEFORE, now, strict=False), jump(BEFORE, now, strict=True)


def test_a_clock_that_goes_on_as_the_machine_does_is_right() -> None:
    assert far(40 * DAY, 45 * DAY) == (None, None)
    assert far(40 * DAY + 24 * HOUR, 45 * DAY) == (None, None)
    assert far(40 * DAY - 24 * HOUR, 45 * DAY) == (None, None)


@pytest.mark.parametrize("by", [25 * HOUR, 400 * DAY, -25 * HOUR, -400 * DAY])
def test_a_jump_while_the_machine_runs_is_one_however_it_is_judged(by: timedelta) -> None:
    assert far(HOUR + by, 5 * DAY + HOUR) == (by, by)


def test_a_machine_that_was_off_for_long_is_suspicious_to_the_strict_alone() -> None:
    assert far(30 * HOUR, 6 * HOUR, start="second") == (None, None)
    assert far(31 * HOUR, 6 * HOUR, start="second") == (None, 25 * HOUR)
    assert far(400 * DAY, HOUR, start="second") == (None, 400 * DAY - HOUR)


def test_a_clock_that_went_back_over_a_start_has_jumped() -> None:
    assert far(-23 * HOUR, HOUR, start="second") == (None, None)
    assert far(-24 * HOUR, HOUR, start="second") == (-25 * HOUR, -25 * HOUR)
    assert far(HOUR, 3 * DAY, start="second") == (HOUR - 3 * DAY, HOUR - 3 * DAY)


def test_what_counts_with_the_clock_itself_contradicts_nothing() -> None:
    """As under libfaketime: the machine says that it was started in 1970."""
    since_1970 = NOON - datetime(1970, 1, 1, tzinfo=UTC)
    assert far(30 * DAY, since_1970 + 30 * DAY) == (None, 30 * DAY)
    assert far(-30 * DAY, since_1970 - 30 * DAY) == (None, -30 * DAY)
    assert far(HOUR, since_1970 + HOUR) == (None, None)
