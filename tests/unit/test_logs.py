from __future__ import annotations

import json
import logging
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from strongroom import logs
from strongroom.crypto import keys as key_types
from strongroom.crypto.envelope import ChainKey
from strongroom.crypto.keys import SecretBytes
from strongroom.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKER = b"MARKER-of-a-secret-of-32-bytes!!"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "log"
    handler = logs.to_file(path, "debug")
    yield path
    logs.stop(handler)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_event_is_one_line_with_its_fields(file: Path) -> None:
    moment = datetime(2026, 11, 24, tzinfo=UTC)
    logs.event("session.finished", job="ü\n", files=3, at_once=True, due=moment, path=Path("/x"))
    (line,) = lines(file)
    assert line["event"] == "session.finished"
    assert line["level"] == "info"
    assert (line["job"], line["files"], line["at_once"]) == ("ü\n", 3, True)
    assert (line["due"], line["path"]) == ("2026-11-24T00:00:00+00:00", "/x")


def test_the_file_is_its_owners_alone(file: Path) -> None:
    logs.event("x")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def secrets() -> list[object]:
    kinds = [
        kind
        for kind in vars(key_types).values()
        if isinstance(kind, type) and issubclass(kind, SecretBytes)
    ]
    return [*(kind(MARKER) for kind in kinds), ChainKey(key_types.Seed(MARKER)), MARKER]


@pytest.mark.parametrize("secret", secrets(), ids=lambda secret: type(secret).__name__)
@pytest.mark.parametrize("call", [logs.event, logs.debug, logs.warning])
def test_no_secret_gets_through_any_call(file: Path, secret: object, call: Any) -> None:
    call("event", plain=secret, listed=[secret], mapped={"a": {"b": (secret,)}}, text=f"{secret!r}"
         if not isinstance(secret, bytes) else "")  # fmt: skip
    logs.failure("failed", NotFoundError("gone", secret=secret), secret=secret)
    written = file.read_text()
    assert len(written.splitlines()) == 2
    assert MARKER.decode() not in written
    assert MARKER.hex() not in written
    assert repr(MARKER) not in written


def test_a_failure_has_its_code_and_no_traceback(file: Path) -> None:
    logs.failure("command.failed", NotFoundError("there is no job x"))
    (line,) = lines(file)
    assert (line["level"], line["code"]) == ("error", "not-found")
    assert line["message"] == "there is no job x"
    assert "Traceback" not in file.read_text()


def test_a_foreign_exception_leaves_its_name_only(file: Path) -> None:
    try:
        int(MARKER)
    except ValueError:
        logging.getLogger("strongroom").exception("library.failed")
    (line,) = lines(file)
    assert line["exception"] == "ValueError"
    assert MARKER.decode() not in file.read_text()


def test_below_the_level_nothing_is_written(tmp_path: Path) -> None:
    handler = logs.to_file(tmp_path / "log", "warning")
    logs.event("x")
    logs.debug("x")
    assert not (tmp_path / "log").exists()
    logs.warning("y")
    logs.stop(handler)
    assert [line["event"] for line in lines(tmp_path / "log")] == ["y"]


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    handler = logs.to_file(tmp_path / "no" / "such" / "folder" / "log", "info")
    logs.event("x")
    logs.stop(handler)
