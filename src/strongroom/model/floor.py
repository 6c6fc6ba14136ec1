"""A keeper's floor: what stays of a copy whatever its signer lets go.

A server that was broken into can sign that one point is enough. A machine that only keeps copies
believes the signature, and yet removes nothing below its floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Floor:
    """What is never removed."""

    points: int = 0
    """The newest so many points of every source."""
    days: int = 0
    """All points of the last so many days."""

    @property
    def nothing(self) -> bool:
        """Whether there is no floor."""
        return not (self.points or self.days)


@dataclass(frozen=True, slots=True)
class FloorChange:
    """What an operator says of a floor; what is None stays as it was."""

    points: int | None = None
    days: int | None = None

    def of(self, floor: Floor) -> Floor:
        """Return what the floor is then."""
        return Floor(
            floor.points if self.points is None else self.points,
            floor.days if self.days is None else self.days,
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """A point that is there, given up or not."""

    point_id: bytes
    source_id: bytes
    made_at: datetime


def below(floor: Floor, stored: Iterable[Stored], now: datetime) -> frozenset[bytes]:
    """Return the points that the floor keeps.

    Args:
        floor: The keeper's.
        stored: All points of one job that are there, of all its chains.
        now: The keeper's time. A moment beyond it is claimed, and protects its point as well.
    """
    kept: set[bytes] = set()
    counts: dict[bytes, int] = {}
    for one in sorted(stored, key=lambda one: one.made_at, reverse=True):
        count = counts[one.source_id] = counts.get(one.source_id, 0) + 1
        if count <= floor.points or one.made_at > now - timedelta(days=floor.days):
            kept.add(one.point_id)
    return frozenset(kept)
