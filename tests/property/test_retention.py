"""Retention, for all inputs: whatever the rules, it never takes the last points away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from strongroom.model.gfs import Flag, Flagged
from strongroom.model.job import RetentionRules
from strongroom.model.retention import ALWAYS_KEPT, PointFacts, decide

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)

counts = st.none() | st.integers(1, 40)
rules = (
    st.tuples(counts, counts, counts, counts, counts)
    .filter(lambda numbers: any(numbers[:2]))
    .map(lambda numbers: RetentionRules(*numbers))
)
flags = st.lists(st.sampled_from(Flag), unique=True).map(tuple)


@st.composite
def histories(draw: st.DrawFn) -> list[PointFacts]:
    ages = draw(st.lists(st.integers(-50, 1500), max_size=40))
    return [
        PointFacts(
            number.to_bytes(16, "big"),
            draw(st.sampled_from([b"a", b"b", b"c"])),
            NOON - timedelta(hours=age),
            draw(st.booleans()),
            Flagged((NOON - timedelta(hours=age)).date(), draw(flags)),
        )
        for number, age in enumerate(ages)
    ]


def kept(points: list[PointFacts], chosen: RetentionRules, now: datetime = NOON) -> set[bytes]:
    return {verdict.point_id for verdict in decide(points, chosen, now) if verdict.stays}


@given(histories(), rules)
def test_every_point_is_judged_once_and_in_order(
    points: list[PointFacts], chosen: RetentionRules
) -> None:
    verdicts = decide(points, chosen, NOON)
    assert [verdict.point_id for verdict in verdicts] == [point.point_id for point in points]


@given(histories(), rules)
def test_the_newest_three_of_every_source_and_all_held_ones_stay(
    points: list[PointFacts], chosen: RetentionRules
) -> None:
    stays = kept(points, chosen)
    assert stays >= {point.point_id for point in points if point.held}
    for source in (b"a", b"b", b"c"):
        own = [point for point in points if point.source_id == source]
        left = [point for point in own if point.point_id in stays]
        assert len(left) >= min(ALWAYS_KEPT, len(own))
        newest = sorted(own, key=lambda point: point.taken_at)[-1:]
        assert all(point.point_id in stays for point in newest) or any(
            point.taken_at == newest[0].taken_at for point in left
        )


@given(histories(), rules)
def test_judging_again_takes_nothing_more(points: list[PointFacts], chosen: RetentionRules) -> None:
    stays = kept(points, chosen)
    left = [point for point in points if point.point_id in stays]
    assert kept(left, chosen) == stays


@given(histories(), rules, st.integers(0, 3000))
def test_a_point_that_may_go_does_not_come_back_with_time(
    points: list[PointFacts], chosen: RetentionRules, hours: int
) -> None:
    assert kept(points, chosen, NOON + timedelta(hours=hours)) <= kept(points, chosen)


@given(histories(), st.integers(1, 40), st.integers(1, 40))
def test_the_union_keeps_what_each_rule_keeps(
    points: list[PointFacts], last: int, days: int
) -> None:
    both = kept(points, RetentionRules(last, days))
    assert both == kept(points, RetentionRules(keep_last=last)) | kept(
        points, RetentionRules(keep_days=days)
    )
