"""What other processes see of one that holds secrets: not its memory, and none of its variables.

What commands write, say and start is searched in `test_secret_hygiene`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.e2e.conftest import OTHER_PASSWORD, Transcript


def test_a_process_that_holds_keys_leaves_no_core_and_lets_nobody_look(tmp_path: Path) -> None:
    """While a source command holds the session open, its keys are in memory.

    Root may look everywhere, so everything here runs without root's privileges.
    """
    fence = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    machine = Transcript(tmp_path / "here")
    machine.run("repository", "add", "main", tmp_path / "repository")
    machine.run("password", "add", "mine", "--password-env", "PASSWORD")
    os.mkfifo(tmp_path / "began")
    os.mkfifo(tmp_path / "go")
    holding = f"echo $$ > {tmp_path}/began; cat {tmp_path}/go"
    machine.run(
        *("job", "create", "office", "--repository", "main"),
        *("--source", f"command:{holding}", "--encrypt", "password:mine"),
    )
    job = subprocess.Popen(
        [*fence, sys.executable, "-m", "strongroom", "job", "run", "office"],
        env=machine.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        command = int((tmp_path / "began").read_text())
        limits = Path(f"/proc/{job.pid}/limits").read_text()
        (core,) = [line.split() for line in limits.splitlines() if line.startswith("Max core")]
        assert core[4] == "0"
        look: dict[str, Any] = {"capture_output": True, "check": False}
        assert subprocess.run([*fence, "cat", f"/proc/{command}/environ"], **look).returncode == 0
        for what in ("environ", "maps", "mem"):
            done = subprocess.run([*fence, "head", "-c1", f"/proc/{job.pid}/{what}"], **look)
            assert done.returncode != 0, what
            assert b"ermission denied" in done.stderr
    finally:
        (tmp_path / "go").write_text("output")
        assert job.wait(timeout=60) == 0


def test_nothing_that_is_run_inherits_the_variable_that_holds_a_password(tmp_path: Path) -> None:
    machine = Transcript(tmp_path / "here")
    machine.run("repository", "add", "main", tmp_path / "repository")
    machine.run("password", "add", "mine", "--password-env", "PASSWORD")

    def seen(what: str) -> str:
        return f"env > {tmp_path}/{what}.seen"

    machine.run(
        *("job", "create", "office", "--repository", "main", "--encrypt", "password:mine"),
        *("--source", f"command:{seen('source')}; echo dump; test -f {tmp_path}/good"),
        *("--pre-script", seen("pre"), "--post-script", seen("post")),
        *("--on-failure", seen("failure")),
    )
    # The old password is not needed here; that it was named is enough.
    machine.run("job", "run", "office", "--old-password-env", "OTHER", status=16)
    reading = f"{seen('command')}; cat {tmp_path}/new"
    (tmp_path / "new").write_text(OTHER_PASSWORD)
    machine.run(
        *("password", "edit", "mine", "--password-command", reading),
        *("--old-password-env", "PASSWORD"),
    )
    withheld = {"command": "PASSWORD"}
    whats = ("pre", "source", "post", "failure", "command")
    for what in whats:
        variables = (tmp_path / f"{what}.seen").read_text().splitlines()
        names = {line.partition("=")[0] for line in variables}
        secret = withheld.get(what, "OTHER")
        assert secret not in names, what
        assert machine.environment[secret] not in "\n".join(variables), what
        # All the rest is theirs: what a script needs is for its writer to know.
        assert {*machine.environment} - {secret} <= names, what
