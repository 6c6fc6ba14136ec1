from __future__ import annotations

from datetime import timedelta

from strongroom.catalog import damage, sessions
from strongroom.control import clock_guard, config_backup, recovery, status
from strongroom.crypto import random
from strongroom.model.session import SessionError, SessionRecord, SessionState


def ran(shop, state: SessionState, name: str = "nightly", warnings: tuple[str, ...] = ()) -> None:
    """Record a session that began now and, unless it runs, ended at once."""
    now = shop.clock.now()
    record = SessionRecord(
        session_id=random.token(16),
        job_id=shop.the_job(name).job_id,
        job=name,
        state=SessionState.RUNNING,
        started_at=now,
    )
    if state is not SessionState.RUNNING:
        error = None if state.made_points else SessionError("storage-full", "no room is left")
        record = record.finish(state, now, warnings=warnings, error=error)
    sessions.insert(shop.ctx.database, record)
    shop.clock.advance(timedelta(hours=1))


def the_status(shop, hours: int | None = None):
    report = status.report(shop.ctx, timedelta(hours=hours) if hours else None)
    (job,) = report.jobs
    assert report.ok == job.ok
    return job


def test_with_nothing_set_up_all_is_well_and_nothing_is_made(shop) -> None:
    report = status.report(shop.ctx)
    assert (report.ok, report.jobs) == (True, ())
    assert not shop.ctx.settings.home.exists()


def test_a_job_that_never_ran_is_not_well(shop) -> None:
    shop.repository()
    shop.job()
    stands = the_status(shop)
    assert (stands.ok, stands.overdue) == (False, True)
    assert "no restore point yet" in str(stands.message)


def test_a_success_is_well_until_it_is_too_old(shop) -> None:
    shop.repository()
    shop.job()
    ran(shop, SessionState.SUCCESS)
    assert the_status(shop).ok
    shop.clock.advance(timedelta(hours=25, microseconds=1))
    stands = the_status(shop)
    assert stands.overdue
    assert the_status(shop, hours=48).ok
    assert stands.message == "the newest restore point is older than 26 h"


def test_a_job_that_says_how_often_it_runs_needs_no_age(shop) -> None:
    shop.repository()
    shop.job(expect_every_hours=2)
    ran(shop, SessionState.SUCCESS)
    assert the_status(shop).ok
    shop.clock.advance(timedelta(hours=2))
    assert the_status(shop).overdue
    assert the_status(shop, hours=100).ok


def test_a_warning_is_well_and_shows_its_first(shop) -> None:
    shop.repository()
    shop.job()
    ran(shop, SessionState.WARNING, warnings=("/srv/x could not be read", "more"))
    stands = the_status(shop)
    assert (stands.ok, stands.warnings, stands.message) == (True, 2, "/srv/x could not be read")


def test_a_failure_is_not_well_whatever_came_before(shop) -> None:
    shop.repository()
    shop.job()
    ran(shop, SessionState.SUCCESS)
    ran(shop, SessionState.FAILED)
    stands = the_status(shop)
    assert (stands.ok, stands.state, stands.message) == (False, "failed", "no room is left")
    assert stands.last_success_at is not None


def test_a_running_session_does_not_hide_the_failure_before_it(shop) -> None:
    shop.repository()
    shop.job()
    ran(shop, SessionState.FAILED)
    ran(shop, SessionState.RUNNING)
    assert not the_status(shop).ok
    assert the_status(shop).state == "running"


def test_one_job_that_is_not_well_is_enough(shop) -> None:
    shop.repository()
    shop.job("a")
    shop.job("b")
    ran(shop, SessionState.SUCCESS, "a")
    ran(shop, SessionState.CANCELLED, "b")
    report = status.report(shop.ctx)
    assert not report.ok
    assert [(job.job, job.ok) for job in report.jobs] == [("a", True), ("b", False)]


def test_encrypted_jobs_without_a_recovery_key_are_told_of(shop) -> None:
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    assert any("recovery create" in notice for notice in status.report(shop.ctx).notices)
    assert not the_status(shop).protected
    recovery.create(shop.ctx, shop.folder / "kit")
    assert not any("recovery create" in one for one in status.report(shop.ctx).notices)
    assert the_status(shop).protected


def test_a_configuration_that_is_not_backed_up_is_told_of(shop) -> None:
    shop.repository()
    shop.password()
    shop.job(encrypt="password:office")
    assert any("config set" in notice for notice in status.report(shop.ctx).notices)
    config_backup.set_plan(shop.ctx, "main", "password:office", None)
    assert not any("configuration" in notice for notice in status.report(shop.ctx).notices)
    shop.password("lab")
    assert any("has changed" in notice for notice in status.report(shop.ctx).notices)


def test_all_is_not_well_while_removals_wait_for_the_clock(shop) -> None:
    shop.repository()
    assert clock_guard.removals_blocked(shop.ctx, strict=False) is None
    assert status.report(shop.ctx).ok
    shop.clock.jump(timedelta(days=30))
    assert not status.report(shop.ctx).ok


def test_all_is_not_well_while_something_is_known_to_be_damaged(shop) -> None:
    shop.repository()
    shop.job()
    ran(shop, SessionState.SUCCESS)
    shop.session()
    assert status.report(shop.ctx).ok
    damage.add(shop.ctx.database, shop.chain().chain_id, [(1, 0)], shop.clock.now())
    assert "damaged" in status.report(shop.ctx).notices[-1]
    assert not status.report(shop.ctx).ok
