"""Recovery keys: their ids, and when each was last proven to open something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.clock import from_microseconds, to_microseconds

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.catalog.database import Database, Row


@dataclass(frozen=True, slots=True)
class RecoveryKeyRow:
    """A recovery key as the catalog knows it."""

    key_id: bytes
    created_at: datetime
    tested_at: datetime | None = None


def activate(database: Database, row: RecoveryKeyRow) -> None:
    """Make this the key that sealed jobs are protected by; older ones open what they opened."""
    with database.transaction():
        database.execute("UPDATE recovery_keys SET active = ?", (False,))
        database.execute(
            "INSERT INTO recovery_keys (key_id, created_at, active) VALUES (?, ?, ?)",
            (row.key_id, to_microseconds(row.created_at), True),
        )


def active(database: Database) -> RecoveryKeyRow | None:
    """Return the key that sealed jobs are protected by, if there is one."""
    row = database.one("SELECT * FROM recovery_keys WHERE active = ?", (True,))
    return None if row is None else _row(row)


def all_rows(database: Database) -> list[RecoveryKeyRow]:
    """Return every key there has been, oldest first."""
    return [_row(row) for row in database.query("SELECT * FROM recovery_keys ORDER BY created_at")]


def tested(database: Database, key_id: bytes, at: datetime) -> None:
    """Remember that the key was proven to open the newest points."""
    database.execute(
        "UPDATE recovery_keys SET tested_at = ? WHERE key_id = ?", (to_microseconds(at), key_id)
    )


def _row(row: Row) -> RecoveryKeyRow:
    tested_at = row["tested_at"]
    return RecoveryKeyRow(
        row["key_id"],
        from_microseconds(row["created_at"]),
        None if tested_at is None else from_microseconds(tested_at),
    )
