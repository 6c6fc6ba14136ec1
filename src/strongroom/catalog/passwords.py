"""Passwords: what there is and what it is called. Recipients and secrets are the keystore's.

A password keeps its name through changes of its secret. Every secret it has had is a
version, whose key id stays here: chains that are still sealed for it are found by it. No
public half is kept here, where someone could put another in its place: the keystore seals it.
"""

# ruff: noqa: S608 - what is put into statements here are column lists, never values

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.catalog.names import not_found
from strongroom.clock import from_microseconds, to_microseconds

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.catalog.database import Database, Row

_COLUMNS = "password_id, name, hint, write_only, version, created_at, changed_at, verified_at"


@dataclass(frozen=True, slots=True)
class PasswordRow:
    """A password as the catalog knows it."""

    password_id: bytes
    name: str
    hint: str
    write_only: bool
    """No seed of its present version is kept."""
    version: int
    created_at: datetime
    changed_at: datetime
    verified_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PasswordVersion:
    """One secret that a password has had, by its public half."""

    password_id: bytes
    version: int
    key_id: bytes
    made_at: datetime


def insert(database: Database, row: PasswordRow, first: PasswordVersion) -> None:
    """Take a password in, with its first version.

    Raises:
        ConflictError: the name is taken.
    """
    with database.transaction():
        database.execute(
            f"INSERT INTO passwords ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (row.password_id, row.name, *_changeable(row)),
        )
        add_version(database, first)


def update(database: Database, row: PasswordRow) -> None:
    """Write a password back under its id."""
    database.execute(
        "UPDATE passwords SET hint = ?, write_only = ?, version = ?, created_at = ?, "
        "changed_at = ?, verified_at = ? WHERE password_id = ?",
        (*_changeable(row), row.password_id),
    )


def _changeable(row: PasswordRow) -> tuple[str, bool, int, int, int, int | None]:
    verified = None if row.verified_at is None else to_microseconds(row.verified_at)
    return (
        row.hint,
        row.write_only,
        row.version,
        to_microseconds(row.created_at),
        to_microseconds(row.changed_at),
        verified,
    )


def add_version(database: Database, version: PasswordVersion) -> None:
    database.execute(
        "INSERT INTO password_versions (password_id, version, key_id, made_at) VALUES (?, ?, ?, ?)",
        (
            version.password_id,
            version.version,
            version.key_id,
            to_microseconds(version.made_at),
        ),
    )


def versions(database: Database, password_id: bytes) -> list[PasswordVersion]:
    """Return every version, newest first."""
    rows = database.query(
        "SELECT password_id, version, key_id, made_at FROM password_versions "
        "WHERE password_id = ? ORDER BY version DESC",
        (password_id,),
    )
    return [
        PasswordVersion(
            row["password_id"],
            row["version"],
            row["key_id"],
            from_microseconds(row["made_at"]),
        )
        for row in rows
    ]


def find(database: Database, name: str) -> PasswordRow | None:
    row = database.one(
        f"SELECT {_COLUMNS} FROM passwords WHERE name = ?",
        (name,),
    )
    return None if row is None else _row(row)


def get(database: Database, name: str) -> PasswordRow:
    """Return the password of this name.

    Raises:
        NotFoundError: there is none.
    """
    row = find(database, name)
    if row is None:
        known = [other.name for other in all_rows(database)]
        hint = f"'strongroom password add {name}' makes one; 'password list' shows all"
        raise not_found("password", name, known, hint)
    return row


def all_rows(database: Database) -> list[PasswordRow]:
    """Return every password, by name."""
    rows = database.query(f"SELECT {_COLUMNS} FROM passwords ORDER BY name")
    return [_row(row) for row in rows]


def by_key(database: Database, key_id: bytes) -> tuple[PasswordRow, int] | None:
    """Return the password, and which version of it, that has this public half."""
    row = database.one(
        "SELECT p.*, v.version AS of_version FROM passwords p "
        "JOIN password_versions v ON v.password_id = p.password_id WHERE v.key_id = ?",
        (key_id,),
    )
    return None if row is None else (_row(row), int(row["of_version"]))


def remove(database: Database, password_id: bytes) -> None:
    """Forget a password and all its versions.

    Raises:
        ConflictError: a job names it.
    """
    database.execute("DELETE FROM passwords WHERE password_id = ?", (password_id,))


def _row(row: Row) -> PasswordRow:
    verified = row["verified_at"]
    return PasswordRow(
        row["password_id"],
        row["name"],
        row["hint"],
        bool(row["write_only"]),
        row["version"],
        from_microseconds(row["created_at"]),
        from_microseconds(row["changed_at"]),
        None if verified is None else from_microseconds(verified),
    )
