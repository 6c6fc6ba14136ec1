"""Objects of chains without a header: what a removal left, and what was begun and never finished.

A chain's header is written last but for its entries, and removed before them. So without one a
chain is on its way in or out, unless somebody hides it: then its entries say that it was whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.errors import (
    IntegrityError,
    ObjectLockedError,
    ObjectMissingError,
    UnsupportedVersionError,
)
from strongroom.format.codec import MAX_ENTRY
from strongroom.format.journal import SessionBody, read_entry
from strongroom.repository import layout
from strongroom.repository.framed import get_framed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from strongroom.repository.repository import Repository
    from strongroom.storage.base import ObjectInfo, ObjectKey, Storage


@dataclass(frozen=True, slots=True)
class Headless:
    """What there is of one chain without a header."""

    chain_id: bytes
    objects: tuple[ObjectInfo, ...]

    @property
    def stored_bytes(self) -> int:
        return sum(info.size for info in self.objects)

    @property
    def kinds(self) -> set[str]:
        """The folders that it has objects in."""
        return {info.key.split("/")[2] for info in self.objects}

    @property
    def is_remainder(self) -> bool:
        """Whether it is of the kinds that go after a header.

        A chain's last entries and their pages do, and nothing precedes a header in a chain's
        life but its envelopes.
        """
        return "journal" in self.kinds and self.kinds <= {"journal", "tables", "mirror"}

    @property
    def entries(self) -> list[ObjectKey]:
        return [one.key for one in self.objects if one.key.split("/")[2] == "journal"]


def find(repository: Repository) -> list[Headless]:
    """Return what there is of chains without a header, and of which no session entry is there."""
    storage = repository.storage
    begun = {chain_id.hex() for chain_id in repository.chain_ids()}
    found: dict[str, list[ObjectInfo]] = {}
    for info in storage.list("chains/"):
        name = info.key.split("/")[1]
        if name not in begun:
            found.setdefault(name, []).append(info)
    return [
        one
        for name, objects in found.items()
        if (chain_id := _chain_id(name)) is not None
        for one in [Headless(chain_id, tuple(objects))]
        if not storage.exists(layout.header(chain_id))
        and not any(_may_be_session(storage, key) for key in one.entries)
    ]


def remove(storage: Storage, found: Iterable[Headless], may_go: Callable[[Headless], bool]) -> int:
    """Remove what may go; return how many objects went.

    A locked object keeps what would go after it.
    """
    removed = 0
    for one in found:
        if not may_go(one):
            continue
        # The journal last: while one of its entries is there, this can be repeated.
        entries = set(one.entries)
        for key in sorted(
            (info.key for info in one.objects), key=lambda key: (key in entries, key)
        ):
            try:
                storage.delete(key)
            except ObjectLockedError:
                break
            removed += 1
    return removed


def _chain_id(name: str) -> bytes | None:
    try:
        chain_id = bytes.fromhex(name)
    except ValueError:
        return None
    return chain_id if len(chain_id) == 16 else None


def _may_be_session(storage: Storage, key: ObjectKey) -> bool:
    try:
        entry = read_entry(get_framed(storage, key, MAX_ENTRY), key)
    except ObjectMissingError:
        return False
    except (IntegrityError, UnsupportedVersionError):
        return True
    return isinstance(entry.body, SessionBody)
