"""Credentials of places elsewhere, by the names that operators gave them; the keystore has them."""

# ruff: noqa: S608 - what is put into statements here are column lists, never values

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.catalog.names import not_found
from strongroom.clock import from_microseconds, to_microseconds

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.catalog.database import Database, Row

_COLUMNS = "credential_id, name, created_at, changed_at"


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """A credential as the catalog knows it."""

    credential_id: bytes
    name: str
    created_at: datetime
    changed_at: datetime


def insert(database: Database, row: CredentialRow) -> None:
    """Take a credential in.

    Raises:
        ConflictError: the name is taken.
    """
    database.execute(
        f"INSERT INTO credentials ({_COLUMNS}) VALUES (?, ?, ?, ?)",
        (
            row.credential_id,
            row.name,
            to_microseconds(row.created_at),
            to_microseconds(row.changed_at),
        ),
    )


def find(database: Database, name: str) -> CredentialRow | None:
    row = database.one(f"SELECT {_COLUMNS} FROM credentials WHERE name = ?", (name,))
    return None if row is None else _row(row)


def get(database: Database, name: str) -> CredentialRow:
    """Return the credential of this name.

    Raises:
        NotFoundError: there is none.
    """
    row = find(database, name)
    if row is None:
        known = [other.name for other in all_rows(database)]
        hint = f"'strongroom credential add {name}' keeps one; 'credential list' shows all"
        raise not_found("credential", name, known, hint)
    return row


def by_id(database: Database, credential_id: bytes) -> CredentialRow | None:
    statement = f"SELECT {_COLUMNS} FROM credentials WHERE credential_id = ?"
    row = database.one(statement, (credential_id,))
    return None if row is None else _row(row)


def all_rows(database: Database) -> list[CredentialRow]:
    """Return every credential, by name."""
    rows = database.query(f"SELECT {_COLUMNS} FROM credentials ORDER BY name")
    return [_row(row) for row in rows]


def touch(database: Database, credential_id: bytes, changed_at: datetime) -> None:
    """Remember when a credential became another."""
    database.execute(
        "UPDATE credentials SET changed_at = ? WHERE credential_id = ?",
        (to_microseconds(changed_at), credential_id),
    )


def remove(database: Database, credential_id: bytes) -> None:
    """Forget a credential.

    Raises:
        ConflictError: a repository is opened with it.
    """
    database.execute("DELETE FROM credentials WHERE credential_id = ?", (credential_id,))


def _row(row: Row) -> CredentialRow:
    return CredentialRow(
        row["credential_id"],
        row["name"],
        from_microseconds(row["created_at"]),
        from_microseconds(row["changed_at"]),
    )
