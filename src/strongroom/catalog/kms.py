"""KMS servers: where they are, and which of their keys backups are sealed for.

Public halves and what opens a KMS are the keystore's. A key at a KMS stays known when its job
is gone or goes on with another: points may still be sealed for it.
"""

# ruff: noqa: S608 - what is put into statements here are column lists, never values

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.catalog.names import not_found
from strongroom.clock import from_microseconds, to_microseconds

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.catalog.database import Database, Row, Value

_COLUMNS = (
    "kms_id, name, kind, endpoints, bits, strict, vouching_key, created_at, changed_at, synced_at"
)
_KEY_COLUMNS = "kms_id, key, job_id, name, version, state, made_at, checked_at, proven_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class KmsRow:
    """A KMS as the catalog knows it."""

    kms_id: bytes
    name: str
    kind: str
    endpoints: tuple[str, ...]
    """URLs, in the order in which they are tried."""
    bits: int
    """Of the RSA keys that are made there."""
    strict: bool
    """A session fails while the KMS is away; otherwise it goes on with a warning."""
    vouching_key: str | None
    created_at: datetime
    changed_at: datetime
    synced_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KmsKeyRow:
    """A key at a KMS, made for one job."""

    kms_id: bytes
    key: str
    job_id: bytes
    name: str
    """What it is called at the KMS; its later versions have the same name."""
    version: int
    state: str
    """As it was when it was last asked for."""
    made_at: datetime
    checked_at: datetime
    proven_at: datetime | None = None
    """When the KMS was last seen to open something with it."""


def insert(database: Database, row: KmsRow) -> None:
    """Take a KMS in.

    Raises:
        ConflictError: the name is taken.
    """
    database.execute(
        f"INSERT INTO kms ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (row.kms_id, *_values(row)),
    )


def update(database: Database, row: KmsRow) -> None:
    """Write a KMS back under its id.

    Raises:
        ConflictError: its new name is taken.
    """
    database.execute(
        "UPDATE kms SET name = ?, kind = ?, endpoints = ?, bits = ?, strict = ?, "
        "vouching_key = ?, created_at = ?, changed_at = ?, synced_at = ? WHERE kms_id = ?",
        (*_values(row), row.kms_id),
    )


def _values(row: KmsRow) -> tuple[Value, ...]:
    return (
        row.name,
        row.kind,
        json.dumps(row.endpoints),
        row.bits,
        row.strict,
        row.vouching_key,
        to_microseconds(row.created_at),
        to_microseconds(row.changed_at),
        None if row.synced_at is None else to_microseconds(row.synced_at),
    )


def find(database: Database, name: str) -> KmsRow | None:
    row = database.one(f"SELECT {_COLUMNS} FROM kms WHERE name = ?", (name,))
    return None if row is None else _row(row)


def get(database: Database, name: str) -> KmsRow:
    """Return the KMS of this name.

    Raises:
        NotFoundError: there is none.
    """
    row = find(database, name)
    if row is None:
        known = [other.name for other in all_rows(database)]
        hint = f"'strongroom kms add {name} URL' adds one; 'kms list' shows all"
        raise not_found("kms", name, known, hint)
    return row


def all_rows(database: Database) -> list[KmsRow]:
    """Return every KMS, by name."""
    return [_row(row) for row in database.query(f"SELECT {_COLUMNS} FROM kms ORDER BY name")]


def remove(database: Database, kms_id: bytes) -> None:
    """Forget a KMS and its keys.

    Raises:
        ConflictError: a job names it.
    """
    database.execute("DELETE FROM kms WHERE kms_id = ?", (kms_id,))


# --- keys -----------------------------------------------------------------------------------


def add_key(database: Database, row: KmsKeyRow) -> None:
    database.execute(
        f"INSERT INTO kms_keys ({_KEY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.kms_id,
            row.key,
            row.job_id,
            row.name,
            row.version,
            row.state,
            to_microseconds(row.made_at),
            to_microseconds(row.checked_at),
            None if row.proven_at is None else to_microseconds(row.proven_at),
        ),
    )


def keys_of(database: Database, kms_id: bytes) -> list[KmsKeyRow]:
    """Return every key of a KMS that was made for a job, by name, newest version first."""
    rows = database.query(
        f"SELECT {_KEY_COLUMNS} FROM kms_keys WHERE kms_id = ? ORDER BY name, version DESC",
        (kms_id,),
    )
    return [_key_row(row) for row in rows]


def key_of_job(database: Database, kms_id: bytes, job_id: bytes) -> KmsKeyRow | None:
    """Return the newest key of a job at a KMS, if it has one."""
    row = database.one(
        f"SELECT {_KEY_COLUMNS} FROM kms_keys WHERE kms_id = ? AND job_id = ? "
        "ORDER BY version DESC LIMIT 1",
        (kms_id, job_id),
    )
    return None if row is None else _key_row(row)


def seen(database: Database, kms_id: bytes, key: str, state: str, at: datetime) -> None:
    """Note in which state a key was found."""
    database.execute(
        "UPDATE kms_keys SET state = ?, checked_at = ? WHERE kms_id = ? AND key = ?",
        (state, to_microseconds(at), kms_id, key),
    )


def proven(database: Database, kms_id: bytes, key: str, at: datetime) -> None:
    """Note that the KMS opened something with a key."""
    database.execute(
        "UPDATE kms_keys SET proven_at = ? WHERE kms_id = ? AND key = ?",
        (to_microseconds(at), kms_id, key),
    )


# --- recipients -----------------------------------------------------------------------------


def remember_recipient(database: Database, key_id: bytes, kms_id: bytes, key: str) -> None:
    """Note by which id a key stands in envelopes; it has another with each local half."""
    if database.one("SELECT 1 FROM kms_recipients WHERE key_id = ?", (key_id,)) is not None:
        return  # nearly always: who only reads takes no turn at writing
    database.execute(
        "INSERT INTO kms_recipients (key_id, kms_id, key) VALUES (?, ?, ?) "
        "ON CONFLICT (key_id) DO NOTHING",
        (key_id, kms_id, key),
    )


def recipients_of(database: Database, kms_id: bytes) -> dict[bytes, str]:
    """Return the keys of a KMS by the ids that they have in envelopes."""
    rows = database.query("SELECT key_id, key FROM kms_recipients WHERE kms_id = ?", (kms_id,))
    return {bytes(row["key_id"]): str(row["key"]) for row in rows}


def _row(row: Row) -> KmsRow:
    synced = row["synced_at"]
    return KmsRow(
        kms_id=row["kms_id"],
        name=row["name"],
        kind=row["kind"],
        endpoints=tuple(json.loads(row["endpoints"])),
        bits=row["bits"],
        strict=bool(row["strict"]),
        vouching_key=row["vouching_key"],
        created_at=from_microseconds(row["created_at"]),
        changed_at=from_microseconds(row["changed_at"]),
        synced_at=None if synced is None else from_microseconds(synced),
    )


def _key_row(row: Row) -> KmsKeyRow:
    proven_at = row["proven_at"]
    return KmsKeyRow(
        kms_id=row["kms_id"],
        key=row["key"],
        job_id=row["job_id"],
        name=row["name"],
        version=row["version"],
        state=row["state"],
        made_at=from_microseconds(row["made_at"]),
        checked_at=from_microseconds(row["checked_at"]),
        proven_at=None if proven_at is None else from_microseconds(proven_at),
    )
