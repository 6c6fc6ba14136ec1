"""Restore points that were published, as a cache: the repository is what counts.

Retention and `status` ask it without opening a repository; `repository rescan` rebuilds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from strongroom.clock import from_microseconds, to_microseconds
from strongroom.model.gfs import Flag, Flagged

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from strongroom.catalog.database import Database, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class PointRow:
    """A restore point as the catalog knows it."""

    point_id: bytes
    chain_id: bytes
    job_id: bytes
    source_id: bytes
    session_id: bytes
    entry: int
    """Number of the journal entry that published it."""
    kind: str
    taken_at: datetime
    size_bytes: int
    stored_bytes: int
    files: int = 0
    held: bool = False
    flagged: Flagged | None = None
    """Why it is kept for long; given when it was made, and written once."""


def insert_many(database: Database, rows: Iterable[PointRow]) -> None:
    """Take points in; one that is there is written anew."""
    database.execute_many(
        "INSERT INTO points (point_id, chain_id, job_id, source_id, session_id, entry, kind, "
        "taken_at, size_bytes, stored_bytes, files, held, flags, flagged_on) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (point_id) DO UPDATE SET size_bytes = excluded.size_bytes, "
        "stored_bytes = excluded.stored_bytes, files = excluded.files, held = excluded.held",
        [
            (
                row.point_id,
                row.chain_id,
                row.job_id,
                row.source_id,
                row.session_id,
                row.entry,
                row.kind,
                to_microseconds(row.taken_at),
                row.size_bytes,
                row.stored_bytes,
                row.files,
                row.held,
                " ".join(row.flagged.flags) if row.flagged else "",
                row.flagged.day.isoformat() if row.flagged else None,
            )
            for row in rows
        ],
    )


def find(database: Database, point_id: bytes) -> PointRow | None:
    row = database.one("SELECT * FROM points WHERE point_id = ?", (point_id,))
    return None if row is None else _row(row)


def of_job(database: Database, job_id: bytes) -> list[PointRow]:
    """Return the job's points, oldest first, of all its chains."""
    rows = database.query(
        "SELECT * FROM points WHERE job_id = ? ORDER BY taken_at, entry, point_id", (job_id,)
    )
    return [_row(row) for row in rows]


def of_chain(database: Database, chain_id: bytes) -> list[PointRow]:
    """Return the chain's points, oldest first."""
    rows = database.query(
        "SELECT * FROM points WHERE chain_id = ? ORDER BY taken_at, entry, point_id", (chain_id,)
    )
    return [_row(row) for row in rows]


def set_held(database: Database, point_ids: Collection[bytes], held: bool) -> None:
    database.execute_many(
        "UPDATE points SET held = ? WHERE point_id = ?",
        [(held, point_id) for point_id in point_ids],
    )


def flag_many(database: Database, flagged: Mapping[bytes, Flagged]) -> None:
    """Write the flags of points anew: nobody knows any more which they were given."""
    database.execute_many(
        "UPDATE points SET flags = ?, flagged_on = ? WHERE point_id = ?",
        [(" ".join(one.flags), one.day.isoformat(), point_id) for point_id, one in flagged.items()],
    )


def move_many(database: Database, point_ids: Collection[bytes], chain_id: bytes) -> None:
    """Let points stand in another chain: they were re-encrypted, and nothing else changed."""
    database.execute_many(
        "UPDATE points SET chain_id = ? WHERE point_id = ?",
        [(chain_id, point_id) for point_id in point_ids],
    )


def remove_many(database: Database, point_ids: Collection[bytes]) -> None:
    database.execute_many(
        "DELETE FROM points WHERE point_id = ?", [(point_id,) for point_id in point_ids]
    )


def _row(row: Row) -> PointRow:
    return PointRow(
        point_id=row["point_id"],
        chain_id=row["chain_id"],
        job_id=row["job_id"],
        source_id=row["source_id"],
        session_id=row["session_id"],
        entry=row["entry"],
        kind=row["kind"],
        taken_at=from_microseconds(row["taken_at"]),
        size_bytes=row["size_bytes"],
        stored_bytes=row["stored_bytes"],
        files=row["files"],
        held=bool(row["held"]),
        flagged=Flagged(
            date.fromisoformat(row["flagged_on"]), tuple(map(Flag, row["flags"].split()))
        )
        if row["flagged_on"]
        else None,
    )
