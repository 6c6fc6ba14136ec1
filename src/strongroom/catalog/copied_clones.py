"""Which chains under a copy job's own key stand for which chains of its job.

While one is not published, its header waits here: the storage gets it last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.catalog.database import Database, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneRow:
    """A chain that stands for another one at the target of a copy job."""

    chain_id: bytes
    copy_id: bytes
    old_chain_id: bytes
    header: bytes | None
    """The object to store, not stored yet or just now; None once that is certain."""


def insert(database: Database, row: CloneRow) -> None:
    """Remember a clone that begins.

    Raises:
        ConflictError: the chain has one already.
    """
    database.execute(
        "INSERT INTO copied_clones (chain_id, copy_id, old_chain_id, header) VALUES (?, ?, ?, ?)",
        (row.chain_id, row.copy_id, row.old_chain_id, row.header),
    )


def of_copy(database: Database, copy_id: bytes) -> list[CloneRow]:
    """Return the clones of a copy job."""
    rows = database.query(
        "SELECT * FROM copied_clones WHERE copy_id = ? ORDER BY chain_id", (copy_id,)
    )
    return [_row(row) for row in rows]


def all_rows(database: Database) -> list[CloneRow]:
    """Return the clones of all copy jobs."""
    return [_row(row) for row in database.query("SELECT * FROM copied_clones")]


def published(database: Database, chain_id: bytes) -> None:
    """Remember that everybody sees a clone."""
    database.execute("UPDATE copied_clones SET header = NULL WHERE chain_id = ?", (chain_id,))


def remove(database: Database, chain_id: bytes) -> None:
    """Forget a clone: what it stood for is gone, or it is begun anew."""
    database.execute("DELETE FROM copied_clones WHERE chain_id = ?", (chain_id,))


def _row(row: Row) -> CloneRow:
    return CloneRow(
        chain_id=bytes(row["chain_id"]),
        copy_id=bytes(row["copy_id"]),
        old_chain_id=bytes(row["old_chain_id"]),
        header=None if row["header"] is None else bytes(row["header"]),
    )
