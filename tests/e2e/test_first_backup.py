"""The first days with Strongroom, as a newcomer types them."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Transcript

SESSION_FIELDS = {
    "session",
    "state",
    "kind",
    "reason",
    "read_bytes",
    "changed_bytes",
    "stored_bytes",
    "files",
    "seconds",
    "warnings",
    "points",
}
POINT_FIELDS = {
    "id",
    "job",
    "source",
    "kind",
    "taken_at",
    "encrypted",
    "size_bytes",
    "stored_bytes",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree with what trees have: folders, a link, a name that is no UTF-8."""
    root = tmp_path / "srv"
    (root / "letters" / "old").mkdir(parents=True)
    (root / "letters" / "one.txt").write_text("Dear Ada,\n" * 500)
    (root / "letters" / "old" / "two.txt").write_text("Dear Charles,\n")
    (root / "empty").touch()
    (root / "link").symlink_to("letters/one.txt")
    (root / b"\xff.bin".decode("utf-8", "surrogateescape")).write_bytes(bytes(range(256)) * 40)
    return root


@pytest.fixture
def first(here: Transcript, tree: Path, tmp_path: Path) -> dict[str, Any]:
    """A repository, a password, a job and its first session."""
    here.run("repository", "add", "main", tmp_path / "repository")
    here.run("password", "add", "mine", "--password-env", "PASSWORD", "--hint", "animals")
    here.run(
        *("job", "create", "home", "--repository", "main"),
        *("--source", f"files:{tree}", "--encrypt", "password:mine"),
    )
    result: dict[str, Any] = here.json("job", "run", "home")
    return result


