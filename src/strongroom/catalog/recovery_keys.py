"""Recovery keys: their ids, which is active, and how each last fared in a drill."""

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
    """When it was last tried on the newest points."""
    tested_ok: bool | None = None
    """Whether it opened them all then."""
    active: bool = False


def insert(database: Database, row: RecoveryKeyRow) -> None:
    """Take a key in, not active yet.

    Raises:
        ConflictError: it is there already.
    """
    database.execute(
        "INSERT INTO recovery_keys (key_id, created_at, active) VALUES (?, ?, ?)",
        (row.key_id, to_microseconds(row.created_at), False),
    )


def activate(database: Database, key_id: bytes | None) -> None:
    """Make this the key that sealed jobs are protected by; none, if no key is named."""
    with database.transaction():
        database.execute("UPDATE recovery_keys SET active = ?", (False,))
        database.execute("UPDATE recovery_keys SET active = ? WHERE key_id = ?", (True, key_id))


def active(database: Database) -> RecoveryKeyRow | None:
    """Return the key that sealed jobs are protected by, if there is one."""
    row = database.one("SELECT * FROM recovery_keys WHERE active = ?", (True,))
    return None if row is None else _row(row)


def find(database: Database, key_id: bytes) -> RecoveryKeyRow | None:
    row = database.one("SELECT * FROM recovery_keys WHERE key_id = ?", (key_id,))
    return None if row is None else _row(row)


def all_rows(database: Database) -> list[RecoveryKeyRow]:
    """Return every key there has been, oldest first."""
    rows = database.query("SELECT * FROM recovery_keys ORDER BY created_at, key_id")
    return [_row(row) for row in rows]


def tested(database: Database, key_id: bytes, at: datetime, *, ok: bool) -> None:
    """Remember how the key fared when it was tried on the newest points."""
    database.execute(
        "UPDATE recovery_keys SET tested_at = ?, tested_ok = ? WHERE key_id = ?",
        (to_microseconds(at), ok, key_id),
    )


def _row(row: Row) -> RecoveryKeyRow:
    tested_at, tested_ok = row["tested_at"], row["tested_ok"]
    return RecoveryKeyRow(
        row["key_id"],
        from_microseconds(row["created_at"]),
        None if tested_at is None else from_microseconds(tested_at),
        None if tested_ok is None else bool(tested_ok),
        bool(row["active"]),
    )
