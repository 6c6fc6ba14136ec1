"""Two sessions of one job: who waits, who is told what, and who may publish."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import Transcript


@pytest.fixture
def at_work(here: Transcript, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A session whose source waits until `go` is written to."""
    os.mkfifo(tmp_path / "began")
    os.mkfifo(tmp_path / "go")
    # Only the first run waits: the pipe that says so is taken away.
    source = (
        f"command:if [ -p {tmp_path}/began ]; then echo > {tmp_path}/began; "
        f"rm {tmp_path}/began; cat {tmp_path}/go; fi; echo dump"
    )
    here.set_up()
    here.run(
        *("job", "create", "dump", "--repository", "main", "--source", source),
        *("--encrypt", "password:mine"),
    )
    session = subprocess.Popen(
        [sys.executable, "-m", "strongroom", "job", "run", "dump"],
        env=here.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    (tmp_path / "began").read_text()
    try:
        yield session
    finally:
        session.kill()
        session.communicate()


def let_go(session: subprocess.Popen[str], tmp_path: Path) -> str:
    """Let the waiting session end, and return what it said."""
    (tmp_path / "go").write_text("")
    return session.communicate(timeout=60)[1]


def test_the_second_of_two_sessions_is_told_who_is_at_work(
    at_work: subprocess.Popen[str], here: Transcript, tmp_path: Path
) -> None:
    said = here.run("job", "run", "dump", status=11).stderr
    assert "job dump is at work elsewhere" in said
    assert f"process {at_work.pid} on {os.uname().nodename}" in said
    assert "'strongroom job run dump --break-lock'" in said
    let_go(at_work, tmp_path)
    assert at_work.returncode == 0
    assert len(here.json("point", "list")["points"]) == 1


def test_a_session_whose_lock_was_broken_does_not_publish(
    at_work: subprocess.Popen[str], here: Transcript, tmp_path: Path
) -> None:
    point = here.json("job", "run", "dump", "--break-lock")["points"][0]
    said = let_go(at_work, tmp_path)
    assert at_work.returncode == 15
    assert "has lost the lock" in said
    assert [one["id"] for one in here.json("point", "list")["points"]] == [point]
    here.run("repository", "verify", "main")
