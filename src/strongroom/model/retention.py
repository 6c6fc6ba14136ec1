"""Which restore points stay, and why.

The rules of a job are a union: a point stays while any of them keeps it. Three things stand
above the rules: a held point stays, a vault keeps what it has locked, and the newest three of
every source stay, so that no rule, clock or mistake takes the last ones away. All chains of a
job are judged together: a chain that was split off goes when its points have had their time. A
point that is kept for long, by a weekly, monthly or yearly flag (`model.gfs`), is none of the
newest that the rules count.

Nothing here removes anything. The verdicts go to the dry run, to the confirmation, and into
the signed promise of the next journal entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from strongroom.model.gfs import Flagged
    from strongroom.model.job import RetentionRules

ALWAYS_KEPT: Final = 3


@dataclass(frozen=True, slots=True)
class PointFacts:
    """What retention needs to know of a point."""

    point_id: bytes
    source_id: bytes
    taken_at: datetime
    held: bool = False
    flagged: Flagged | None = None
    """Its weekly, monthly and yearly flags, if it has any."""
    locked_until: datetime | None = None
    """Until when a vault keeps it; None where none does."""

    def __post_init__(self) -> None:
        if self.taken_at.tzinfo is None:
            raise ValueError("taken_at needs a time zone")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one restore point."""

    point_id: bytes
    reasons: tuple[str, ...]
    """Why it stays; empty when nothing keeps it."""
    lapsed: tuple[str, ...] = ()
    """Why it goes: each rule that no longer keeps it; empty when it stays."""

    @property
    def stays(self) -> bool:
        return bool(self.reasons)


def decide(
    points: Sequence[PointFacts],
    rules: RetentionRules,
    now: datetime,
    minimum: int = ALWAYS_KEPT,
) -> list[Verdict]:
    """Judge every point, in the order given.

    Args:
        points: All points of one job that are still promised, of all its chains.
        rules: The job's.
        now: The moment to judge by; in the time zone whose days flags end with.
        minimum: How many of the newest points of each source no rule takes away.
    """
    keep_for = timedelta(days=rules.keep_days) if rules.keep_days is not None else None
    today = now.date()
    flags = [one.flagged.kept(rules, today) if one.flagged else () for one in points]
    rank = _ranks(points)
    counted = _ranks(points, [not kept for kept in flags])
    verdicts: list[Verdict] = []
    for place, point in enumerate(points):
        reasons: list[str] = []
        if point.held:
            reasons.append("held")
        if point.locked_until is not None and now < point.locked_until:
            reasons.append(locked_reason(point.locked_until))
        reasons += [f"{flag} until {end}" for flag, end in flags[place]]
        if rules.keep_last is not None and not flags[place] and counted[place] < rules.keep_last:
            reasons.append(f"one of the newest {rules.keep_last}")
        if keep_for is not None and now - point.taken_at < keep_for:
            reasons.append(f"younger than {rules.keep_days} days")
        if rank[place] < minimum:
            reasons.append(f"one of the last {minimum}, which always stay")
        lapsed = () if reasons else _lapsed(point, rules)
        verdicts.append(Verdict(point.point_id, tuple(reasons), lapsed))
    return verdicts


def locked_reason(until: datetime) -> str:
    """Say that a vault keeps a point until then."""
    return f"locked by the vault until {until:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class Future:
    """What becomes of points if no other is made."""

    staying: int
    """How many no passing of time lets go: held ones, and the newest that the rules count."""
    gone_on: date | None
    """The first day on which none of the others is there any longer; None if there are none."""


def foresee(
    points: Sequence[PointFacts], rules: RetentionRules, zone: Callable[[datetime], datetime]
) -> Future:
    """Tell when points go that no new ones follow, with no minimum that always stays.

    Args:
        points: All points of one job that are still promised.
        rules: The job's.
        zone: Returns a moment in the time zone whose days count.
    """
    staying = 0
    gone_on: date | None = None
    for point, newer in zip(points, _ranks(points), strict=True):
        if point.held or (rules.keep_last is not None and newer < rules.keep_last):
            staying += 1
            continue
        ends = [end for _, end in point.flagged.ends(rules)] if point.flagged else []
        if point.locked_until is not None:
            ends.append(zone(point.locked_until).date())
        if rules.keep_days is not None:
            ends.append(zone(point.taken_at + timedelta(days=rules.keep_days)).date())
        gone_on = max([*ends, *([gone_on] if gone_on else [])], default=None)
    return Future(staying, gone_on)


def _lapsed(point: PointFacts, rules: RetentionRules) -> tuple[str, ...]:
    """Return how a point stands to the rules when none of them keeps it."""
    lapsed: list[str] = []
    if rules.keep_last is not None:
        lapsed.append(f"not one of the newest {rules.keep_last}")
    if rules.keep_days is not None:
        lapsed.append(f"not younger than {rules.keep_days} days")
    if point.flagged is not None:
        lapsed += [f"was {flag} until {end}" for flag, end in point.flagged.ends(rules)]
    return tuple(lapsed)


def _ranks(points: Sequence[PointFacts], counts: Sequence[bool] | None = None) -> list[int]:
    """Return for each point how many of its source are newer; of equals the later counts newer.

    Args:
        points: The points.
        counts: Which of them are counted; all by default.
    """
    rank = [0] * len(points)
    seen: dict[bytes, int] = {}
    for place in sorted(range(len(points)), key=lambda at: (points[at].taken_at, at), reverse=True):
        source = points[place].source_id
        rank[place] = seen.get(source, 0)
        seen[source] = rank[place] + (counts is None or counts[place])
    return rank
