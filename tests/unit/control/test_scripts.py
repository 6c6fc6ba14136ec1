from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from strongroom.control import scripts
from strongroom.errors import SessionFailedError
from strongroom.model.job import Job, NoEncryption, SourceSpec
from strongroom.model.session import SessionState

if TYPE_CHECKING:
    from pathlib import Path

SESSION = b"\xab" * 16
JOB = Job(
    name="nightly",
    job_id=bytes(16),
    repository="main",
    sources=(SourceSpec.parse("files:/", bytes(16)),),
    encryption=NoEncryption(),
)
TELL = 'echo "$STRONGROOM_JOB $STRONGROOM_SESSION $STRONGROOM_STATE $STRONGROOM_ERROR" > {}'


def test_a_job_without_scripts_runs_none() -> None:
    scripts.pre(JOB, SESSION)
    assert scripts.post(JOB, SESSION, SessionState.SUCCESS, None) == []
    assert scripts.on_failure(JOB, SESSION, SessionState.FAILED, "x") == []


def test_a_pre_script_is_told_what_runs(tmp_path: Path) -> None:
    scripts.pre(replace(JOB, pre_script=TELL.format(tmp_path / "told")), SESSION)
    assert (tmp_path / "told").read_text() == f"nightly {SESSION.hex()} running \n"


def test_a_pre_script_that_fails_fails_the_session() -> None:
    with pytest.raises(SessionFailedError, match=r"status 7: no database"):
        scripts.pre(replace(JOB, pre_script="echo no database; exit 7"), SESSION)


def test_a_pre_script_that_is_killed_fails_the_session() -> None:
    with pytest.raises(SessionFailedError, match="signal 9"):
        scripts.pre(replace(JOB, pre_script="kill -9 $$"), SESSION)


@pytest.mark.parametrize("state", ["success", "warning", "failed", "cancelled"])
def test_the_post_script_runs_whatever_happened(tmp_path: Path, state: str) -> None:
    job = replace(JOB, post_script=TELL.format(tmp_path / "told"))
    assert scripts.post(job, SESSION, SessionState(state), "no\0 room") == []
    assert (tmp_path / "told").read_text() == f"nightly {SESSION.hex()} {state} no room\n"


@pytest.mark.parametrize(
    ("state", "runs"),
    [("success", False), ("warning", False), ("failed", True), ("cancelled", True)],
)
def test_the_failure_command_runs_when_no_point_was_made(
    tmp_path: Path, state: str, runs: bool
) -> None:
    job = replace(JOB, on_failure=f"touch {tmp_path / 'told'}")
    assert scripts.on_failure(job, SESSION, SessionState(state), "x") == []
    assert (tmp_path / "told").exists() is runs


def test_a_script_after_the_session_that_fails_is_a_warning() -> None:
    job = replace(JOB, post_script="echo mail; exit 1", on_failure="exit 2")
    assert scripts.post(job, SESSION, SessionState.SUCCESS, None) == [
        "the post script ended with status 1: mail"
    ]
    assert scripts.on_failure(job, SESSION, SessionState.FAILED, "x") == [
        "the failure command ended with status 2"
    ]
