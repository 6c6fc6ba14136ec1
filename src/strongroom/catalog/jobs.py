"""Jobs, as `model.job` has them."""

# ruff: noqa: S608 - what is put into statements here are column lists, never values

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from strongroom.catalog.names import not_found
from strongroom.clock import to_microseconds
from strongroom.errors import NotFoundError
from strongroom.model.gfs import Month, Week, Weekday
from strongroom.model.job import (
    RULES,
    Compression,
    Encryption,
    Job,
    KmsEncryption,
    NoEncryption,
    PasswordEncryption,
    RetentionRules,
    SourceKind,
    SourceSpec,
)
from strongroom.model.rate import Timetable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from strongroom.catalog.database import Database, Row, Value

_SELECT = (
    "SELECT j.*, r.name AS repository, p.name AS password, k.name AS kms, "
    "g.job_id IS NOT NULL AS secret_to_read FROM jobs j "
    "JOIN repositories r ON r.repository_id = j.repository_id "
    "LEFT JOIN passwords p ON p.password_id = j.password_id "
    "LEFT JOIN kms k ON k.kms_id = j.kms_id "
    "LEFT JOIN guarded_jobs g ON g.job_id = j.job_id "
)
_COLUMNS = (
    "name",
    "repository_id",
    "password_id",
    "kms_id",
    "encryption",
    "local_half",
    "exclude",
    "one_file_system",
    "exclude_caches",
    "compression",
    "block_size",
    *RULES,
    "full_every_points",
    "full_every_days",
    "expect_every_hours",
    "traffic_limit",
    "pre_script",
    "post_script",
    "on_failure",
    "recovery",
)


def insert(database: Database, job: Job, created_at: datetime) -> None:
    """Take a job in.

    Raises:
        ConflictError: the name is taken.
        NotFoundError: its repository or its password is not in the catalog.
    """
    with database.transaction():
        columns = ", ".join((*_COLUMNS, "job_id", "created_at"))
        marks = ", ".join("?" * (len(_COLUMNS) + 2))
        database.execute(
            f"INSERT INTO jobs ({columns}) VALUES ({marks})",
            (*_values(database, job), job.job_id, to_microseconds(created_at)),
        )
        _put_sources(database, job)
        _put_guard(database, job)
        # Somebody goes on in the chains of a job that was removed.
        database.execute("DELETE FROM removed_jobs WHERE job_id = ?", (job.job_id,))


def update(database: Database, job: Job) -> None:
    """Write a job back under its id.

    Raises:
        ConflictError: its new name is taken.
        NotFoundError: there is no such job, or what it names is not in the catalog.
    """
    with database.transaction():
        assignments = ", ".join(f"{column} = ?" for column in _COLUMNS)
        touched = database.execute(
            f"UPDATE jobs SET {assignments} WHERE job_id = ?",
            (*_values(database, job), job.job_id),
        )
        if not touched:
            raise NotFoundError(f"there is no job {job.name}", job=job.name)
        _put_sources(database, job)
        _put_guard(database, job)


def find(database: Database, name: str) -> Job | None:
    row = database.one(_SELECT + "WHERE j.name = ?", (name,))
    return None if row is None else _job(database, row)


def get(database: Database, name: str) -> Job:
    """Return the job of this name.

    Raises:
        NotFoundError: there is none.
    """
    job = find(database, name)
    if job is None:
        raise unknown(database, name)
    return job


def unknown(database: Database, name: str) -> NotFoundError:
    """Return the error for a name that no job has."""
    known = [job.name for job in all_jobs(database)]
    return not_found("job", name, known, "'strongroom job list' shows all")


def by_id(database: Database, job_id: bytes) -> Job | None:
    row = database.one(_SELECT + "WHERE j.job_id = ?", (job_id,))
    return None if row is None else _job(database, row)


def all_jobs(database: Database) -> list[Job]:
    """Return every job, by name."""
    return [_job(database, row) for row in database.query(_SELECT + "ORDER BY j.name")]


def of_repository(database: Database, repository_id: bytes) -> list[Job]:
    rows = database.query(_SELECT + "WHERE j.repository_id = ? ORDER BY j.name", (repository_id,))
    return [_job(database, row) for row in rows]


def of_password(database: Database, password_id: bytes) -> list[Job]:
    rows = database.query(_SELECT + "WHERE j.password_id = ? ORDER BY j.name", (password_id,))
    return [_job(database, row) for row in rows]


def of_kms(database: Database, kms_id: bytes) -> list[Job]:
    rows = database.query(_SELECT + "WHERE j.kms_id = ? ORDER BY j.name", (kms_id,))
    return [_job(database, row) for row in rows]


def remove(database: Database, job_id: bytes) -> None:
    """Forget a job; its points, what is known of its chains and whether they are guarded stay."""
    database.execute("DELETE FROM jobs WHERE job_id = ?", (job_id,))


def is_guarded(database: Database, job_id: bytes) -> bool:
    """Tell whether the points of a job, which may be removed, are read with a given secret only."""
    row = database.one("SELECT job_id FROM guarded_jobs WHERE job_id = ?", (job_id,))
    return row is not None


