"""Copies of chains in other repositories: how far each goes, and which points it has.

So the catalog says which of several drives has a point, wherever the drives are. A copy may lag
behind its original; it is held to what was seen of the copy itself. The floor of a repository is
what its keeper never goes under, whatever signers let go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.clock import from_microseconds, to_microseconds
from strongroom.model.floor import Floor

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from strongroom.catalog.database import Database, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRow:
    """One copy of a chain."""

    repository_id: bytes
    chain_id: bytes
    location: str
    """Where the repository was then."""
    number: int
    """The newest signed entry that it has."""
    entry_hash: bytes
    copied_at: datetime


def remember(database: Database, row: CopyRow, point_ids: Iterable[bytes]) -> None:
    """Remember a copy as it is now, with its points."""
    with database.transaction():
        database.execute(
            "INSERT INTO copies (repository_id, chain_id, location, number, entry_hash, copied_at) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (repository_id, chain_id) DO UPDATE SET "
            "location = excluded.location, number = excluded.number, "
            "entry_hash = excluded.entry_hash, copied_at = excluded.copied_at",
            (
                row.repository_id,
                row.chain_id,
                row.location,
                row.number,
                row.entry_hash,
                to_microseconds(row.copied_at),
            ),
        )
        database.execute(
            "DELETE FROM copied_points WHERE repository_id = ? AND chain_id = ?",
            (row.repository_id, row.chain_id),
        )
        database.execute_many(
            # A chain that was re-encrypted and the one before have the same points.
            "INSERT INTO copied_points (repository_id, point_id, chain_id) VALUES (?, ?, ?) "
            "ON CONFLICT (repository_id, point_id) DO UPDATE SET chain_id = excluded.chain_id",
            [(row.repository_id, point_id, row.chain_id) for point_id in point_ids],
        )


def find(database: Database, repository_id: bytes, chain_id: bytes) -> CopyRow | None:
    row = database.one(
        "SELECT * FROM copies WHERE repository_id = ? AND chain_id = ?", (repository_id, chain_id)
    )
    return None if row is None else _row(row)


def of_chain(database: Database, chain_id: bytes) -> list[CopyRow]:
    """Return a chain's copies, the newest first."""
    rows = database.query(
        "SELECT * FROM copies WHERE chain_id = ? ORDER BY number DESC, repository_id", (chain_id,)
    )
    return [_row(row) for row in rows]


def of_repository(database: Database, repository_id: bytes) -> list[CopyRow]:
    """Return the copies that a repository has."""
    rows = database.query(
        "SELECT * FROM copies WHERE repository_id = ? ORDER BY chain_id", (repository_id,)
    )
    return [_row(row) for row in rows]


def places_of_points(database: Database) -> dict[bytes, list[CopyRow]]:
    """Return, for every point that some copy has, those copies."""
    by_copy = {
        (row["repository_id"], row["chain_id"]): _row(row)
        for row in database.query("SELECT * FROM copies ORDER BY location")
    }
    found: dict[bytes, list[CopyRow]] = {}
    for row in database.query("SELECT * FROM copied_points ORDER BY repository_id"):
        copy = by_copy.get((row["repository_id"], row["chain_id"]))
        if copy is not None:
            found.setdefault(bytes(row["point_id"]), []).append(copy)
    return found


def forget(database: Database, repository_id: bytes, chain_id: bytes) -> None:
    """Forget a copy: it was removed, or is a copy no longer."""
    with database.transaction():
        for table in ("copies", "copied_points"):
            database.execute(
                f"DELETE FROM {table} WHERE repository_id = ? AND chain_id = ?",  # noqa: S608 - names
                (repository_id, chain_id),
            )


def floor(database: Database, repository_id: bytes) -> Floor:
    """Return a repository's floor; nothing where none was set."""
    row = database.one("SELECT points, days FROM floors WHERE repository_id = ?", (repository_id,))
    return Floor() if row is None else Floor(int(row["points"]), int(row["days"]))


def set_floor(database: Database, repository_id: bytes, floor: Floor) -> None:
    database.execute(
        "INSERT INTO floors (repository_id, points, days) VALUES (?, ?, ?) "
        "ON CONFLICT (repository_id) DO UPDATE SET points = excluded.points, days = excluded.days",
        (repository_id, floor.points, floor.days),
    )


def _row(row: Row) -> CopyRow:
    return CopyRow(
        repository_id=bytes(row["repository_id"]),
        chain_id=bytes(row["chain_id"]),
        location=row["location"],
        number=int(row["number"]),
        entry_hash=bytes(row["entry_hash"]),
        copied_at=from_microseconds(row["copied_at"]),
    )
