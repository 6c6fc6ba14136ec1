from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from strongroom.model.session import (
    SessionCounters,
    SessionError,
    SessionRecord,
    SessionState,
)

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def running() -> SessionRecord:
    return SessionRecord(
        session_id=bytes(16), job_id=bytes(16), job="nightly",
        state=SessionState.RUNNING, started_at=NOON,
    )  # fmt: skip


@pytest.mark.parametrize(("first", "second"), list(product(SessionState, SessionState)))
def test_a_running_session_may_end_and_an_ended_one_stays_so(
    first: SessionState, second: SessionState
) -> None:
    allowed = first is SessionState.RUNNING and second is not SessionState.RUNNING
    assert first.may_become(second) is allowed


def test_a_session_ends_once() -> None:
    done = running().finish(
        SessionState.SUCCESS,
        NOON + timedelta(seconds=3),
        counters=SessionCounters(read_bytes=9),
        points=(b"p" * 16,),
    )
    assert (done.state, done.counters.read_bytes, done.points) == ("success", 9, (b"p" * 16,))
    with pytest.raises(ValueError, match="cannot become"):
        done.finish(SessionState.FAILED, NOON)


def test_a_failed_session_says_why_and_has_no_points() -> None:
    error = SessionError("storage-full", "no room", "free some")
    failed = running().finish(SessionState.FAILED, NOON, error=error)
    assert failed.error == error
    with pytest.raises(ValueError, match="no points"):
        running().finish(SessionState.FAILED, NOON, points=(b"p" * 16,))


def test_only_an_end_has_a_time() -> None:
    with pytest.raises(ValueError, match="has an end"):
        SessionRecord(
            session_id=bytes(16), job_id=bytes(16), job="j", state=SessionState.SUCCESS,
            started_at=NOON,
        )  # fmt: skip
    with pytest.raises(ValueError, match="time zone"):
        SessionRecord(
            session_id=bytes(16), job_id=bytes(16), job="j", state=SessionState.RUNNING,
            started_at=NOON.replace(tzinfo=None),
        )  # fmt: skip


def test_success_and_warning_made_points_and_nothing_else_did() -> None:
    made = {state for state in SessionState if state.made_points}
    assert made == {SessionState.SUCCESS, SessionState.WARNING}