def guard(database: Database, job_id: bytes) -> None:
    """Let the points of a copy, whose id this is, be read with a given secret only."""
    if not is_guarded(database, job_id):
        database.execute("INSERT INTO guarded_jobs (job_id) VALUES (?)", (job_id,))


def counter(database: Database, job_id: bytes) -> int:
    """Return the number of the job's newest session that is known to have published; 0: none."""
    row = database.one("SELECT counter FROM jobs WHERE job_id = ?", (job_id,))
    return 0 if row is None else int(row["counter"])


def remember_counter(database: Database, job_id: bytes, number: int) -> None:
    """Note that session `number` of the job has published; an older one changes nothing."""
    database.execute(
        "UPDATE jobs SET counter = ? WHERE job_id = ? AND counter < ?", (number, job_id, number)
    )


def _values(database: Database, job: Job) -> Sequence[Value]:
    repository_id = _id_of(database, "repository", "repositories", job.repository)
    password_id = kms_id = None
    encryption, local_half = "none", False
    if isinstance(job.encryption, PasswordEncryption):
        password_id = _id_of(database, "password", "passwords", job.encryption.name)
        encryption = "password"
    elif isinstance(job.encryption, KmsEncryption):
        kms_id = _id_of(database, "kms", "kms", job.encryption.name)
        encryption, local_half = "kms", job.encryption.local_half
    return (
        job.name,
        repository_id,
        password_id,
        kms_id,
        encryption,
        local_half,
        json.dumps(job.exclude),
        job.one_file_system,
        job.exclude_caches,
        job.compression.value,
        job.block_size,
        *(getattr(job.retention, rule) for rule in RULES),
        job.full_every_points,
        job.full_every_days,
        job.expect_every_hours,
        None if job.limit is None else str(job.limit),
        job.pre_script,
        job.post_script,
        job.on_failure,
        job.recovery,
    )


def _id_of(database: Database, what: str, table: str, name: str) -> bytes:
    row = database.one(
        f"SELECT {what}_id FROM {table} WHERE name = ?",
        (name,),
    )
    if row is None:
        raise NotFoundError(
            f"there is no {what} {name}", hint=f"'strongroom {what} add {name}' makes it"
        )
    found: bytes = row[0]
    return found


def _put_sources(database: Database, job: Job) -> None:
    database.execute("DELETE FROM job_sources WHERE job_id = ?", (job.job_id,))
    database.execute_many(
        "INSERT INTO job_sources (job_id, position, source_id, kind, value) VALUES (?, ?, ?, ?, ?)",
        [
            (job.job_id, position, source.source_id, source.kind.value, source.value)
            for position, source in enumerate(job.sources)
        ],
    )


def _put_guard(database: Database, job: Job) -> None:
    database.execute("DELETE FROM guarded_jobs WHERE job_id = ?", (job.job_id,))
    if job.secret_to_read:
        database.execute("INSERT INTO guarded_jobs (job_id) VALUES (?)", (job.job_id,))


def _job(database: Database, row: Row) -> Job:
    sources = database.query(
        "SELECT source_id, kind, value FROM job_sources WHERE job_id = ? ORDER BY position",
        (row["job_id"],),
    )
    encryption: Encryption = NoEncryption()
    if row["encryption"] == "password":
        encryption = PasswordEncryption(row["password"])
    elif row["encryption"] == "kms":
        encryption = KmsEncryption(row["kms"], bool(row["local_half"]))
    return Job(
        name=row["name"],
        job_id=row["job_id"],
        repository=row["repository"],
        sources=tuple(
            SourceSpec(source["source_id"], SourceKind(source["kind"]), source["value"])
            for source in sources
        ),
        encryption=encryption,
        exclude=tuple(json.loads(row["exclude"])),
        one_file_system=bool(row["one_file_system"]),
        exclude_caches=bool(row["exclude_caches"]),
        compression=Compression(row["compression"]),
        block_size=row["block_size"],
        retention=retention_of(row),
        full_every_points=row["full_every_points"],
        full_every_days=row["full_every_days"],
        expect_every_hours=row["expect_every_hours"],
        limit=None if row["traffic_limit"] is None else Timetable.parse(row["traffic_limit"]),
        pre_script=row["pre_script"],
        post_script=row["post_script"],
        on_failure=row["on_failure"],
        recovery=bool(row["recovery"]),
        secret_to_read=bool(row["secret_to_read"]),
    )


def retention_of(row: Row) -> RetentionRules:
    """Return the rules that stand in the columns of their names."""
    return RetentionRules(
        keep_last=row["keep_last"],
        keep_days=row["keep_days"],
        keep_weekly=row["keep_weekly"],
        keep_monthly=row["keep_monthly"],
        keep_yearly=row["keep_yearly"],
        weekly_on=Weekday(row["weekly_on"]),
        monthly_on=Week(row["monthly_on"]),
        yearly_in=Month(row["yearly_in"]),
    )
