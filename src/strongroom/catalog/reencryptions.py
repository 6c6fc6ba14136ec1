"""Re-encryptions that are not finished: which new chain grows, and its header.

The header is signed already. The storage gets it last, for whoever has it can show the chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.catalog.database import Database, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class ReencryptionRow:
    """A new chain that is to take an old one's place."""

    chain_id: bytes
    old_chain_id: bytes
    job_id: bytes
    repository_id: bytes
    header: bytes
    """The object to store, not stored yet or just now."""


def insert(database: Database, row: ReencryptionRow) -> None:
    """Remember a re-encryption that begins.

    Raises:
        ConflictError: the old chain is being re-encrypted already.
    """
    database.execute(
        "INSERT INTO reencryptions (chain_id, old_chain_id, job_id, repository_id, header) "
        "VALUES (?, ?, ?, ?, ?)",
        (row.chain_id, row.old_chain_id, row.job_id, row.repository_id, row.header),
    )


def of_job(database: Database, job_id: bytes) -> list[ReencryptionRow]:
    """Return the job's unfinished re-encryptions."""
    return _rows(database, "job_id", job_id)


def of_repository(database: Database, repository_id: bytes) -> list[ReencryptionRow]:
    """Return the unfinished re-encryptions in a repository."""
    return _rows(database, "repository_id", repository_id)


def remove(database: Database, chain_id: bytes) -> None:
    """Forget one: it is finished or abandoned."""
    database.execute("DELETE FROM reencryptions WHERE chain_id = ?", (chain_id,))


def _rows(database: Database, column: str, value: bytes) -> list[ReencryptionRow]:
    rows = database.query(
        f"SELECT * FROM reencryptions WHERE {column} = ? ORDER BY chain_id",  # noqa: S608 - a name
        (value,),
    )
    return [_row(row) for row in rows]


def _row(row: Row) -> ReencryptionRow:
    return ReencryptionRow(
        chain_id=row["chain_id"],
        old_chain_id=row["old_chain_id"],
        job_id=row["job_id"],
        repository_id=row["repository_id"],
        header=row["header"],
    )
