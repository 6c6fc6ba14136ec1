"""What a job's next session is: an increment in its chain, or a full in a new one.

The mission's rules 6 to 8 as one pure function:

6. Encryption turned on: a full by itself, in a new chain; what was there stays as it was.
7. Other recipients (a changed password, a recovery key added): an ordinary increment under a
   new chain key that links to the old. Where the link cannot be made, because nothing at hand
   opens the old chain key, one chain would need two secrets, so a new chain starts instead.
8. Encryption turned off: a full by itself, in a new chain.

Who the recipients are is `control.keys`' to say; making chain, key and link is the
repository layer's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias


class FullReason(StrEnum):
    """Why a session starts a new chain; the values are for scripts and stay."""

    FIRST = "first"
    ENCRYPTION_ON = "encryption-on"
    ENCRYPTION_OFF = "encryption-off"
    MOVED = "repository-changed"
    DETACHED = "detached"
    ACTIVE_FULL = "active-full"
    DAMAGED = "damaged"
    KEYS_LOST = "keys-lost"
    LINK_MISSING = "key-link-missing"
    DUE_BY_POINTS = "due-by-points"
    DUE_BY_DAYS = "due-by-days"


_TEXTS = {
    FullReason.FIRST: "the job's first session",
    FullReason.ENCRYPTION_ON: "encryption was turned on",
    FullReason.ENCRYPTION_OFF: "encryption was turned off",
    FullReason.MOVED: "the job writes to another repository",
    FullReason.DETACHED: "the chain before was detached",
    FullReason.ACTIVE_FULL: "a full was asked for",
    FullReason.DAMAGED: "the chain before is damaged",
    FullReason.KEYS_LOST: "the keys to compare with the chain before are not at hand",
    FullReason.LINK_MISSING: (
        "the recipients changed and nothing at hand opens the key before, so no link to it "
        "could be made"
    ),
    FullReason.DUE_BY_POINTS: "a full is due every {} points",
    FullReason.DUE_BY_DAYS: "a full is due every {} days",
}


@dataclass(frozen=True, slots=True)
class PresentChain:
    """The chain that the job's newest session wrote to."""

    sealed: bool
    recipient_ids: frozenset[bytes]
    """Whom its newest chain key is sealed for; empty if it is plain."""
    points: int
    """Restore points of the source that has most of them here, removed ones included."""
    started_at: datetime

    def __post_init__(self) -> None:
        if self.sealed != bool(self.recipient_ids):
            raise ValueError("a chain is sealed exactly when it has recipients")


@dataclass(frozen=True, slots=True)
class WantedEncryption:
    """What the job asks for now."""

    sealed: bool
    recipient_ids: frozenset[bytes]

    def __post_init__(self) -> None:
        if self.sealed != bool(self.recipient_ids):
            raise ValueError("encryption is for somebody, and its absence for nobody")


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What else bears on the decision."""

    now: datetime
    moved: bool = False
    """The present chain lies in another repository than the job's."""
    detached: bool = False
    """The operator split the chain off."""
    full_requested: bool = False
    damaged: bool = False
    """Of the present chain more is damaged than blocks: nothing can be built on it."""
    full_every_points: int | None = None
    full_every_days: int | None = None
    keys_at_hand: bool = True
    """The chain's dedup key and the metakeys of its newest state: what an increment compares by."""
    link_possible: bool = True
    """Something at hand opens the present chain key, so that a link to it can be made."""


@dataclass(frozen=True, slots=True)
class Continue:
    """An increment in the present chain."""

    rekey: bool
    """Under a new chain key for other recipients, with a link to the present one."""


@dataclass(frozen=True, slots=True)
class StartChain:
    """A full in a new chain."""

    reason: FullReason
    text: str
    """For people: recorded with the session and shown."""


Step: TypeAlias = Continue | StartChain


def next_step(
    present: PresentChain | None, wanted: WantedEncryption, circumstances: Circumstances
) -> Step:
    """Decide what the next session is.

    Where several reasons for a full hold, the one that says most about who can read it wins:
    encryption before the operator's wish, a wish before damage and lost keys, those before the
    calendar.
    """
    if present is None:
        return _start(FullReason.FIRST)
    if wanted.sealed != present.sealed:
        return _start(FullReason.ENCRYPTION_ON if wanted.sealed else FullReason.ENCRYPTION_OFF)
    if circumstances.moved:
        return _start(FullReason.MOVED)
    if circumstances.detached:
        return _start(FullReason.DETACHED)
    if circumstances.full_requested:
        return _start(FullReason.ACTIVE_FULL)
    if circumstances.damaged:
        return _start(FullReason.DAMAGED)
    if present.sealed and not circumstances.keys_at_hand:
        return _start(FullReason.KEYS_LOST)
    rekey = wanted.recipient_ids != present.recipient_ids
    if rekey and not circumstances.link_possible:
        return _start(FullReason.LINK_MISSING)
    every_points = circumstances.full_every_points
    if every_points is not None and present.points >= every_points:
        return _start(FullReason.DUE_BY_POINTS, every_points)
    every_days = circumstances.full_every_days
    if every_days is not None and circumstances.now - present.started_at >= timedelta(every_days):
        return _start(FullReason.DUE_BY_DAYS, every_days)
    return Continue(rekey)


def _start(reason: FullReason, number: int = 0) -> StartChain:
    return StartChain(reason, _TEXTS[reason].format(number))
