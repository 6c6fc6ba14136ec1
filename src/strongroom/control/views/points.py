"""What is told of restore points, and of what retention does to them."""

from __future__ import annotations

from datetime import date, datetime

from strongroom.control.views.base import View
from strongroom.control.views.recipients import NeededKey


class PointFlag(View, frozen=True, kw_only=True):
    """Why a point is kept for long."""

    kind: str
    """`weekly`, `monthly` or `yearly`."""
    until: date
    """The first day on which it is no longer kept for that, by the rules of today."""


class PointRow(View, frozen=True, kw_only=True):
    """One restore point in a list."""

    id: str
    job: str | None
    """None while locked."""
    source: str | None
    kind: str
    """`full`, `incremental` or `synthetic-full`."""
    taken_at: datetime
    encrypted: bool
    size_bytes: int | None
    stored_bytes: int | None
    held: bool
    locked: bool
    chain: str
    files: int | None = None
    needs: tuple[str, ...] = ()
    """Ids of the `needed` keys without which its contents do not open."""
    copies: tuple[str, ...] = ()
    """Names of the repositories that have a copy of it, or their places."""
    given_up: bool = False
    """Retention let it go, and it is still there."""
    flags: tuple[PointFlag, ...] = ()
    """Of points that this installation made and keeps for long; no other knows them."""
    damaged: bool = False
    """It uses blocks that are known to be damaged, as a scrub or a session found them."""


class JudgedPoint(View, frozen=True, kw_only=True):
    """What retention says of one point."""

    id: str
    source: str | None
    """None of a source that the job no longer has."""
    taken_at: datetime
    stays: bool
    reasons: tuple[str, ...]
    """Why it stays; or, if it goes, each rule that no longer keeps it."""
    held: bool
    flags: tuple[PointFlag, ...] = ()


class RetentionPlan(View, frozen=True, kw_only=True):
    """What retention says of every point of a job, by its rules or by others."""

    job: str
    keep_last: int | None
    keep_days: int | None
    keep_weekly: int | None
    keep_monthly: int | None
    keep_yearly: int | None
    weekly_on: str
    """The day with which a week of points begins: its first point is kept."""
    monthly_on: str
    """The week with which a month of points begins."""
    yearly_in: str
    """The month with which a year of points begins."""
    points: tuple[JudgedPoint, ...]
    """Oldest first; those in the job's repository."""


class RemovedPoint(View, frozen=True, kw_only=True):
    """A point that was given up, or would be."""

    id: str
    job: str | None
    source: str | None
    taken_at: datetime
    reason: str


class Removed(View, frozen=True, kw_only=True):
    """What a removal took away, or would have."""

    points: tuple[RemovedPoint, ...]
    done: bool
    """False after a dry run."""


class PointList(View, frozen=True, kw_only=True):
    """Restore points, and what is to be said of their repository."""

    points: tuple[PointRow, ...]
    """Oldest first."""
    warnings: tuple[str, ...] = ()
    needed: tuple[NeededKey, ...] = ()
    """What has to be opened beside what is at hand, so that all of them open."""
    complete: bool = True
    """False where a repository of the catalog did not answer and is left out."""


class PointDetailsView(View, frozen=True, kw_only=True):
    """Everything to say of one restore point."""

    point: PointRow
    repository: str
    machine: str | None
    reason: str | None
    """Why it is a full."""
    parent: str | None
    finished_at: datetime | None
    source_warnings: int | None
    signer: str
    entry: int
    """Number of the journal entry that published it."""
    next_due: datetime | None
    block_cipher: str
    key_exchange: str
    content_hash: str
    """What tells whether content is the same as before."""
    signatures: str
    password_kdf: tuple[str, ...]
    """Parameters of each password stanza: algorithm, memory, passes, lanes, salt."""
    recipients: tuple[str, ...]
    """Kinds and ids of all that open the chain key."""
    warnings: tuple[str, ...] = ()
