"""Wrong answers to the question for a password, by password and moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.clock import from_microseconds, to_microseconds

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.catalog.database import Database


def add(database: Database, attempt_id: bytes, password_id: bytes, at: datetime) -> None:
    """Count an attempt as failed, until it is known to be right."""
    database.execute(
        "INSERT INTO failed_attempts (attempt_id, password_id, at) VALUES (?, ?, ?)",
        (attempt_id, password_id, to_microseconds(at)),
    )


def take_back(database: Database, attempt_id: bytes) -> None:
    """Count an attempt no longer: it was right."""
    database.execute("DELETE FROM failed_attempts WHERE attempt_id = ?", (attempt_id,))


def forget(database: Database, before: datetime, after: datetime) -> None:
    """Drop what is older than `before`, and what a clock set wrongly dated after `after`."""
    database.execute(
        "DELETE FROM failed_attempts WHERE at < ? OR at > ?",
        (to_microseconds(before), to_microseconds(after)),
    )


def newest(database: Database, password_id: bytes, count: int) -> list[datetime]:
    """Return when the last `count` attempts failed, newest first."""
    rows = database.query(
        "SELECT at FROM failed_attempts WHERE password_id = ? ORDER BY at DESC LIMIT ?",
        (password_id, count),
    )
    return [from_microseconds(row["at"]) for row in rows]
