"""Whether a place can be a repository: its promises tried, all or those that cost little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.control import credentials
from strongroom.control.access import location_of
from strongroom.crypto import random
from strongroom.storage import promises

if TYPE_CHECKING:
    from strongroom.control.context import Context
    from strongroom.errors import PromiseBrokenError
    from strongroom.storage.base import Storage


@dataclass(frozen=True, slots=True)
class PlaceChecked:
    """What came of trying a place."""

    location: str
    promises: tuple[promises.Outcome, ...]
    error: PromiseBrokenError | None
    """Names what is broken."""

    @property
    def fields(self) -> dict[str, object]:
        return {
            "location": self.location,
            "ok": self.error is None,
            "promises": self.promises,
        }


def check(ctx: Context, where: str, *, credential: str | None = None) -> PlaceChecked:
    """Try every promise at a location or a repository of the catalog.

    Raises:
        NotFoundError: there is no such repository, bucket or credential.
        UnavailableError, RefusedError: the place does not answer, or forbids to write.
    """
    given = None if credential is None else credentials.named(ctx, credential)[1]
    storage = ctx.storage(location_of(ctx, where), credential=given)
    outcomes = tuple(promises.check(storage, _folder(), ctx.clock))
    return PlaceChecked(storage.location, outcomes, promises.broken(storage.location, outcomes))


def require(ctx: Context, storage: Storage) -> None:
    """Go on if a place keeps what costs little to try.

    Raises:
        PromiseBrokenError: it does not.
    """
    outcomes = []
    for outcome in promises.check(storage, _folder(), ctx.clock, thorough=False):
        outcomes.append(outcome)
        if not outcome.kept:
            break
    error = promises.broken(storage.location, outcomes)
    if error is not None:
        raise error


def _folder() -> str:
    return f"check-{random.token(8).hex()}"
