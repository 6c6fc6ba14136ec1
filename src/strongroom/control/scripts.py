"""Scripts around a session: before it, after it, and when it failed.

They are run by bash, as the operator wrote them, with

    STRONGROOM_JOB      the job's name
    STRONGROOM_SESSION  the session's id
    STRONGROOM_STATE    running, then how it ended: success, warning, failed, cancelled
    STRONGROOM_ERROR    the error's message, or empty

beside the process's own variables; one that holds a secret is not among these, since the door
takes it out first.

A pre script that fails fails the session before anything is read. The post script runs
whatever happened, as does the failure command after a session that failed or was cancelled; they
change no outcome, so their own failure is a warning.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Final

from strongroom import logs
from strongroom.errors import SessionFailedError
from strongroom.model.session import SessionState

if TYPE_CHECKING:
    from strongroom.model.job import Job

_SHOWN: Final = 2000
"""Characters of a script's words that a message repeats."""


def environment(
    job: Job, session_id: bytes, state: SessionState, error: str | None
) -> dict[str, str]:
    """Return the variables that scripts, and source commands, get beside the process's own."""
    return {
        "STRONGROOM_JOB": job.name,
        "STRONGROOM_SESSION": session_id.hex(),
        "STRONGROOM_STATE": state.value,
        # A variable ends at a NUL.
        "STRONGROOM_ERROR": (error or "").replace("\0", ""),
    }


def pre(job: Job, session_id: bytes) -> None:
    """Run the job's pre script, if it has one.

    Raises:
        SessionFailedError: it failed; nothing may be read.
    """
    if job.pre_script is None:
        return
    problem = _run(
        "pre script", job.pre_script, environment(job, session_id, SessionState.RUNNING, None)
    )
    if problem is not None:
        raise SessionFailedError(problem, hint="nothing was read; the post script still runs")


def post(job: Job, session_id: bytes, state: SessionState, error: str | None) -> list[str]:
    """Run the job's post script after a session that ended in `state`; return warnings."""
    return _after("post script", job.post_script, environment(job, session_id, state, error))


def on_failure(job: Job, session_id: bytes, state: SessionState, error: str | None) -> list[str]:
    """Run the job's failure command if the session made no point; return warnings.

    A cancelled session is none that the job can do without: it is told of like a failed one.
    """
    if state.made_points:
        return []
    return _after("failure command", job.on_failure, environment(job, session_id, state, error))


def _after(what: str, script: str | None, given: dict[str, str]) -> list[str]:
    problem = None if script is None else _run(what, script, given)
    if problem is None:
        return []
    # Without what the script said: that may be anything.
    logs.warning(
        "script.failed",
        script=what,
        job=given["STRONGROOM_JOB"],
        session=given["STRONGROOM_SESSION"],
    )
    return [problem]


def _run(what: str, script: str, given: dict[str, str]) -> str | None:
    """Run a script to its end; return what is wrong, if anything is."""
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own script
            ["bash", "-c", script],  # noqa: S607 - the operator's PATH decides, as in a shell
            env=os.environ | given,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except OSError as error:
        return f"the {what} could not be started: {error.strerror}"
    if done.returncode == 0:
        return None
    how = f"status {done.returncode}" if done.returncode > 0 else f"signal {-done.returncode}"
    said = done.stdout.decode(errors="replace").strip()[-_SHOWN:]
    return f"the {what} ended with {how}" + (f": {said}" if said else "")
