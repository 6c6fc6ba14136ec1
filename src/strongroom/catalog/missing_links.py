"""Links between chain keys that are still to be made, and whose secrets they keep needed.

A chain lacks one where its recipients were changed while nothing opened the key before. Then
the newest secret alone does not open the chain whole, and the older one is not to be let go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.catalog.chains import ChainRow
    from strongroom.catalog.database import Database


@dataclass(frozen=True, slots=True)
class MissingLink:
    """A link from a newer chain key to an older one that is still to be made."""

    older_id: bytes
    newer_id: bytes


def add(database: Database, chain_id: bytes, link: MissingLink) -> None:
    """Remember that a link is still to be made, and no other to the same older key."""
    database.execute(
        "INSERT INTO missing_links (chain_id, older_id, newer_id) VALUES (?, ?, ?) "
        "ON CONFLICT (chain_id, older_id) DO UPDATE SET newer_id = excluded.newer_id",
        (chain_id, link.older_id, link.newer_id),
    )


def of_chain(database: Database, chain_id: bytes) -> list[MissingLink]:
    rows = database.query(
        "SELECT older_id, newer_id FROM missing_links WHERE chain_id = ? ORDER BY older_id",
        (chain_id,),
    )
    return [MissingLink(bytes(row["older_id"]), bytes(row["newer_id"])) for row in rows]


def remove(database: Database, chain_id: bytes, older_id: bytes) -> None:
    """Forget that a link was to be made: it is, or nobody needs it."""
    database.execute(
        "DELETE FROM missing_links WHERE chain_id = ? AND older_id = ?", (chain_id, older_id)
    )


def whole_openers(database: Database, chain: ChainRow) -> frozenset[bytes]:
    """Return the recipients whose secrets each open a chain whole, by themselves."""
    openers = chain.recipient_ids
    for recipients in _older(database, chain):
        openers &= recipients
    return openers


def needed(database: Database, chain: ChainRow) -> frozenset[bytes]:
    """Return the recipients of which one or the other is needed to open a chain whole."""
    return chain.recipient_ids.union(*_older(database, chain))


def _older(database: Database, chain: ChainRow) -> list[frozenset[bytes]]:
    """Return whom each key is sealed for that a link to is still to be made."""
    found = []
    for link in of_chain(database, chain.chain_id):
        rows = database.query(
            "SELECT key_id FROM chain_recipients WHERE chain_id = ? AND chain_key_id = ?",
            (chain.chain_id, link.older_id),
        )
        found.append(frozenset(bytes(row["key_id"]) for row in rows))
    return found
