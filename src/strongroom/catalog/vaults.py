"""Vaults: which repositories demand encryption, and how long they keep what they hold.

With it, until when all that each chain's newest point needs is locked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.clock import from_microseconds, to_microseconds
from strongroom.model.immutability import DEFAULT_BATCH_DAYS, Immutability

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.catalog.database import Database


@dataclass(frozen=True, slots=True)
class Vault:
    """What a repository that is a vault demands."""

    immutability: Immutability | None = None
    """How long it keeps objects from being removed; None if it only demands encryption."""


def get(database: Database, repository_id: bytes) -> Vault | None:
    """Return what the repository demands; None if it is no vault."""
    row = database.one(
        "SELECT immutable_days, batch_days FROM vaults WHERE repository_id = ?", (repository_id,)
    )
    if row is None:
        return None
    if row["immutable_days"] is None:
        return Vault()
    return Vault(Immutability(int(row["immutable_days"]), int(row["batch_days"])))


def any_locks(database: Database) -> bool:
    """Tell whether any repository keeps objects from being removed."""
    found = database.one("SELECT 1 FROM vaults WHERE immutable_days IS NOT NULL LIMIT 1")
    return found is not None


def put(database: Database, repository_id: bytes, vault: Vault) -> None:
    """Make a repository a vault, or another one."""
    kept = vault.immutability
    database.execute(
        "INSERT INTO vaults (repository_id, immutable_days, batch_days) VALUES (?, ?, ?) "
        "ON CONFLICT (repository_id) DO UPDATE SET immutable_days = excluded.immutable_days, "
        "batch_days = excluded.batch_days",
        (
            repository_id,
            kept.days if kept else None,
            kept.batch_days if kept else DEFAULT_BATCH_DAYS,
        ),
    )


def remove(database: Database, repository_id: bytes) -> None:
    """Let a repository be no vault any longer."""
    database.execute("DELETE FROM vaults WHERE repository_id = ?", (repository_id,))


def locks(database: Database, repository_id: bytes) -> dict[bytes, datetime]:
    """Return until when all that the newest point needs is locked, by chain, where known."""
    rows = database.query(
        "SELECT chain_id, locked_until FROM chain_locks WHERE repository_id = ?", (repository_id,)
    )
    return {bytes(row["chain_id"]): from_microseconds(row["locked_until"]) for row in rows}


def remember_lock(
    database: Database, repository_id: bytes, chain_id: bytes, until: datetime
) -> None:
    database.execute(
        "INSERT INTO chain_locks (repository_id, chain_id, locked_until) VALUES (?, ?, ?) "
        "ON CONFLICT (repository_id, chain_id) DO UPDATE SET locked_until = excluded.locked_until",
        (repository_id, chain_id, to_microseconds(until)),
    )


def forget_locks(database: Database, repository_id: bytes) -> None:
    """Have all that newest points need locked anew: nobody knows any longer how it stands."""
    database.execute("DELETE FROM chain_locks WHERE repository_id = ?", (repository_id,))
