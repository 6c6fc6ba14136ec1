from __future__ import annotations

from datetime import timedelta

import pytest

from strongroom.control import care, clock_guard
from strongroom.errors import ClockJumpedError

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def blocked(shop) -> tuple[bool, bool]:
    """Tell whether removals are blocked, in ordinary repositories and in vaults."""
    return tuple(  # type: ignore[return-value]
        clock_guard.removals_blocked(shop.ctx, strict=strict) is not None
        for strict in (False, True)
    )


@pytest.fixture(autouse=True)
def seen(shop) -> None:
    assert blocked(shop) == (False, False)


def test_time_that_passes_blocks_nothing(shop) -> None:
    for _ in range(5):
        shop.clock.advance(100 * DAY)
        assert blocked(shop) == (False, False)


def test_a_jump_blocks_until_it_is_confirmed(shop) -> None:
    shop.clock.jump(30 * DAY)
    why = clock_guard.removals_blocked(shop.ctx, strict=False)
    assert why is not None
    assert "jumped by 30 days ahead" in why
    shop.clock.advance(10 * DAY)
    assert blocked(shop) == (True, True)
    done = clock_guard.confirm(shop.ctx)
    assert (done.at, done.jumped) == (shop.clock.now(), 30 * DAY)
    assert blocked(shop) == (False, False)
    shop.clock.advance(10 * DAY)
    assert blocked(shop) == (False, False)
    assert clock_guard.confirm(shop.ctx).jumped is None


def test_a_clock_that_is_set_right_again_needs_no_word(shop) -> None:
    shop.clock.jump(30 * DAY)
    assert blocked(shop) == (True, True)
    shop.clock.jump(-30 * DAY)
    assert blocked(shop) == (False, False)


def test_many_small_jumps_are_one_large_one(shop) -> None:
    for far in (23, 46):
        shop.clock.jump(23 * HOUR)
        assert blocked(shop) == (far > 24, far > 24)


def test_a_start_of_the_machine_makes_no_jump_good(shop) -> None:
    shop.clock.jump(30 * DAY)
    assert blocked(shop) == (True, True)
    for _ in range(2):
        shop.clock.restart(off=HOUR)
        assert blocked(shop) == (True, True)
    shop.clock.jump(-30 * DAY)
    assert blocked(shop) == (False, False)


def test_a_machine_that_was_off_for_days_removes_nothing_from_vaults(shop) -> None:
    shop.clock.restart(off=2 * DAY)
    assert blocked(shop) == (False, True)
    shop.clock.advance(DAY)
    shop.clock.restart(off=HOUR)
    assert blocked(shop) == (False, True)
    assert clock_guard.confirm(shop.ctx).jumped is not None
    assert blocked(shop) == (False, False)


def test_prune_shows_what_it_would_do_and_does_nothing(shop) -> None:
    shop.repository()
    shop.job()
    shop.session()
    shop.clock.jump(2 * DAY)
    assert "jumped by 2 days ahead" in care.prune(shop.ctx, "main", dry_run=True).warnings[0]
    with pytest.raises(ClockJumpedError, match="nothing is removed") as caught:
        care.prune(shop.ctx, "main")
    assert caught.value.hint is not None
    assert "strongroom clock confirm" in caught.value.hint
    clock_guard.confirm(shop.ctx)
    assert care.prune(shop.ctx, "main").done
