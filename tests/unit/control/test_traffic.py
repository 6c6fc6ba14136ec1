"""Which limit holds for what: a repository's, a job's, a command's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from strongroom.control import care, jobs, repositories, restores, sessions
from strongroom.control.access import Access
from strongroom.control.sessions import SessionResult
from strongroom.crypto import random
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.engine.restore import RestoreRequest
from strongroom.errors import CancelledError, InvalidInputError

if TYPE_CHECKING:
    from strongroom.repository.scrub_report import ScrubReport

SIZE = 1_000_000


@pytest.fixture
def office(shop):
    """A job that stores a million bytes that do not compress."""
    (shop.folder / "tree").mkdir()
    shop.repository()
    shop.job(sources=(f"files:{shop.folder / 'tree'}",))
    return shop


def run(shop) -> SessionResult:
    (shop.folder / "tree" / "file").write_bytes(random.token(SIZE))
    return sessions.run(
        shop.ctx, "nightly", full=False, progress=NullProgress(), cancel=Cancellation()
    )


def scrub(shop, limit: str | None = None) -> ScrubReport:
    return care.scrub(shop.ctx, "main", limit=limit, progress=NullProgress(), cancel=Cancellation())


def restore(shop, limit: str | None = None) -> None:
    which, target = "nightly@latest", shop.folder / f"out-{random.token(4).hex()}"
    restores.restore(
        shop.ctx,
        Access(),
        which,
        RestoreRequest(target=target),
        progress=NullProgress(),
        cancel=Cancellation(),
        limit=limit,
    )


def seconds(shop, work) -> float:
    begun = shop.clock.monotonic()
    work()
    return shop.clock.monotonic() - begun


def test_a_repository_limits_sessions_restores_and_care(office) -> None:
    repositories.edit(office.ctx, "main", limit="100kB/s")

    for work in (run, restore, scrub):
        assert 10 < seconds(office, lambda work=work: work(office)) < 12, work


def test_a_session_names_the_limit_that_it_waited_for(office) -> None:
    assert run(office).bottleneck != "limit"

    repositories.edit(office.ctx, "main", limit="100kB/s")
    # The turned clock takes no time to wait; that a stage waits is measured in real time.
    wait_slowly(office)
    assert run(office).bottleneck == "limit"


def wait_slowly(shop) -> None:
    sleep = shop.ctx.clock.sleep

    def sleeping(of: float) -> None:
        time.sleep(0.01)
        sleep(of)

    shop.ctx.clock.sleep = sleeping


def test_the_lower_of_a_jobs_and_its_repositorys_limit_holds(office) -> None:
    # Who waits for the outer limit must not run the clock on before another comes to the inner one.
    wait_slowly(office)
    repositories.edit(office.ctx, "main", limit="100kB/s")
    jobs.edit(office.ctx, "nightly", jobs.JobChanges(limit="50 kB/s"))
    assert 20 < seconds(office, lambda: run(office)) < 24

    jobs.edit(office.ctx, "nightly", jobs.JobChanges(limit="1MB/s"))
    assert 10 < seconds(office, lambda: run(office)) < 12

    jobs.edit(office.ctx, "nightly", jobs.JobChanges(limit="none"))
    assert office.the_job().limit is None


def test_a_jobs_limit_is_no_business_of_what_is_read_of_it(office) -> None:
    jobs.edit(office.ctx, "nightly", jobs.JobChanges(limit="100kB/s"))
    run(office)

    assert seconds(office, lambda: restore(office)) == 0


def test_a_commands_limit_stands_in_for_the_repositorys(office) -> None:
    run(office)
    repositories.edit(office.ctx, "main", limit="100kB/s")

    assert 2 < seconds(office, lambda: scrub(office, "500kB/s")) < 3
    assert seconds(office, lambda: scrub(office, "none")) == 0
    assert seconds(office, lambda: restore(office, "none")) == 0


def test_what_is_stored_under_a_location_is_limited_as_under_the_name(office) -> None:
    repositories.edit(office.ctx, "main", limit="100kB/s")
    run(office)

    def by_location() -> None:
        care.scrub(office.ctx, "/main", progress=NullProgress(), cancel=Cancellation())

    assert seconds(office, by_location) > 10


def test_a_session_that_waits_can_be_stopped(office) -> None:
    repositories.edit(office.ctx, "main", limit="10kB/s")
    cancel = Cancellation()
    sleep = office.clock.sleep

    def sleep_and_stop(of: float) -> None:
        sleep(of)
        if office.clock.monotonic() > 20:
            cancel.cancel()

    office.clock.sleep = sleep_and_stop
    (office.folder / "tree" / "file").write_bytes(random.token(SIZE))
    with pytest.raises(CancelledError):
        sessions.run(office.ctx, "nightly", full=False, progress=NullProgress(), cancel=cancel)
    assert office.clock.monotonic() < 25


def test_a_limit_is_shown_and_taken_back(shop) -> None:
    repositories.add(shop.ctx, "main", "/main", limit="10 MB/s mon-fri 8-18;50MB/s")
    assert repositories.list_all(shop.ctx)[0].limit == "10MB/s mon-fri 8:00-18:00; 50MB/s"
    assert repositories.show(shop.ctx, "main").limit == "10MB/s mon-fri 8:00-18:00; 50MB/s"

    edited = repositories.edit(shop.ctx, "main", limit="none")
    assert (edited.changed, edited.repository.limit) == (True, None)
    assert not repositories.edit(shop.ctx, "main", limit="none").changed


@pytest.mark.parametrize("limit", ["fast", "10M", None])
def test_what_changes_nothing_or_is_no_limit_is_refused(shop, limit: str | None) -> None:
    shop.repository()

    with pytest.raises(InvalidInputError):
        repositories.edit(shop.ctx, "main", limit=limit)


def test_adding_what_is_known_does_not_change_its_limit(shop) -> None:
    shop.repository()
    shop.storages["/moved"] = shop.storages["/main"]

    with pytest.raises(InvalidInputError, match="only moves it"):
        repositories.add(shop.ctx, "main", "/moved", limit="10MB/s")
