from __future__ import annotations

from datetime import timedelta

import pytest

from strongroom.catalog import sessions
from strongroom.control import history, jobs
from strongroom.errors import InvalidInputError, NotFoundError
from strongroom.model.session import SessionCounters, SessionError, SessionRecord, SessionState


def ran(shop, begins_with: str, job: str = "nightly", **ended: object) -> SessionRecord:
    """Remember a session that took a minute."""
    record = SessionRecord(
        session_id=bytes.fromhex(begins_with.ljust(32, "0")),
        job_id=shop.the_job(job).job_id,
        job=job,
        state=SessionState.RUNNING,
        started_at=shop.clock.now(),
    )
    shop.clock.advance(timedelta(minutes=1))
    if ended:
        state = SessionState(str(ended.pop("state")))
        record = record.finish(state, shop.clock.now(), **ended)  # type: ignore[arg-type]
    sessions.insert(shop.ctx.database, record)
    return record


@pytest.fixture
def two_jobs(shop):
    shop.repository()
    shop.job()
    shop.job("weekly")
    return shop


def listed(shop, job: str | None = None, last: int = 20) -> list[str]:
    return [view.id[:4] for view in history.list_sessions(shop.ctx, job, last)]


def test_the_newest_sessions_are_listed_oldest_first(two_jobs) -> None:
    for begins_with, job in (("aaaa", "nightly"), ("bbbb", "weekly"), ("cccc", "nightly")):
        ran(two_jobs, begins_with, job, state="success")
    assert listed(two_jobs) == ["aaaa", "bbbb", "cccc"]
    assert listed(two_jobs, last=2) == ["bbbb", "cccc"]
    assert listed(two_jobs, "nightly") == ["aaaa", "cccc"]
    assert listed(two_jobs, "nightly", 1) == ["cccc"]


def test_sessions_are_found_by_the_job_s_present_name_and_of_a_removed_job_by_its_last(
    two_jobs,
) -> None:
    ran(two_jobs, "aaaa", state="success")
    jobs.edit(two_jobs.ctx, "nightly", jobs.JobChanges(name="daily"))
    assert listed(two_jobs, "daily") == ["aaaa"]
    ran(two_jobs, "bbbb", "weekly", state="success")
    jobs.remove(two_jobs.ctx, "weekly", yes=True)
    assert listed(two_jobs, "weekly") == ["bbbb"]
    with pytest.raises(NotFoundError, match="no job monthly"):
        history.list_sessions(two_jobs.ctx, "monthly", 20)


def test_a_session_is_shown_as_it_ended(two_jobs) -> None:
    made = ran(
        two_jobs, "aaaa", state="warning", warnings=("/srv/x vanished",), points=(b"p" * 16,),
        counters=SessionCounters(1, 2, 3, 4, 5.5),
    )  # fmt: skip
    view = history.show(two_jobs.ctx, "AAAA")
    assert (view.id, view.job, view.state) == (made.session_id.hex(), "nightly", "warning")
    assert view.warnings == ("/srv/x vanished",)
    assert view.points == ((b"p" * 16).hex(),)
    assert (view.read_bytes, view.changed_bytes, view.stored_bytes) == (1, 2, 3)
    assert (view.files, view.seconds, view.error) == (4, 5.5, None)


def test_a_session_that_failed_says_why_and_how_long_it_tried(two_jobs) -> None:
    ran(two_jobs, "aaaa", state="failed", error=SessionError("storage-full", "full", "free space"))
    view = history.show(two_jobs.ctx, "aaaa")
    assert view.error is not None
    assert (view.error.code, view.error.message, view.error.hint) == (
        "storage-full", "full", "free space"
    )  # fmt: skip
    assert (view.seconds, view.points) == (60.0, ())


def test_a_session_that_runs_has_no_end(two_jobs) -> None:
    ran(two_jobs, "aaaa")
    view = history.show(two_jobs.ctx, "aaaa")
    assert (view.state, view.finished_at, view.seconds) == ("running", None, 0.0)


def test_a_session_is_named_by_a_prefix_that_no_other_shares(two_jobs) -> None:
    for begins_with in ("abcd1", "abcd2", "abc9"):
        ran(two_jobs, begins_with, state="success")
    assert history.show(two_jobs.ctx, "abcd2").id.startswith("abcd2")
    assert history.show(two_jobs.ctx, "abc90").id.startswith("abc9")
    with pytest.raises(InvalidInputError, match="abcd fits 2 sessions: abcd1") as caught:
        history.show(two_jobs.ctx, "abcd")
    assert len(caught.value.fields["sessions"]) == 2  # type: ignore[arg-type]
    with pytest.raises(NotFoundError):
        history.show(two_jobs.ctx, "abcd3")


@pytest.mark.parametrize("words", ["", "abc", "nightly", "0" * 33, "abcg"])
def test_what_can_be_no_session_is_refused(two_jobs, words: str) -> None:
    with pytest.raises(InvalidInputError, match="names no session"):
        history.show(two_jobs.ctx, words)