def _same(left: Path, right: Path) -> str:
    """Return how two trees differ, by an independent tool; empty if they do not."""
    words = ["rsync", "-naXAHc", "--delete", "--itemize-changes", f"{left}/", f"{right}/"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def test_four_commands_make_the_first_backup(here: Transcript, tree: Path, tmp_path: Path) -> None:
    here.starts = True
    assert "strongroom repository add" in here.run().stdout
    said = here.run("repository", "add", "main", tmp_path / "repository").stdout
    assert said == f"created repository main at {tmp_path / 'repository'}\n"
    assert "strongroom password add" in here.run().stdout
    said = here.run("password", "add", "mine", "--password-env", "PASSWORD").stdout
    assert said == "added password mine\n"
    created = here.run(
        *("job", "create", "home", "--repository", "main"),
        *("--source", f"files:{tree}", "--encrypt", "password:mine"),
    )
    assert created.stdout == "created job home\n"
    assert "lost" in created.stderr, "without a recovery key the cost of a lost password is said"
    assert "strongroom job run home" in here.run().stdout
    said = here.run("job", "run", "home").stdout
    assert said.startswith("home: success, full")
    assert re.search(r"^  point [0-9a-f]{32}$", said, re.MULTILINE)
    assert "all is well" in here.run("status").stdout


def test_a_session_tells_what_it_did(first: dict[str, Any]) -> None:
    assert set(first) >= SESSION_FIELDS
    assert first["state"] == "success"
    assert first["kind"] == "full"
    assert first["reason"]
    assert first["warnings"] == []
    assert first["files"] >= 4
    assert len(first["points"]) == 1


def test_change_run_list_look_compare_restore(
    here: Transcript, first: dict[str, Any], tree: Path, tmp_path: Path
) -> None:
    then = tmp_path / "then"
    shutil.copytree(tree, then, symlinks=True, copy_function=shutil.copy2)
    subprocess.run(["touch", "-r", tree, then], check=True)
    (tree / "letters" / "one.txt").write_text("Dear Grace,\n")
    (tree / "letters" / "three.txt").write_text("Dear Mary,\n")
    (tree / "empty").unlink()
    second = here.json("job", "run", "home")
    assert second["kind"] == "incremental"
    assert second["stored_bytes"] < first["stored_bytes"]

    listed = here.json("point", "list")
    points = listed["points"]
    assert [point["id"] for point in points] == [*first["points"], *second["points"]]
    assert all(set(point) >= POINT_FIELDS for point in points)
    assert [point["kind"] for point in points] == ["full", "incremental"]
    assert all(point["encrypted"] for point in points)
    assert {point["job"] for point in points} == {"home"}
    for point in points:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", point["taken_at"])
        datetime.fromisoformat(point["taken_at"])
    whole = here.run("point", "list", "home").stdout
    assert f"files:{tree}" in whole
    here.environment["COLUMNS"] = "80"
    shown = here.run("point", "list", "home").stdout.splitlines()
    assert all(len(line) <= 80 for line in shown)

    old, new = points[0]["id"], "home@latest"
    assert "letters/three.txt" not in here.run("point", "files", old).stdout
    files = here.run("point", "files", new, "*.txt").stdout
    assert re.search(
        r"^-rw\S+ .* \d{4}-\d\d-\d\d \d\d:\d\d.* \S+/letters/three\.txt$", files, re.MULTILINE
    )
    changes = set(here.run("point", "diff", old, new).stdout.splitlines())
    letters = {(line.split()[0], line.rpartition("/")[2]) for line in changes}
    assert {("M", "one.txt"), ("+", "three.txt"), ("-", "empty")} <= letters

    here.run("restore", old[:8], "--to", tmp_path / "old", "--strip")
    assert _same(then, tmp_path / "old") == ""
    here.run("restore", new, "--to", tmp_path / "new", "--strip", "--verify")
    assert _same(tree, tmp_path / "new") == ""
    here.run("restore", new, "--to", tmp_path / "whole")
    assert _same(tree, tmp_path / "whole" / tree.relative_to("/")) == ""


def test_a_restore_touches_nothing_that_is_there(
    here: Transcript, first: dict[str, Any], tree: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    (target / "letters").mkdir(parents=True)
    (target / "letters" / "one.txt").write_text("mine")
    answer = here.json("restore", "home@latest", "--to", target, "--strip", status=15)
    assert answer["error"]["code"] == "target-exists"
    assert [*target.rglob("*")] == [target / "letters", target / "letters" / "one.txt"]
    assert (target / "letters" / "one.txt").read_text() == "mine"
    here.run("restore", "home@latest", "--to", target, "--strip", "--overwrite", "always")
    assert _same(tree, target) == ""


def test_chosen_paths_are_restored_and_no_others(
    here: Transcript, first: dict[str, Any], tree: Path, tmp_path: Path
) -> None:
    here.run("restore", "home@latest", "--to", tmp_path / "a", "--strip", "--include", "*.txt")
    found = sorted(path.name for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert found == ["one.txt", "two.txt"]
    wanted = tmp_path / "list"
    wanted.write_text(f"{tree}/letters/old/two.txt\n")
    here.run("restore", "home@latest", "--to", tmp_path / "b", "--strip", "--files-from", wanted)
    found = [path.name for path in (tmp_path / "b").rglob("*") if path.is_file()]
    assert found == ["two.txt"]


def test_a_clean_machine_needs_the_repository_and_the_password_alone(
    elsewhere: Transcript, first: dict[str, Any], tree: Path, tmp_path: Path
) -> None:
    there: list[str | Path] = [
        "--repository",
        tmp_path / "repository",
        "--password-env",
        "PASSWORD",
    ]
    (point,) = elsewhere.json("point", "list", *there)["points"]
    assert point["id"] == first["points"][0]
    elsewhere.run("restore", "home@latest", "--to", tmp_path / "back", "--strip", *there)
    assert _same(tree, tmp_path / "back") == ""
    assert not elsewhere.home.exists()


def test_a_wrong_password_opens_nothing_and_says_the_hint(
    elsewhere: Transcript, first: dict[str, Any], tmp_path: Path
) -> None:
    there: list[str | Path] = ["--repository", tmp_path / "repository", "--password-env", "OTHER"]
    done = elsewhere.run("restore", "home@latest", "--to", tmp_path / "x", *there, status=12)
    assert "animals" in done.stderr
    assert not (tmp_path / "x").exists()


def test_without_a_terminal_and_without_a_secret_a_clean_machine_is_told_what_to_say(
    elsewhere: Transcript, first: dict[str, Any], tmp_path: Path
) -> None:
    there: list[str | Path] = ["--repository", tmp_path / "repository"]
    done = elsewhere.run("restore", first["points"][0], "--to", tmp_path / "x", *there, status=12)
    assert "--password-file" in done.stderr


def test_scrub_verify_and_prune_find_a_new_repository_well(
    here: Transcript, first: dict[str, Any]
) -> None:
    here.run("repository", "scrub", "main")
    here.run("repository", "verify", "main")
    here.run("point", "verify", "home@latest")
    here.run("repository", "prune", "main", "--dry-run")
    here.run("repository", "prune", "main", "--yes")


def test_what_removes_is_refused_without_agreement(here: Transcript, first: dict[str, Any]) -> None:
    (point,) = first["points"]
    here.run("job", "run", "home")
    answer = here.json("point", "remove", point, status=2)
    assert answer["error"]["code"] == "confirmation-needed"
    assert here.json("point", "remove", point, "--dry-run")["done"] is False
    assert len(here.json("point", "list")["points"]) == 2
    here.run("point", "hold", point)
    assert here.json("point", "remove", point, "--yes", status=15)["error"]["code"] == "in-use"
    here.run("point", "release", point)
    assert here.json("point", "remove", point, "--yes")["done"] is True
    assert len(here.json("point", "list")["points"]) == 1
    assert here.json("password", "remove", "mine", status=15)["error"]["users"]
    done = here.run("job", "edit", "home", "--encrypt", "none", status=2)
    assert "--yes-weaken" in done.stderr


def test_a_session_with_a_warning_ends_with_3_and_one_without_a_place_with_10(
    here: Transcript, first: dict[str, Any], tree: Path, tmp_path: Path
) -> None:
    here.run("job", "edit", "home", "--add-source", f"files:{tmp_path / 'gone'}")
    result = here.json("job", "run", "home", status=3)
    assert result["state"] == "warning"
    assert result["warnings"]
    (tmp_path / "repository").rename(tmp_path / "unmounted")
    (tmp_path / "repository").mkdir()
    answer = here.json("job", "run", "home", status=10)
    assert answer["error"]["code"] == "not-a-repository"
    sessions = here.json("job", "run", "--all", status=10)["sessions"]
    assert sessions[0]["state"] == "failed"
    assert sessions[0]["error"]["code"] == "not-a-repository"
    assert here.run("status", status=3).stdout.startswith("!!")
