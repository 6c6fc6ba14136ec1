"""Synthetic fulls that are being made: which new chain grows, so that a crash leaves nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.catalog.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticFullRow:
    """A chain that has no header yet, unless its making ended just now."""

    chain_id: bytes
    job_id: bytes
    repository_id: bytes


def insert(database: Database, row: SyntheticFullRow) -> None:
    """Remember that a synthetic full begins."""
    database.execute(
        "INSERT INTO synthetic_fulls (chain_id, job_id, repository_id) VALUES (?, ?, ?)",
        (row.chain_id, row.job_id, row.repository_id),
    )


def of_job(database: Database, job_id: bytes) -> list[SyntheticFullRow]:
    """Return those of a job that have not ended."""
    return _rows(database, "job_id", job_id)


def of_repository(database: Database, repository_id: bytes) -> list[SyntheticFullRow]:
    """Return those in a repository that have not ended."""
    return _rows(database, "repository_id", repository_id)


def remove(database: Database, chain_id: bytes) -> None:
    """Forget one: it ended, well or not."""
    database.execute("DELETE FROM synthetic_fulls WHERE chain_id = ?", (chain_id,))


def _rows(database: Database, column: str, value: bytes) -> list[SyntheticFullRow]:
    rows = database.query(
        f"SELECT * FROM synthetic_fulls WHERE {column} = ? ORDER BY chain_id",  # noqa: S608 - a name
        (value,),
    )
    return [
        SyntheticFullRow(
            chain_id=row["chain_id"], job_id=row["job_id"], repository_id=row["repository_id"]
        )
        for row in rows
    ]
