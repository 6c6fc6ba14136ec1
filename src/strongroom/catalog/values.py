"""Single values by name: what belongs to the installation and to no noun of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.catalog.database import Database


def get(database: Database, name: str) -> bytes | None:
    row = database.one("SELECT value FROM settings WHERE name = ?", (name,))
    return None if row is None else bytes(row["value"])


def put(database: Database, name: str, value: bytes) -> None:
    database.execute(
        "INSERT INTO settings (name, value) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )
