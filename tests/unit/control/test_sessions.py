"""What a session tells: of a server that was set back, in the log, and of scripts that fail."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from strongroom import logs
from strongroom.catalog import sessions as session_rows
from strongroom.control import jobs, repositories, sessions
from strongroom.control.sessions import SessionResult
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.errors import LockedError, SessionFailedError
from strongroom.repository import layout, locks

BEHIND = "behind its own history"


@pytest.fixture(params=["none", "password:office"])
def job_of_files(shop, tmp_path: Path, request):
    """An installation whose job reads a folder."""
    (tmp_path / "tree").mkdir()
    shop.repository()
    shop.password()
    shop.job(encrypt=request.param, sources=(f"files:{tmp_path / 'tree'}",))
    return shop


def run(shop, *, full: bool = False) -> SessionResult:
    return sessions.run(
        shop.ctx, "nightly", full=full, progress=NullProgress(), cancel=Cancellation()
    )


def keep(shop, what: str) -> Path:
    shop.ctx.close()
    kept = shop.folder / "kept"
    if what == "home":
        shutil.copytree(shop.ctx.settings.home, kept)
    else:
        kept.mkdir()
        shutil.copy(shop.ctx.settings.catalog_file, kept)
    return kept


def put_back(shop, kept: Path) -> None:
    shop.ctx.close()
    shutil.copytree(kept, shop.ctx.settings.home, dirs_exist_ok=True)


@pytest.mark.parametrize("what", ["home", "catalog"])
@pytest.mark.parametrize("full", [False, True], ids=["same chain", "another chain"])
def test_a_server_set_back_is_told_of_once(job_of_files, what: str, full: bool) -> None:
    run(job_of_files)
    kept = keep(job_of_files, what)
    forgotten = run(job_of_files, full=full).session
    put_back(job_of_files, kept)

    found = run(job_of_files)

    assert found.state == "warning"
    (told,) = [one for one in found.warnings if BEHIND in one]
    assert forgotten[:12] in told
    assert run(job_of_files).warnings == ()


def test_a_rescan_takes_in_what_was_forgotten_and_leaves_nothing_to_tell(job_of_files) -> None:
    run(job_of_files)
    kept = keep(job_of_files, "catalog")
    run(job_of_files)
    put_back(job_of_files, kept)
    repositories.rescan(job_of_files.ctx, "main")

    assert run(job_of_files).warnings == ()


def test_a_session_that_died_after_it_published_does_not_set_the_server_back(
    job_of_files, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(job_of_files)
    with monkeypatch.context() as patched:
        patched.setattr(sessions.SessionRun, "_record_success", lambda *_: pytest.exit("killed"))
        with pytest.raises(pytest.exit.Exception):
            run(job_of_files)

    assert run(job_of_files).warnings == ()


def test_a_job_that_wrote_elsewhere_for_a_while_is_not_behind(job_of_files) -> None:
    job_of_files.repository("other")
    first = run(job_of_files)
    jobs.edit(job_of_files.ctx, "nightly", jobs.JobChanges(repository="other"))
    assert run(job_of_files).kind == "full"
    jobs.edit(job_of_files.ctx, "nightly", jobs.JobChanges(repository="main"))

    back = run(job_of_files)

    assert (first.kind, back.kind, back.warnings) == ("full", "incremental", ())


def test_a_sealed_job_that_became_plain_elsewhere_comes_back_with_a_new_chain(
    job_of_files,
) -> None:
    job_of_files.repository("other")
    run(job_of_files)
    plain = jobs.JobChanges(repository="other", encrypt="none")
    jobs.edit(job_of_files.ctx, "nightly", plain, yes_weaken=True)
    run(job_of_files)
    jobs.edit(job_of_files.ctx, "nightly", jobs.JobChanges(repository="main"))

    assert run(job_of_files).warnings == ()


# --- the log and scripts ---------------------------------------------------------------------


def logged(shop, act) -> list[dict[str, object]]:
    """Return what `act` writes to the log."""
    path = shop.folder / "log"
    handler = logs.to_file(path, "info")
    try:
        act()
    finally:
        logs.stop(handler)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_log_tells_how_each_session_began_and_ended(job_of_files) -> None:
    made: list[SessionResult] = []
    begun, *_, ended = logged(job_of_files, lambda: made.append(run(job_of_files)))

    (result,) = made
    assert (begun["event"], begun["session"]) == ("session.started", result.session)
    told = {
        "event": "session.finished",
        "level": "info",
        "job": "nightly",
        "session": result.session,
        "state": "success",
        "kind": "full",
        "seconds": result.seconds,
        "stored_bytes": result.stored_bytes,
        "warnings": 0,
    }
    assert {name: ended[name] for name in told} == told


def test_a_failing_failure_command_is_told_and_logged_beside_the_error(job_of_files) -> None:
    told: list[str] = []
    job_of_files.ctx.warn = told.append
    changes = jobs.JobChanges(pre_script="exit 4", on_failure="echo private; exit 5")
    jobs.edit(job_of_files.ctx, "nightly", changes)

    def fail() -> None:
        with pytest.raises(SessionFailedError, match="pre script"):
            run(job_of_files)

    _, script, ended = logged(job_of_files, fail)

    assert told == ["the failure command ended with status 5: private"]
    assert (script["event"], script["script"]) == ("script.failed", "failure command")
    assert "private" not in json.dumps(script)
    assert (ended["event"], ended["state"]) == ("session.finished", "failed")
    assert (ended["level"], ended["code"]) == ("error", "session-failed")
    newest = session_rows.newest(job_of_files.ctx.database, job_of_files.the_job().job_id)
    assert newest is not None
    assert newest.warnings == tuple(told)


# --- waiting ---------------------------------------------------------------------------------


def test_a_session_waits_for_a_prune_and_for_no_other_session(
    job_of_files, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(job_of_files)
    ctx = job_of_files.ctx
    [storage] = job_of_files.storages.values()
    name = layout.job_lock(bytes.fromhex(jobs.show(ctx, "nightly").job_id))
    pruning = locks.acquire(storage, name, "ab" * 16, ctx.clock, command=locks.PRUNING)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            pruning.release()

    monkeypatch.setattr(ctx.clock, "sleep", sleep)
    assert run(job_of_files).state == "success"
    assert slept == [1, 1, 1]
    assert any("waits for 'repository prune'" in line for line in job_of_files.said)

    with (
        locks.acquire(storage, name, "cd" * 16, ctx.clock, command="job run"),
        pytest.raises(LockedError),
    ):
        run(job_of_files)
    assert slept == [1, 1, 1]
