"""What a session tells: of a server that was set back, in the log, and of scripts that fail."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from strongroom.control import jobs, repositories, sessions
from strongroom.control.sessions import SessionResult
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress

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
        patched.setattr(sessions._Session, "_record_success", lambda *_: pytest.exit("killed"))
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
