"""Sessions on good and bad days: scripts, what is left out, sources that fail, two at once."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import strongroom
from tests.e2e.conftest import Transcript

ENCRYPTED = ("--repository", "main", "--encrypt", "password:mine")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Transcript:
    """One machine for all that follows, with a repository and a password."""
    return Transcript(tmp_path_factory.mktemp("sessions") / "here").set_up()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder to protect."""
    root = tmp_path / "tree"
    root.mkdir()
    (root / "file").write_text("content")
    return root


def paths(machine: Transcript, point: str, below: Path) -> set[str]:
    """Return what a point holds, named from the source's root on."""
    files = machine.json("point", "files", point)["files"]
    return {file["path"].removeprefix(str(below)).lstrip("/") for file in files} - {""}


def points(machine: Transcript, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = machine.json("point", "list", job)["points"]
    return found


def test_scripts_learn_job_session_state_and_error(
    here: Transcript, tree: Path, tmp_path: Path
) -> None:
    said = tmp_path / "said"

    def script(name: str, end: int = 0) -> str:
        variables = "|".join(f"$STRONGROOM_{word}" for word in ("JOB", "SESSION", "STATE", "ERROR"))
        return f'echo "{name}|{variables}" >> {said}; exit {end}'

    words = ("--post-script", script("post"), "--on-failure", script("failure"))
    here.run(
        *("job", "create", "scripts", *ENCRYPTED, "--source", f"files:{tree}"),
        *("--pre-script", script("pre"), *words),
    )
    session = here.json("job", "run", "scripts")["session"]
    assert said.read_text().splitlines() == [
        f"pre|scripts|{session}|running|",
        f"post|scripts|{session}|success|",
    ]

    said.unlink()
    here.run("job", "edit", "scripts", "--pre-script", script("pre", end=4))
    error = here.json("job", "run", "scripts", status=16)["error"]
    told = [line.split("|") for line in said.read_text().splitlines()]
    assert [line[0] for line in told] == ["pre", "post", "failure"]
    assert [line[3] for line in told[1:]] == ["failed", "failed"]
    assert {line[4] for line in told[1:]} == {error["message"]}
    assert len(points(here, "scripts")) == 1

    here.run("job", "edit", "scripts", "--pre-script", "", "--post-script", "exit 7")
    late = here.json("job", "run", "scripts", status=3)
    assert (late["state"], len(late["points"])) == ("warning", 1)


def test_what_is_excluded_marked_as_a_cache_or_ours_is_left_out(
    here: Transcript, tree: Path, tmp_path: Path
) -> None:
    for name in (
        *("build/x", "a/build/x", "a/node_modules/x", "top.tmp", "a/low.tmp"),
        *("logs/x.log", "logs/keep.log", "cache/x"),
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    (tree / "cache" / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    patterns = ("/build", "node_modules/", "*.tmp", "*.log", "!keep.log")
    excluded = [word for pattern in patterns for word in ("--exclude", pattern)]
    here.run("job", "create", "chosen", *ENCRYPTED, "--source", f"files:{tree}", *excluded)
    here.run("job", "run", "chosen")

    expected = {"a", "a/build", "a/build/x", "cache", "cache/CACHEDIR.TAG", "file", "logs"}
    assert paths(here, "chosen@latest", tree) == expected | {"logs/keep.log"}

    here.run("job", "create", "all", *ENCRYPTED, "--source", f"files:{here.folder}")
    warned = " ".join(here.json("job", "run", "all", status=3)["warnings"])
    assert not paths(here, "all@latest", here.folder)
    for ours in (here.folder / "repository", here.home, here.folder / "key"):
        assert str(ours) in warned


def test_a_source_command_that_fails_leaves_no_point(here: Transcript, tree: Path) -> None:
    here.run("job", "create", "command", *ENCRYPTED, "--source", "command:true")
    for command in ("false | seq 9", "seq 9; kill -9 $$"):
        here.run("job", "edit", "command", "--source", f"command:{command}")
        assert here.json("job", "run", "command", status=16)["error"]["code"] == "session-failed"
    assert points(here, "command") == []


def test_a_source_that_fails_beside_one_that_does_not_is_a_warning_that_names_it(
    here: Transcript, tree: Path
) -> None:
    sources = ("--source", "command:exit 9", "--source", f"files:{tree}")
    here.run("job", "create", "both", *ENCRYPTED, *sources)
    session = here.json("job", "run", "both", status=3)

    assert [point["source"] for point in points(here, "both")] == [f"files:{tree}"]
    assert len(session["warnings"]) == 1
    assert "exit 9" in session["warnings"][0]


def test_a_second_run_of_a_job_is_refused_and_one_of_another_job_is_not(
    here: Transcript, tree: Path, tmp_path: Path
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    wait = f"touch {begun}; until [ -e {go} ]; do sleep 0.05; done"
    sources = ("--source", f"files:{tree}")
    here.run("job", "create", "slow", *ENCRYPTED, *sources, "--source", f"command:{wait}; echo")
    here.run("job", "create", "quick", *ENCRYPTED, *sources)
    command = [sys.executable, "-m", "strongroom", "job", "run", "slow"]
    with subprocess.Popen(
        command, env=here.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as first:
        try:
            while not begun.exists():
                assert first.poll() is None
                time.sleep(0.02)
            refused = here.run("job", "run", "slow", status=11)
            assert f"process {first.pid}" in refused.stderr
            here.run("job", "run", "quick")
        finally:
            go.touch()
        assert first.wait(60) == 0
    assert (len(points(here, "quick")), len(points(here, "slow"))) == (1, 2)


def test_a_session_stopped_on_request_says_so_and_the_next_one_goes_on(
    here: Transcript, tree: Path, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    silent = f"touch {begun}; sleep 60"
    here.run("job", "create", "stopped", *ENCRYPTED, "--source", f"command:{silent}")
    command = [sys.executable, "-m", "strongroom", "job", "run", "stopped"]
    with subprocess.Popen(
        command, env=here.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not begun.exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
    assert points(here, "stopped") == []

    here.run("job", "edit", "stopped", "--source", f"files:{tree}")
    assert here.json("job", "run", "stopped")["state"] == "success"


def test_compression_orders_sizes_and_may_change_between_sessions(
    here: Transcript, tmp_path: Path
) -> None:
    tree = tmp_path / "code"
    shutil.copytree(Path(strongroom.__file__).parent, tree)
    stored = {}
    for level in ("none", "fast", "high"):
        words = ("--source", f"files:{tree}", "--compression", level)
        here.run("job", "create", level, *ENCRYPTED, *words)
        stored[level] = here.json("job", "run", level)["stored_bytes"]
    assert stored["high"] < stored["fast"] < stored["none"] / 2

    more = "".join(path.read_text()[::-1] for path in sorted(tree.rglob("*.py")))
    (tree / "more").write_text(more)
    here.run("job", "edit", "none", "--compression", "high")
    session = here.json("job", "run", "none")
    assert session["kind"] == "incremental"
    assert session["stored_bytes"] < len(more) / 2
    here.run("restore", "none@latest", "--to", tmp_path / "there", "--strip")
    for path in (tree / "more", tree / "errors.py"):
        assert (tmp_path / "there" / path.name).read_text() == path.read_text()
