from __future__ import annotations

from datetime import timedelta

import pytest

from strongroom.catalog import points
from strongroom.control import jobs, retention
from strongroom.errors import InvalidInputError, NotFoundError


def daily(shop, days: int, **options: object) -> list[str]:
    """Return the points of a job that ran once a day, oldest first."""
    shop.repository()
    shop.job(**options)
    ids = []
    for _ in range(days):
        ids += shop.session()
        shop.clock.advance(timedelta(days=1))
    return [point.hex() for point in ids]


def reasons(plan) -> list[tuple[bool, tuple[str, ...]]]:
    return [(point.stays, point.reasons) for point in plan.points]


ALWAYS = "one of the last 3, which always stay"


def test_every_point_is_shown_with_its_verdict_and_why(shop) -> None:
    ids = daily(shop, 5, keep_last=1, keep_days=4)
    points.set_held(shop.ctx.database, [bytes.fromhex(ids[0])], True)
    plan = retention.plan(shop.ctx, "nightly")
    assert (plan.job, plan.keep_last, plan.keep_days) == ("nightly", 1, 4)
    assert [point.id for point in plan.points] == ids
    assert {point.source for point in plan.points} == {"command:true"}
    assert [point.held for point in plan.points] == [True, False, False, False, False]
    assert reasons(plan) == [
        (True, ("held",)),
        (False, ("not one of the newest 1", "not younger than 4 days")),
        (True, ("younger than 4 days", ALWAYS)),
        (True, ("younger than 4 days", ALWAYS)),
        (True, ("one of the newest 1", "younger than 4 days", ALWAYS)),
    ]


def test_other_rules_can_be_tried_and_change_nothing(shop) -> None:
    daily(shop, 6, keep_days=30)
    shop.ctx.report = pytest.fail
    tried = retention.plan(shop.ctx, "nightly", {"keep_days": None, "keep_last": 4})
    assert [point.stays for point in tried.points] == [False] * 2 + [True] * 4
    assert jobs.show(shop.ctx, "nightly").keep_days == 30
    assert all(point.stays for point in retention.plan(shop.ctx, "nightly").points)
    with pytest.raises(InvalidInputError, match="without a rule"):
        retention.plan(shop.ctx, "nightly", {"keep_days": None})
    with pytest.raises(NotFoundError):
        retention.plan(shop.ctx, "weekly")


def test_what_would_go_is_what_lowering_the_rules_says_would_go(shop) -> None:
    daily(shop, 8, keep_days=30)
    tried = retention.plan(shop.ctx, "nightly", {"keep_days": 4})
    changed = jobs.edit(shop.ctx, "nightly", jobs.JobChanges(keep_days=4), yes=True)
    assert changed.would_remove == tuple(point.id for point in tried.points if not point.stays)
    assert changed.would_remove


def test_points_in_the_repository_of_before_are_not_judged(shop) -> None:
    daily(shop, 5, keep_last=1)
    shop.repository("other")
    jobs.edit(shop.ctx, "nightly", jobs.JobChanges(repository="other"))
    assert retention.plan(shop.ctx, "nightly").points == ()


def test_points_of_a_source_that_was_taken_out_are_judged_without_a_name(shop) -> None:
    daily(shop, 4, sources=("command:true", "command:date"), keep_last=1)
    jobs.edit(shop.ctx, "nightly", jobs.JobChanges(remove_sources=("command:date",)))
    plan = retention.plan(shop.ctx, "nightly")
    named = [point.source for point in plan.points]
    assert (named.count("command:true"), named.count(None)) == (4, 4)
    assert [point.stays for point in plan.points] == [False] * 2 + [True] * 6
