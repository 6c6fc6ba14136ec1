"""The audit log from the command line: what is in it, and what happens when someone edits it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Transcript


def events(here: Transcript, *options: str) -> list[str]:
    return [one["event"] for one in here.json("audit", "list", *options)["records"]]


def with_a_backup(here: Transcript) -> None:
    here.set_up()
    (here.folder / "tree").mkdir()
    (here.folder / "tree" / "file").write_text("content")
    source = f"files:{here.folder / 'tree'}"
    here.run(
        *("job", "create", "nightly", "--repository", "main", "--source", source),
        *("--encrypt", "password:mine"),
    )
    here.run("job", "run", "nightly")


def test_every_use_of_keys_is_in_the_log_with_the_command(here) -> None:
    with_a_backup(here)
    here.run("recovery", "create", here.folder / "kit")
    here.run("password", "verify", "mine", "--password-env", "PASSWORD")
    here.run("point", "verify", "nightly@latest")
    here.run("restore", "nightly@latest", "--to", here.folder / "out")
    records = here.json("audit", "list")["records"]
    done = [(one["event"], one["command"]) for one in records]
    for expected in (
        ("keys.wrapped", "job run"),
        ("recovery.created", "recovery create"),
        ("password.attempted", "password verify"),
        ("keys.unwrapped", "point verify"),
        ("points.verified", "point verify"),
        ("keys.unwrapped", "restore"),
        ("restore.started", "restore"),
        ("restore.finished", "restore"),
    ):
        assert expected in done
    assert [one["number"] for one in records] == list(range(1, len(records) + 1))
    assert here.json("audit", "verify")["lines"] == len(records)
    shown = here.json("audit", "show", "1")["record"]
    assert shown == records[0]


def test_a_line_that_was_deleted_is_named(here) -> None:
    with_a_backup(here)
    head = here.json("audit", "verify")["head"]
    here.run("audit", "verify", "--head", head)
    file = here.home / "audit.log"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:2] + lines[3:]))
    failed = here.run("audit", "verify", status=20)
    assert "line 3 of the audit log is removed" in failed.stderr
    assert here.json("audit", "verify", status=20)["error"]["code"] == "audit-altered"
    # Who looked, and that it did not hold, is a record too.
    assert here.json("audit", "list")["records"][-1]["outcome"] == "failed"


def test_turning_encryption_off_is_a_critical_event_at_once(here) -> None:
    with_a_backup(here)
    here.run("job", "edit", "nightly", "--encrypt", "none", status=2)
    assert "weakened" not in events(here)
    here.run("job", "edit", "nightly", "--encrypt", "none", "--yes-weaken")
    (record,) = here.json("audit", "list", "--event", "weakened")["records"]
    assert record["severity"] == "critical"
    assert record["command"] == "job edit"


def test_wrong_passwords_lock_across_processes(here) -> None:
    here.set_up()
    wrong = ("password", "verify", "mine", "--password-env", "OTHER")
    for _ in range(15):
        here.run(*wrong, status=12)
    locked = here.json("password", "verify", "mine", "--password-env", "PASSWORD", status=11)
    assert locked["error"]["code"] == "attempts-locked"
    found = here.json("audit", "list", "--event", "password.attempted")["records"]
    assert [one["outcome"] for one in found] == ["failed"] * 15 + ["refused"]


def test_a_restore_on_a_bare_machine_writes_no_log(here, elsewhere) -> None:
    with_a_backup(here)
    elsewhere.run(
        *("restore", "nightly@latest", "--to", elsewhere.folder / "out"),
        *("--repository", here.folder / "repository", "--password-env", "PASSWORD"),
    )
    assert not elsewhere.home.exists()


def test_with_a_log_that_cannot_be_written_backups_go_on_and_changes_do_not(here) -> None:
    with_a_backup(here)
    file: Path = here.home / "audit.log"
    file.unlink()
    file.mkdir()
    done = here.run("job", "run", "nightly")
    assert "audit log" in done.stderr
    assert here.json("job", "edit", "nightly", "--keep-last", "40", status=14)["error"]["code"] == (
        "audit-unwritable"
    )
    here.run("restore", "nightly@latest", "--to", here.folder / "out", status=14)
    here.run(
        *("restore", "nightly@latest", "--to", here.folder / "out"),
        *("--password-env", "PASSWORD"),
    )
