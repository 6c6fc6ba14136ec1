"""Repositories by the names that operators gave them."""

# ruff: noqa: S608 - what is put into statements here are column lists, never values

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.catalog import scrubs
from strongroom.catalog.names import not_found
from strongroom.clock import from_microseconds, to_microseconds
from strongroom.model.rate import Timetable

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.catalog.database import Database, Row

_COLUMNS = "repository_id, name, location, added_at, credential_id, traffic_limit"


@dataclass(frozen=True, slots=True)
class RepositoryRow:
    """A repository as the catalog knows it."""

    repository_id: bytes
    name: str
    location: str
    added_at: datetime
    credential_id: bytes | None = None
    """What it is opened with; none where the environment has that."""
    limit: Timetable | None = None
    """How fast this installation may read and write there."""


def insert(database: Database, row: RepositoryRow) -> None:
    """Take a repository in.

    Raises:
        ConflictError: the name or the repository is there already.
    """
    database.execute(
        f"INSERT INTO repositories ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
        (
            row.repository_id,
            row.name,
            row.location,
            to_microseconds(row.added_at),
            row.credential_id,
            _text(row.limit),
        ),
    )


def find(database: Database, name: str) -> RepositoryRow | None:
    return _read(database.one(_where("name"), (name,)))


def get(database: Database, name: str) -> RepositoryRow:
    """Return the repository of this name.

    Raises:
        NotFoundError: there is none.
    """
    row = find(database, name)
    if row is None:
        known = [other.name for other in all_rows(database)]
        hint = "'strongroom repository list' shows all; a location needs a / or a scheme:"
        raise not_found("repository", name, known, hint)
    return row


def by_id(database: Database, repository_id: bytes) -> RepositoryRow | None:
    return _read(database.one(_where("repository_id"), (repository_id,)))


def by_location(database: Database, location: str) -> RepositoryRow | None:
    return _read(database.one(_where("location"), (location,)))


def all_rows(database: Database) -> list[RepositoryRow]:
    """Return every repository, by name."""
    rows = database.query(f"SELECT {_COLUMNS} FROM repositories ORDER BY name")
    return [_row(row) for row in rows]


def of_credential(database: Database, credential_id: bytes) -> list[RepositoryRow]:
    """Return the repositories that are opened with a credential, by name."""
    statement = f"{_where('credential_id')} ORDER BY name"
    return [_row(row) for row in database.query(statement, (credential_id,))]


def open_with(database: Database, repository_id: bytes, credential_id: bytes) -> None:
    """Remember another credential for a repository."""
    database.execute(
        "UPDATE repositories SET credential_id = ? WHERE repository_id = ?",
        (credential_id, repository_id),
    )


def move(database: Database, repository_id: bytes, location: str) -> None:
    """Remember another place of a repository."""
    database.execute(
        "UPDATE repositories SET location = ? WHERE repository_id = ?", (location, repository_id)
    )


def set_limit(database: Database, repository_id: bytes, limit: Timetable | None) -> None:
    """Remember how fast this installation may read and write in a repository."""
    database.execute(
        "UPDATE repositories SET traffic_limit = ? WHERE repository_id = ?",
        (_text(limit), repository_id),
    )


def remove(database: Database, repository_id: bytes) -> None:
    """Forget a repository and what is known of its chains; nothing happens to what is stored.

    Raises:
        ConflictError: a job writes to it.
    """
    with database.transaction():
        for table in ("chains", "copies", "copied_points", "floors"):
            database.execute(f"DELETE FROM {table} WHERE repository_id = ?", (repository_id,))
        scrubs.forget(database, repository_id)
        database.execute("DELETE FROM repositories WHERE repository_id = ?", (repository_id,))


def _where(column: str) -> str:
    return f"SELECT {_COLUMNS} FROM repositories WHERE {column} = ?"


def _read(row: Row | None) -> RepositoryRow | None:
    return None if row is None else _row(row)


def _row(row: Row) -> RepositoryRow:
    limit = row["traffic_limit"]
    return RepositoryRow(
        row["repository_id"],
        row["name"],
        row["location"],
        from_microseconds(row["added_at"]),
        row["credential_id"],
        None if limit is None else Timetable.parse(limit),
    )


def _text(limit: Timetable | None) -> str | None:
    return None if limit is None else str(limit)
