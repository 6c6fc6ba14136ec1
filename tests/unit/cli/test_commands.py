"""What commands make of their words, and of what the control plane answers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from strongroom import errors
from strongroom.cli import output
from strongroom.cli.main import main
from strongroom.control import jobs, points, recovery_drill, sessions, status
from strongroom.control.sessions import FailedRun, SessionResult
from strongroom.control.views.jobs import JobStatus, StatusReport
from strongroom.control.views.points import PointList, PointRow
from strongroom.control.views.recovery import ChainProof, RecoveryTestResult

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "catalog.db").touch()
    monkeypatch.setenv("STRONGROOM_HOME", str(home))
    monkeypatch.setenv("STRONGROOM_KEY_FILE", str(tmp_path / "key"))


def _session(job: str, **given: Any) -> SessionResult:
    values: dict[str, Any] = {
        "job": job,
        "session": "aa" * 16,
        "state": "success",
        "kind": "full",
        "reason": "first",
        "read_bytes": 3 << 20,
        "changed_bytes": 2 << 20,
        "stored_bytes": 1 << 20,
        "files": 2,
        "seconds": 1.25,
        "warnings": (),
        "points": ("bb" * 16,),
    }
    return SessionResult(**{**values, **given})


def _row(number: int, **given: Any) -> PointRow:
    values: dict[str, Any] = {
        "id": f"{number:032x}"[::-1],
        "job": "home",
        "source": "files:/srv/a/very/long/path/that/does/not/fit/in/any/terminal/at/all",
        "kind": "incremental",
        "taken_at": NOON + timedelta(hours=number),
        "encrypted": True,
        "size_bytes": 123 << 30,
        "stored_bytes": 999 << 20,
        "held": False,
        "locked": False,
        "chain": "cc" * 16,
    }
    return PointRow(**{**values, **given})


# --- job run ----------------------------------------------------------------------------------


def test_a_session_with_warnings_ends_with_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = _session("home", state="warning", warnings=("/srv/x vanished",))
    monkeypatch.setattr(sessions, "run", lambda *_, **__: result)
    assert main(["job", "run", "home"]) == 3
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "home: warning, full (first), 1.2 s",
        "  read 3.00 MiB, changed 2.00 MiB, stored 1.00 MiB, 2 files",
        f"  point {'bb' * 16}",
    ]
    assert said.err == "strongroom: warning: /srv/x vanished\n"


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([], 0),
        ([_session("a"), _session("b")], 0),
        ([_session("a"), _session("b", warnings=("w",))], 3),
        ([_session("a"), FailedRun(job="b", error=errors.LockedError("held"))], 11),
        ([_session("a", warnings=("w",)), FailedRun(job="b", error=errors.LockedError("h"))], 11),
        ([FailedRun(job=name, error=errors.LockedError("held")) for name in "ab"], 11),
        (
            [
                FailedRun(job="a", error=errors.LockedError("held")),
                FailedRun(job="b", error=errors.StorageFullError("full")),
            ],
            16,
        ),
    ],
)
def test_of_all_jobs_the_failures_decide(
    results: list[SessionResult | FailedRun],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sessions, "run_all", lambda *_, **__: results)
    assert main(["job", "run", "--all", "--json"]) == code
    answer = json.loads(capsys.readouterr().out)["sessions"]
    assert [session["job"] for session in answer] == [result.job for result in results]
    for session, result in zip(answer, results, strict=True):
        assert ("error" in session) == isinstance(result, FailedRun)


# --- job create and edit ----------------------------------------------------------------------


def test_a_job_is_asked_for_as_the_line_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[jobs.JobRequest] = []

    def create(_: object, request: jobs.JobRequest) -> None:
        asked.append(request)
        raise errors.ConflictError("enough")

    monkeypatch.setattr(jobs, "create", create)
    line = (
        "job create home --repository main --source files:/a --source image:/b --encrypt none "
        "--exclude *.tmp --exclude /x --one-file-system --include-caches --compression high "
        "--block-size 512KiB --keep-last 7 --keep-days 30 --full-every-days 90 "
        "--expect-every 1d --on-failure true --no-recovery"
    )
    assert main(line.split()) == 15
    assert asked == [
        jobs.JobRequest(
            name="home",
            repository="main",
            sources=("files:/a", "image:/b"),
            encrypt="none",
            exclude=("*.tmp", "/x"),
            one_file_system=True,
            exclude_caches=False,
            compression="high",
            block_size=512 << 10,
            keep_last=7,
            keep_days=30,
            full_every_days=90,
            expect_every_hours=24,
            on_failure="true",
            recovery=False,
        )
    ]


@pytest.mark.parametrize(
    ("line", "changes"),
    [
        ([], {}),
        (["--keep-last", "none", "--keep-days", "3"], {"keep_last": None, "keep_days": 3}),
        (["--pre-script", ""], {"pre_script": None}),
        (["--exclude", ""], {"exclude": ()}),
        (["--exclude", "none"], {"exclude": ("none",)}),
        (
            ["--encrypt", "none", "--compression", "none"],
            {"encrypt": "none", "compression": "none"},
        ),
        (["--rename", "b", "--repository", "r"], {"name": "b", "repository": "r"}),
        (["--add-source", "files:/c"], {"add_sources": ("files:/c",)}),
        (["--all-file-systems"], {"one_file_system": False}),
        (["--expect-every", "none"], {"expect_every_hours": None}),
        (["--limit", "none"], {"limit": "none"}),
    ],
    ids=str,
)
def test_only_what_was_said_is_changed(
    line: list[str], changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[jobs.JobChanges] = []

    def edit(_: object, __: str, wanted: jobs.JobChanges, **___: object) -> None:
        asked.append(wanted)
        raise errors.ConflictError("enough")

    monkeypatch.setattr(jobs, "edit", edit)
    assert main(["job", "edit", "home", *line]) == 15
    assert asked == [jobs.JobChanges(**changes)]


# --- recovery ---------------------------------------------------------------------------------


def test_a_recovery_test_names_the_repository_that_is_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    opened = ChainProof(repository="main", chain="a" * 32, point="b" * 32, opened=True)
    away = ChainProof(
        repository="usb", chain=None, point=None, opened=False, problem="there is no folder /usb"
    )
    result = RecoveryTestResult(ok=False, key_id="c" * 64, chains=(opened, away))
    monkeypatch.setattr(recovery_drill, "prove", lambda *_: result)
    assert main(["recovery", "test", str(tmp_path / "kit")]) == 12
    said = capsys.readouterr()
    assert [line.split()[-2] for line in said.out.splitlines()[1:]] == ["yes", "no"]
    assert said.err.splitlines() == [
        "strongroom: warning: repository usb: there is no folder /usb",
        "strongroom: 1 repository did not open",
        "strongroom: hint: is its disk mounted? then test again",
    ]


# --- points -----------------------------------------------------------------------------------


def test_a_pipe_gets_whole_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "files:/srv/" + "a-long-way-down/" * 20
    found = PointList(points=(_row(1, source=source),), warnings=())
    monkeypatch.setattr(points, "list_points", lambda *_: found)
    monkeypatch.delenv("COLUMNS", raising=False)
    assert main(["point", "list"]) == 0
    assert source in capsys.readouterr().out


def test_a_closed_standard_output_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = PointList(points=(_row(1),), warnings=())
    monkeypatch.setattr(points, "list_points", lambda *_: found)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.stdout", None)
    assert main(["point", "list"]) == 14
    assert capsys.readouterr().err == "strongroom: standard output is closed\n"


def test_points_are_listed_in_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (
        _row(1, kind="full"),
        _row(2, held=True),
        _row(3, encrypted=False),
        _row(4, job=None, source=None, size_bytes=None, stored_bytes=None, locked=True),
    )
    found = PointList(points=rows, warnings=("look",))
    monkeypatch.setattr(points, "list_points", lambda *_: found)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["point", "list"]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert len(lines) == 5
    assert all(output.cells(line) <= 80 for line in lines)
    assert [line.split()[0] for line in lines[1:]] == [row.id[:8] for row in rows]
    assert [line[-6:].strip() for line in lines[2:]] == ["held", "plain", "locked"]
    assert said.err == "strongroom: warning: look\n"


def test_the_list_as_json_holds_ids_and_times_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(points, "list_points", lambda *_: PointList(points=(_row(1),)))
    assert main(["point", "list", "--json"]) == 0
    (point,) = json.loads(capsys.readouterr().out)["points"]
    assert point["id"] == _row(1).id
    assert point["taken_at"] == "2026-11-03T13:00:00.000000Z"


@pytest.mark.parametrize("before", [0, 1, 3])
def test_a_stream_that_breaks_is_still_one_json_document(
    before: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def listed(*_: object) -> Iterator[dict[str, int]]:
        for number in range(before):
            yield {"size": number}
        raise errors.BlockDamagedError("block 7 does not open")

    monkeypatch.setattr(points, "files", listed)
    assert main(["point", "files", "home@latest", "--json"]) == 20
    answer = json.loads(capsys.readouterr().out)
    assert answer["files"] == [{"size": number} for number in range(before)]
    assert answer["error"]["code"] == "block-damaged"


def test_an_empty_stream_is_an_empty_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(points, "diff", lambda *_: iter(()))
    assert main(["point", "diff", "a", "b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"changes": []}


# --- status -----------------------------------------------------------------------------------


def test_status_says_by_its_exit_whether_all_is_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    late = JobStatus(
        job="home",
        ok=False,
        state="failed",
        started_at=NOON,
        finished_at=NOON,
        last_success_at=None,
        overdue=True,
        message="the storage did not answer " * 6,
        warnings=0,
        encrypted=False,
        protected=False,
        points=1,
    )
    asked: list[timedelta | None] = []

    def report(_: object, max_age: timedelta | None = None) -> StatusReport:
        asked.append(max_age)
        return StatusReport(ok=False, jobs=(late,))

    monkeypatch.setattr(status, "report", report)
    assert main(["status", "--max-age", "26h"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("!!  home: failed, ")
    assert lines[0].endswith(", overdue, 1 point, not encrypted")
    assert lines[-1] == "something needs attention"
    assert all(len(line) <= 80 for line in lines)
    assert asked == [timedelta(hours=26)]


def test_a_path_with_escapes_cannot_reach_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise errors.TargetExistsError("there is a \x1b]0;owned\x07 already")

    monkeypatch.setattr(points, "show", refused)
    assert main(["point", "show", "abcd"]) == 15
    assert "\x1b" not in capsys.readouterr().err
