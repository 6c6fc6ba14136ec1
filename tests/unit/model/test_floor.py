"""What a keeper's floor keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from strongroom.model.floor import Floor, FloorChange, Stored, below

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FIRST, SECOND = b"first", b"second"


def stored(name: bytes, source: bytes, days_ago: float) -> Stored:
    return Stored(name, source, NOW - timedelta(days=days_ago))


def test_the_newest_points_of_every_source_stay() -> None:
    points = [stored(b"%d" % n, FIRST, n) for n in range(5)]
    points += [stored(b"s%d" % n, SECOND, 100 + n) for n in range(2)]

    assert below(Floor(points=2), points, NOW) == {b"0", b"1", b"s0", b"s1"}


def test_all_points_of_the_last_days_stay_however_many_newer_ones_there_are() -> None:
    flood = [stored(b"f%d" % n, FIRST, 0.1) for n in range(50)]
    good = stored(b"good", FIRST, 6.9)
    old = stored(b"old", FIRST, 7)

    kept = below(Floor(points=1, days=7), [*flood, good, old], NOW)

    assert b"good" in kept
    assert b"old" not in kept


def test_a_time_to_come_is_kept() -> None:
    assert below(Floor(days=1), [stored(b"x", FIRST, -400)], NOW) == {b"x"}


def test_no_floor_keeps_nothing() -> None:
    assert Floor().nothing
    assert below(Floor(), [stored(b"x", FIRST, 0.5)], NOW) == frozenset()


def test_what_is_not_said_of_a_floor_stays() -> None:
    assert FloorChange(days=0).of(Floor(3, 30)) == Floor(3, 0)
    assert FloorChange(points=5).of(Floor(3, 30)) == Floor(5, 30)
