"""Chains: which one a job's sessions write to, whom each is sealed for, and its envelopes.

The envelopes are copies of what the repository holds, public but for what is sealed in them;
a change of recipients makes key and link from them, and a damaged repository is mended by
them.
"""

# ruff: noqa: S608 - what is put into statements here are column lists, never values

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.clock import from_microseconds, to_microseconds

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.catalog.database import Database, Row

_COLUMNS = "chain_id, job_id, repository_id, sealed, chain_key_id, started_at, current, detached"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRow:
    """A chain as the catalog knows it."""

    chain_id: bytes
    job_id: bytes
    repository_id: bytes
    sealed: bool
    chain_key_id: bytes | None = None
    """The newest one; None if the chain is plain."""
    recipient_ids: frozenset[bytes] = frozenset()
    """Whom the newest chain key is sealed for."""
    started_at: datetime
    current: bool = True
    """The job's newest session wrote to it."""
    detached: bool = False
    """The operator split it off: the next session starts another."""


def insert(database: Database, row: ChainRow) -> None:
    """Take a chain in; if it is current, no other of its job is any longer.

    Raises:
        ConflictError: it is there already.
    """
    with database.transaction():
        if row.current:
            database.execute("UPDATE chains SET current = ? WHERE job_id = ?", (False, row.job_id))
        database.execute(
            f"INSERT INTO chains ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.chain_id,
                row.job_id,
                row.repository_id,
                row.sealed,
                row.chain_key_id,
                to_microseconds(row.started_at),
                row.current,
                row.detached,
            ),
        )
        _put_recipients(database, row.chain_id, row.chain_key_id, row.recipient_ids)


def rekeyed(
    database: Database, chain_id: bytes, chain_key_id: bytes, recipient_ids: frozenset[bytes]
) -> None:
    """Remember that the chain has a new chain key. Who opened the one before stays known."""
    with database.transaction():
        database.execute(
            "UPDATE chains SET chain_key_id = ? WHERE chain_id = ?", (chain_key_id, chain_id)
        )
        _put_recipients(database, chain_id, chain_key_id, recipient_ids)


def rewrapped(
    database: Database,
    chain_id: bytes,
    chain_key_id: bytes,
    recipient_ids: frozenset[bytes],
    envelope: bytes,
) -> None:
    """Remember that a chain key is sealed for others from now on, in this envelope."""
    with database.transaction():
        _put_recipients(database, chain_id, chain_key_id, recipient_ids)
        keep_envelope(database, chain_id, chain_key_id, envelope)


def _put_recipients(
    database: Database, chain_id: bytes, chain_key_id: bytes | None, key_ids: frozenset[bytes]
) -> None:
    if chain_key_id is None:
        return
    database.execute(
        "DELETE FROM chain_recipients WHERE chain_id = ? AND chain_key_id = ?",
        (chain_id, chain_key_id),
    )
    database.execute_many(
        "INSERT INTO chain_recipients (chain_id, chain_key_id, key_id) VALUES (?, ?, ?)",
        [(chain_id, chain_key_id, key_id) for key_id in sorted(key_ids)],
    )


def find(database: Database, chain_id: bytes) -> ChainRow | None:
    row = database.one(
        f"SELECT {_COLUMNS} FROM chains WHERE chain_id = ?",
        (chain_id,),
    )
    return None if row is None else _row(database, row)


def current(database: Database, job_id: bytes) -> ChainRow | None:
    """Return the chain that the job's newest session wrote to, if it has run."""
    row = database.one(
        f"SELECT {_COLUMNS} FROM chains WHERE job_id = ? AND current = ?",
        (job_id, True),
    )
    return None if row is None else _row(database, row)


def all_rows(database: Database) -> list[ChainRow]:
    """Return every chain, oldest first."""
    rows = database.query(f"SELECT {_COLUMNS} FROM chains ORDER BY started_at, chain_id")
    return [_row(database, row) for row in rows]


def of_job(database: Database, job_id: bytes) -> list[ChainRow]:
    """Return the job's chains, oldest first."""
    return _rows(database, "job_id", job_id)


def of_repository(database: Database, repository_id: bytes) -> list[ChainRow]:
    """Return the chains known to be in a repository, oldest first."""
    return _rows(database, "repository_id", repository_id)


def opened_by(database: Database, key_id: bytes) -> list[ChainRow]:
    """Return the chains that have, or had, a chain key sealed for this recipient."""
    rows = database.query(
        f"SELECT {_COLUMNS} FROM chains WHERE chain_id IN "
        "(SELECT chain_id FROM chain_recipients WHERE key_id = ?) ORDER BY started_at, chain_id",
        (key_id,),
    )
    return [_row(database, row) for row in rows]


def detach(database: Database, chain_id: bytes) -> None:
    """Split a chain off: the job's next session starts another."""
    database.execute("UPDATE chains SET detached = ? WHERE chain_id = ?", (True, chain_id))


def make_current(database: Database, job_id: bytes, chain_id: bytes) -> None:
    """Let the job go on in this chain: it was found to be newer than what was known."""
    with database.transaction():
        database.execute("UPDATE chains SET current = ? WHERE job_id = ?", (False, job_id))
        database.execute("UPDATE chains SET current = ? WHERE chain_id = ?", (True, chain_id))


def move(database: Database, chain_id: bytes, repository_id: bytes) -> None:
    """Let a chain be at home in another repository: a copy of it is there."""
    database.execute(
        "UPDATE chains SET repository_id = ? WHERE chain_id = ?", (repository_id, chain_id)
    )


def remove(database: Database, chain_id: bytes) -> None:
    """Forget a chain, its points and its envelopes; its head stays known."""
    database.execute("DELETE FROM chains WHERE chain_id = ?", (chain_id,))


def keep_envelope(database: Database, chain_id: bytes, chain_key_id: bytes, data: bytes) -> None:
    """Keep a copy of a chain key's envelope, in place of an older one."""
    database.execute(
        "INSERT INTO envelopes (chain_id, chain_key_id, data) VALUES (?, ?, ?) "
        "ON CONFLICT (chain_id, chain_key_id) DO UPDATE SET data = excluded.data",
        (chain_id, chain_key_id, data),
    )


def envelope(database: Database, chain_id: bytes, chain_key_id: bytes) -> bytes | None:
    row = database.one(
        "SELECT data FROM envelopes WHERE chain_id = ? AND chain_key_id = ?",
        (chain_id, chain_key_id),
    )
    return None if row is None else bytes(row["data"])


def _rows(database: Database, column: str, value: bytes) -> list[ChainRow]:
    rows = database.query(
        f"SELECT {_COLUMNS} FROM chains WHERE {column} = ? ORDER BY started_at, chain_id",
        (value,),
    )
    return [_row(database, row) for row in rows]


def _row(database: Database, row: Row) -> ChainRow:
    recipients = database.query(
        "SELECT key_id FROM chain_recipients WHERE chain_id = ? AND chain_key_id = ?",
        (row["chain_id"], row["chain_key_id"]),
    )
    return ChainRow(
        chain_id=row["chain_id"],
        job_id=row["job_id"],
        repository_id=row["repository_id"],
        sealed=bool(row["sealed"]),
        chain_key_id=row["chain_key_id"],
        recipient_ids=frozenset(bytes(recipient["key_id"]) for recipient in recipients),
        started_at=from_microseconds(row["started_at"]),
        current=bool(row["current"]),
        detached=bool(row["detached"]),
    )
