"""When a pack is due, so that all are read in turn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from strongroom.crypto import random
from strongroom.model.scrub_cycle import is_due

DAY = timedelta(days=1)
MONTH = 30 * DAY
START = datetime(2026, 11, 24, 3, 17, tzinfo=UTC)
PACKS = [number.to_bytes(4, "big") + bytes(28) for number in range(0, 2**32, 2**32 // 600)]
"""Marks spread evenly over the dial."""


def shares(days: int, *, late: timedelta = timedelta()) -> list[list[bytes]]:
    """Return what each of so many daily scrubs reads."""
    read: dict[bytes, datetime] = {}
    last, found = START, []
    for day in range(1, days + 1):
        now = START + day * DAY + (late if day % 2 else timedelta())
        due = [pack for pack in PACKS if is_due(pack, read.get(pack, last), now, MONTH)]
        read.update(dict.fromkeys(due, now))
        last = now
        found.append(due)
    return found


def test_every_pack_is_read_once_in_a_round() -> None:
    read = [pack for share in shares(30) for pack in share]

    assert sorted(read) == sorted(PACKS)


def test_shares_are_alike() -> None:
    assert {len(share) for share in shares(45)} <= {*range(19, 23)}


def test_a_scrub_that_comes_late_reads_what_came_due_meanwhile() -> None:
    found = shares(60, late=timedelta(hours=5))

    assert sorted(pack for share in found for pack in share) == sorted(PACKS * 2)


def test_what_was_missed_is_made_up_for() -> None:
    due = sum(is_due(pack, START, START + 6 * DAY, MONTH) for pack in PACKS)

    assert abs(due - len(PACKS) // 5) < 2


def test_after_a_whole_round_everything_is_due() -> None:
    assert all(is_due(random.token(32), START, START + MONTH, MONTH) for _ in range(100))


def test_what_was_read_just_now_is_not_due() -> None:
    assert not any(is_due(pack, START, START, MONTH) for pack in PACKS)
