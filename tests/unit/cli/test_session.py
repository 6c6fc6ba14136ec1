"""Sessions as the command line shows them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from strongroom.cli.main import main
from strongroom.control import history
from strongroom.control.views.jobs import SessionErrorView, SessionView

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "catalog.db").touch()
    monkeypatch.setenv("STRONGROOM_HOME", str(home))
    monkeypatch.setenv("TZ", "UTC")


def _view(**given: Any) -> SessionView:
    values: dict[str, Any] = {
        "id": "ab" * 16,
        "job": "home",
        "state": "success",
        "started_at": NOON,
        "finished_at": NOON + timedelta(seconds=4),
        "kind": "full",
        "reason": "first",
        "read_bytes": 3 << 20,
        "changed_bytes": 2 << 20,
        "stored_bytes": 1 << 20,
        "files": 2,
        "seconds": 4.0,
        "warnings": (),
        "error": None,
        "chain": "cc" * 16,
        "points": ("dd" * 16,),
    }
    return SessionView(**{**values, **given})


FAILED = _view(
    state="failed",
    kind=None,
    reason="",
    points=(),
    chain=None,
    error=SessionErrorView(
        code="storage-unavailable", message="there is no folder\n/x", hint="is the disk mounted?"
    ),
)


def test_a_list_says_in_80_columns_how_each_session_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    views = (_view(), _view(kind="incremental", state="warning", warnings=("a", "b")), FAILED)
    monkeypatch.setattr(history, "list_sessions", lambda *_: views)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["session", "list"]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.split()[:4] == ["ID", "STARTED", "TOOK", "STATE"]
    assert [line.split()[-1] for line in lines] == ["full", "warnings", "storage-unavailable"]
    assert all(len(line) <= 80 for line in lines)


def test_a_failed_session_is_shown_with_code_and_hint_and_is_no_failure_to_show(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(history, "show", lambda *_: FAILED)
    assert main(["session", "show", "abab"]) == 0
    said = capsys.readouterr().out.splitlines()
    fields = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in said}
    assert (fields["state"], fields["code"]) == ("failed", "storage-unavailable")
    assert (fields["error"], fields["hint"]) == ("there is no folder", "is the disk mounted?")
    assert main(["session", "show", "abab", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)["session"]
    assert answer["error"] == {
        "code": "storage-unavailable",
        "message": "there is no folder\n/x",
        "hint": "is the disk mounted?",
    }
