"""Copy jobs, and how the last copy of each ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.catalog.names import not_found
from strongroom.clock import from_microseconds, to_microseconds
from strongroom.model.copy_job import CopyJob
from strongroom.model.job import KmsEncryption, NoEncryption, PasswordEncryption

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.catalog.database import Database, Row
    from strongroom.model.job import Encryption

_SELECT = (
    "SELECT copy_jobs.*, jobs.name AS job, repositories.name AS repository, "
    "passwords.name AS password, kms.name AS kms FROM copy_jobs "
    "JOIN jobs ON jobs.job_id = copy_jobs.job_id "
    "JOIN repositories ON repositories.repository_id = copy_jobs.repository_id "
    "LEFT JOIN passwords ON passwords.password_id = copy_jobs.password_id "
    "LEFT JOIN kms ON kms.kms_id = copy_jobs.kms_id"
)


@dataclass(frozen=True, slots=True)
class CopyJobRow:
    """A copy job and its last run."""

    copy: CopyJob
    ran_at: datetime | None
    problem: str | None
    """Why the last run did not copy all; None if it did."""


def insert(database: Database, copy: CopyJob, created_at: datetime) -> None:
    """Take a copy job in; its job, its repository and whom it is sealed for are there.

    Raises:
        ConflictError: the name is taken.
    """
    sealed = copy.encryption
    database.execute(
        "INSERT INTO copy_jobs (copy_id, name, job_id, repository_id, after_run, created_at, "
        "password_id, kms_id, local_half, recovery, plain) "
        "SELECT ?, ?, jobs.job_id, repositories.repository_id, ?, ?, "
        "(SELECT password_id FROM passwords WHERE name = ?), "
        "(SELECT kms_id FROM kms WHERE name = ?), ?, ?, ? FROM jobs, repositories "
        "WHERE jobs.name = ? AND repositories.name = ?",
        (
            copy.copy_id,
            copy.name,
            copy.after_run,
            to_microseconds(created_at),
            sealed.name if isinstance(sealed, PasswordEncryption) else None,
            sealed.name if isinstance(sealed, KmsEncryption) else None,
            isinstance(sealed, KmsEncryption) and sealed.local_half,
            copy.recovery,
            copy.plain,
            copy.job,
            copy.repository,
        ),
    )


def find(database: Database, name: str) -> CopyJobRow | None:
    row = database.one(f"{_SELECT} WHERE copy_jobs.name = ?", (name,))
    return None if row is None else _row(row)


def get(database: Database, name: str) -> CopyJobRow:
    """Return the copy job of this name.

    Raises:
        NotFoundError: there is none.
    """
    found = find(database, name)
    if found is None:
        known = [row.copy.name for row in all_rows(database)]
        raise not_found("copy job", name, known, "'strongroom job copy list' shows all")
    return found


def by_id(database: Database, copy_id: bytes) -> CopyJobRow | None:
    row = database.one(f"{_SELECT} WHERE copy_jobs.copy_id = ?", (copy_id,))
    return None if row is None else _row(row)


def all_rows(database: Database) -> list[CopyJobRow]:
    """Return every copy job, by name."""
    return [_row(row) for row in database.query(f"{_SELECT} ORDER BY copy_jobs.name")]


def of_job(database: Database, job: str) -> list[CopyJobRow]:
    """Return those of one job, by name."""
    return [row for row in all_rows(database) if row.copy.job == job]


def of_repository(database: Database, repository: str) -> list[CopyJobRow]:
    """Return those that copy to one repository, by name."""
    return [row for row in all_rows(database) if row.copy.repository == repository]


def of_password(database: Database, password: str) -> list[CopyJobRow]:
    """Return those whose own key is sealed for a password, by name."""
    return [
        row for row in all_rows(database) if row.copy.encryption == PasswordEncryption(password)
    ]


def of_kms(database: Database, kms: str) -> list[CopyJobRow]:
    """Return those whose own key is sealed for a KMS, by name."""
    sealed = (KmsEncryption(kms), KmsEncryption(kms, local_half=True))
    return [row for row in all_rows(database) if row.copy.encryption in sealed]


def ran(database: Database, copy_id: bytes, at: datetime, problem: str | None) -> None:
    """Remember how a run ended."""
    database.execute(
        "UPDATE copy_jobs SET ran_at = ?, problem = ? WHERE copy_id = ?",
        (to_microseconds(at), problem, copy_id),
    )


def remove(database: Database, copy_id: bytes) -> None:
    database.execute("DELETE FROM copy_jobs WHERE copy_id = ?", (copy_id,))


def _row(row: Row) -> CopyJobRow:
    return CopyJobRow(
        CopyJob(
            copy_id=bytes(row["copy_id"]),
            name=row["name"],
            job=row["job"],
            repository=row["repository"],
            after_run=bool(row["after_run"]),
            encryption=_encryption(row),
            recovery=bool(row["recovery"]),
        ),
        None if row["ran_at"] is None else from_microseconds(row["ran_at"]),
        row["problem"],
    )


def _encryption(row: Row) -> Encryption | None:
    if row["plain"]:
        return NoEncryption()
    if row["password"] is not None:
        return PasswordEncryption(row["password"])
    if row["kms"] is not None:
        return KmsEncryption(row["kms"], bool(row["local_half"]))
    return None
