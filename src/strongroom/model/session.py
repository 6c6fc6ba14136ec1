"""A session: one run of a job, its states, and which may follow which."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class SessionState(StrEnum):
    """Where a session stands; every state but the first is an end."""

    RUNNING = "running"
    SUCCESS = "success"
    WARNING = "warning"
    """Points were made, and something needs a look: a file that could not be read, say."""
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def made_points(self) -> bool:
        return self in (SessionState.SUCCESS, SessionState.WARNING)

    def may_become(self, next_state: SessionState) -> bool:
        """Tell whether a session in this state may go over to `next_state`."""
        return next_state in _FOLLOWERS[self]


_FOLLOWERS: Final[Mapping[SessionState, frozenset[SessionState]]] = {
    SessionState.RUNNING: frozenset(SessionState) - {SessionState.RUNNING},
    SessionState.SUCCESS: frozenset(),
    SessionState.WARNING: frozenset(),
    SessionState.FAILED: frozenset(),
    SessionState.CANCELLED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class SessionError:
    """Why a session failed, in the words that the doors show."""

    code: str
    message: str
    hint: str | None = None
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionCounters:
    """What a session moved."""

    read_bytes: int = 0
    changed_bytes: int = 0
    stored_bytes: int = 0
    files: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """One session as the catalog remembers it."""

    session_id: bytes
    job_id: bytes
    job: str
    """The job's name when it ran; it may be called otherwise since."""
    state: SessionState
    started_at: datetime
    finished_at: datetime | None = None
    chain_id: bytes | None = None
    kind: str | None = None
    """`full` or `incremental`; unknown until the session decided."""
    reason: str = ""
    """Why it is a full."""
    error: SessionError | None = None
    warnings: tuple[str, ...] = ()
    counters: SessionCounters = SessionCounters()
    points: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.started_at.tzinfo is None:
            raise ValueError("started_at needs a time zone")
        if (self.finished_at is None) != (self.state is SessionState.RUNNING):
            raise ValueError("a session has an end exactly when it is not running")
        if self.points and not self.state.made_points:
            raise ValueError(f"a session that is {self.state} has no points")

    def finish(
        self,
        state: SessionState,
        finished_at: datetime,
        *,
        error: SessionError | None = None,
        warnings: tuple[str, ...] = (),
        counters: SessionCounters | None = None,
        points: tuple[bytes, ...] = (),
    ) -> SessionRecord:
        """Return the record of this session at its end.

        Raises:
            ValueError: it has ended before.
        """
        if not self.state.may_become(state):
            raise ValueError(f"a session that is {self.state} cannot become {state}")
        return replace(
            self,
            state=state,
            finished_at=finished_at,
            error=error,
            warnings=warnings,
            counters=counters if counters is not None else self.counters,
            points=points,
        )
