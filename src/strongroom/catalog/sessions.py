"""Sessions, as `model.session` has them: what ran, how it ended, and why."""

# ruff: noqa: S608 - what is put into statements here are column lists, never values

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from strongroom.clock import from_microseconds, to_microseconds
from strongroom.model.ids import ID_LENGTH
from strongroom.model.session import SessionCounters, SessionError, SessionRecord, SessionState

if TYPE_CHECKING:
    from strongroom.catalog.database import Database, Row, Value

_COLUMNS = (
    "job_id",
    "job",
    "state",
    "started_at",
    "finished_at",
    "chain_id",
    "kind",
    "reason",
    "error",
    "warnings",
    "read_bytes",
    "changed_bytes",
    "stored_bytes",
    "files",
    "seconds",
    "points",
)


def insert(database: Database, record: SessionRecord) -> None:
    """Take a session in, mostly one that just began.

    Raises:
        ConflictError: it is there already.
    """
    columns = ", ".join((*_COLUMNS, "session_id"))
    marks = ", ".join("?" * (len(_COLUMNS) + 1))
    database.execute(
        f"INSERT INTO sessions ({columns}) VALUES ({marks})",
        (*_values(record), record.session_id),
    )


def update(database: Database, record: SessionRecord) -> None:
    """Write a session back under its id."""
    assignments = ", ".join(f"{column} = ?" for column in _COLUMNS)
    database.execute(
        f"UPDATE sessions SET {assignments} WHERE session_id = ?",
        (*_values(record), record.session_id),
    )


def find(database: Database, session_id: bytes) -> SessionRecord | None:
    return _read(database.one("SELECT * FROM sessions WHERE session_id = ?", (session_id,)))


def newest(database: Database, job_id: bytes) -> SessionRecord | None:
    """Return the job's newest session, however it ended."""
    found = of_job(database, job_id, 1)
    return found[0] if found else None


def last_success(database: Database, job_id: bytes) -> SessionRecord | None:
    """Return the job's newest session that made points."""
    return _read(
        database.one(
            "SELECT * FROM sessions WHERE job_id = ? AND state IN (?, ?) "
            "ORDER BY started_at DESC, session_id LIMIT 1",
            (job_id, SessionState.SUCCESS.value, SessionState.WARNING.value),
        )
    )


def of_job(database: Database, job_id: bytes, limit: int = 100) -> list[SessionRecord]:
    """Return the job's sessions, newest first."""
    rows = database.query(
        "SELECT * FROM sessions WHERE job_id = ? ORDER BY started_at DESC, session_id LIMIT ?",
        (job_id, limit),
    )
    return [_record(row) for row in rows]


def of_name(database: Database, job: str, limit: int) -> list[SessionRecord]:
    """Return the sessions of jobs that were called so when they ran, newest first."""
    rows = database.query(
        "SELECT * FROM sessions WHERE job = ? ORDER BY started_at DESC, session_id LIMIT ?",
        (job, limit),
    )
    return [_record(row) for row in rows]


def newest_of_all(database: Database, limit: int) -> list[SessionRecord]:
    """Return the sessions of all jobs, newest first."""
    rows = database.query(
        "SELECT * FROM sessions ORDER BY started_at DESC, session_id LIMIT ?", (limit,)
    )
    return [_record(row) for row in rows]


def beginning_with(database: Database, prefix: str) -> list[SessionRecord]:
    """Return the sessions whose ids begin with these hexadecimal digits, oldest first."""
    digits = 2 * ID_LENGTH
    rows = database.query(
        "SELECT * FROM sessions WHERE session_id BETWEEN ? AND ? ORDER BY started_at, session_id",
        (bytes.fromhex(prefix.ljust(digits, "0")), bytes.fromhex(prefix.ljust(digits, "f"))),
    )
    return [_record(row) for row in rows]


def running(database: Database, job_id: bytes | None = None) -> list[SessionRecord]:
    """Return the sessions that have not said how they ended; some of them may be dead."""
    rows = database.query(
        "SELECT * FROM sessions WHERE state = ? ORDER BY started_at", (SessionState.RUNNING.value,)
    )
    records = [_record(row) for row in rows]
    return [record for record in records if job_id is None or record.job_id == job_id]


def _values(record: SessionRecord) -> tuple[Value, ...]:
    error = record.error
    counters = record.counters
    return (
        record.job_id,
        record.job,
        record.state.value,
        to_microseconds(record.started_at),
        None if record.finished_at is None else to_microseconds(record.finished_at),
        record.chain_id,
        record.kind,
        record.reason,
        None
        if error is None
        else json.dumps(
            {
                "code": error.code,
                "message": error.message,
                "hint": error.hint,
                "fields": dict(error.fields),
            },
            default=str,
        ),
        json.dumps(record.warnings),
        counters.read_bytes,
        counters.changed_bytes,
        counters.stored_bytes,
        counters.files,
        counters.seconds,
        b"".join(record.points),
    )


def _read(row: Row | None) -> SessionRecord | None:
    return None if row is None else _record(row)


def _record(row: Row) -> SessionRecord:
    finished = row["finished_at"]
    error = None if row["error"] is None else json.loads(row["error"])
    points = bytes(row["points"])
    return SessionRecord(
        session_id=row["session_id"],
        job_id=row["job_id"],
        job=row["job"],
        state=SessionState(row["state"]),
        started_at=from_microseconds(row["started_at"]),
        finished_at=None if finished is None else from_microseconds(finished),
        chain_id=row["chain_id"],
        kind=row["kind"],
        reason=row["reason"],
        error=None
        if error is None
        else SessionError(error["code"], error["message"], error["hint"], error["fields"]),
        warnings=tuple(json.loads(row["warnings"])),
        counters=SessionCounters(
            row["read_bytes"],
            row["changed_bytes"],
            row["stored_bytes"],
            row["files"],
            row["seconds"],
        ),
        points=tuple(
            points[start : start + ID_LENGTH] for start in range(0, len(points), ID_LENGTH)
        ),
    )
