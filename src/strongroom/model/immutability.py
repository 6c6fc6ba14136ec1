"""Until when a vault keeps its objects from being removed, and when that has to be extended.

The promise: no object is removed before the newest point that needs it is `days` days old. An
old pack that today's point uses again needs a new date today. To give every such object one with
every session would cost as many calls as there are objects, so dates are given in batches:

    written at t                       locked until t + days + batch_days
    all that the newest point needs    locked again once within batch_days

Everything that a session at s uses was written or locked again not longer than `batch_days`
before, so it is locked until s + days at the least, and one date for a whole chain tells when the
next batch is due. What is not used any more keeps the date it had. The price: a removed object
takes up room for at most `batch_days` longer than promised.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from strongroom.errors import InvalidInputError

MOST_DAYS: Final = 9999
DEFAULT_BATCH_DAYS: Final = 10
MOST_BATCH_DAYS: Final = 365


@dataclass(frozen=True, slots=True)
class Immutability:
    """How long a vault keeps what it holds."""

    days: int
    """No object goes before the newest point that needs it is so old."""
    batch_days: int = DEFAULT_BATCH_DAYS
    """Locks last so much longer, and are extended once in that time; 0 extends every session."""

    def __post_init__(self) -> None:
        if not 1 <= self.days <= MOST_DAYS:
            raise InvalidInputError(
                f"a vault cannot keep objects for {self.days} days",
                hint=f"--immutable-days takes 1 to {MOST_DAYS}",
            )
        if not 0 <= self.batch_days <= MOST_BATCH_DAYS:
            raise InvalidInputError(
                f"locks cannot be extended every {self.batch_days} days",
                hint=f"--batch-days takes 0 to {MOST_BATCH_DAYS}",
            )

    @property
    def lock_for(self) -> timedelta:
        """How long an object is locked when it is written, or locked again."""
        return timedelta(days=self.days + self.batch_days)

    def kept_until(self, taken_at: datetime) -> datetime:
        """Return until when a point, and all that it needs, cannot be given up."""
        return taken_at + timedelta(days=self.days)

    def is_due(self, locked_until: datetime | None, newest_point_at: datetime) -> bool:
        """Tell whether locks have to be extended.

        Args:
            locked_until: Until when all that the newest point needs is locked; None if nobody
                knows.
            newest_point_at: When that point was taken.
        """
        return locked_until is None or locked_until < self.kept_until(newest_point_at)

    def is_weaker_than(self, other: Immutability | None) -> bool:
        """Tell whether something could go sooner than under `other`."""
        return other is not None and self.days < other.days


def extending_calls(objects: int, days: int, batch_days: int) -> int:
    """Return how many calls extending costs where each object takes one.

    Writing locks at no extra call, so this is all that a vault costs beside its backups.

    Args:
        objects: What the newest point needs: its packs, nearly.
        days: For how long, with a session at least once a day.
        batch_days: As in `Immutability`.
    """
    return objects * (days // max(batch_days, 1))
