"""Jobs that were removed, as far as their points go on by their rules."""

# ruff: noqa: S608 - what is put into statements here are column lists, never values

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.catalog.jobs import retention_of
from strongroom.clock import from_microseconds, to_microseconds
from strongroom.model.job import RULES

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.catalog.database import Database, Row
    from strongroom.model.job import Job, RetentionRules

_COLUMNS = ("job_id", "name", "removed_at", *RULES)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedJob:
    """A job that is gone and has left points."""

    job_id: bytes
    name: str
    removed_at: datetime
    retention: RetentionRules
    """Its last."""


def insert(database: Database, job: Job, removed_at: datetime) -> None:
    """Remember by which rules the points of a job go on."""
    rules = (getattr(job.retention, rule) for rule in RULES)
    database.execute(
        f"INSERT INTO removed_jobs ({', '.join(_COLUMNS)}) "
        f"VALUES ({', '.join('?' * len(_COLUMNS))})",
        (job.job_id, job.name, to_microseconds(removed_at), *rules),
    )


def find(database: Database, job_id: bytes) -> RemovedJob | None:
    row = database.one("SELECT * FROM removed_jobs WHERE job_id = ?", (job_id,))
    return None if row is None else _job(row)


def all_rows(database: Database) -> list[RemovedJob]:
    """Return them all, those that were removed first at the front."""
    rows = database.query("SELECT * FROM removed_jobs ORDER BY removed_at, name, job_id")
    return [_job(row) for row in rows]


def forget(database: Database, job_id: bytes) -> None:
    """Let a removed job go: its last chain is gone, or somebody goes on in it."""
    database.execute("DELETE FROM removed_jobs WHERE job_id = ?", (job_id,))


def _job(row: Row) -> RemovedJob:
    return RemovedJob(
        job_id=row["job_id"],
        name=row["name"],
        removed_at=from_microseconds(row["removed_at"]),
        retention=retention_of(row),
    )
