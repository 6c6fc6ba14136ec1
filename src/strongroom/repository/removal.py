"""Removing the objects that a prune has decided on: in their order, each when it is due."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Final

from strongroom.errors import ObjectLockedError
from strongroom.repository import layout
from strongroom.storage.reading import at_once, batches, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from strongroom.repository.locks import Lock
    from strongroom.storage.base import Storage

_HEADER: Final = layout.HEADERS.rstrip("/")
_STEP: Final = 64
"""Objects that are removed between two looks at the lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One object that may go."""

    object: str
    """Its key, below the chain; the chain's header by its whole key."""
    stored_bytes: int
    reason: str
    condemned_until: datetime | None
    """End of its quarantine; None where no entry condemns it yet."""

    @property
    def kind(self) -> str:
        """What kind of object it is: `packs`, `journal`, `headers` and so on."""
        return self.object.partition("/")[0]

    @property
    def name(self) -> str:
        """What is behind the kind."""
        return self.object.partition("/")[2]

    @property
    def is_header(self) -> bool:
        """Whether it is the chain's header, with which the chain is gone."""
        return self.kind == _HEADER


@dataclass(slots=True)
class Removed:
    """What became of removals."""

    count: int = 0
    freed_bytes: int = 0
    waiting: list[Removal] = field(default_factory=list)
    """What stays for now; what is locked among it."""
    locked: list[ObjectLockedError] = field(default_factory=list)
    with_header: bool = False
    """The chain itself is gone."""


class Remover:
    """Removes what is due, and holds back what may not go before something that stays.

    An older entry never outlives a newer one that says that it is given up, and pages never go
    before the entries that are read for them; the header goes only if nothing waits, and what
    is behind it goes with it.
    """

    def __init__(
        self, storage: Storage, chain_id: bytes, bearers: Mapping[int, Collection[bytes]]
    ) -> None:
        """Remove nothing yet.

        Args:
            storage: Where the chain is.
            chain_id: Whose objects.
            bearers: By the number of each entry that goes, the ids of the tables objects that
                its history is in.
        """
        self._storage = storage
        self._prefix = layout.chain(chain_id)
        self._bearers = dict(bearers)
        self._held_back = False
        """An entry stays, and so do those behind it."""
        self.removed = Removed()

    def run(
        self, removals: Sequence[Removal], is_due: Callable[[Removal], bool], lock: Lock
    ) -> Removed:
        """Remove what may go now.

        Args:
            removals: In their order.
            is_due: Tells whether an object was agreed on and its quarantine is over.
            lock: Is kept fresh.

        Raises:
            FencedError: somebody else has the lock now.
        """
        for some in _steps(removals):
            going = [one for one in some if self._goes(one, is_due)]
            lock.refresh()
            gone = side_by_side(self._delete, going, at_once(self._storage))
            for one, locked in zip(going, gone, strict=True):
                self._note(one, locked)
        return self.removed

    def _goes(self, one: Removal, is_due: Callable[[Removal], bool]) -> bool:
        goes = self.removed.with_header or is_due(one)
        if one.is_header:
            goes = not self.removed.waiting
        elif one.kind == "journal":
            self._held_back = self._held_back or not goes
            goes = not self._held_back
        elif one.kind == "tables" and goes:
            object_id = layout.tables_id(one.name)
            goes = not any(object_id in objects for objects in self._bearers.values())
        if not goes:
            self.removed.waiting.append(one)
        return goes

    def _delete(self, one: Removal) -> ObjectLockedError | None:
        """Remove an object; return why it stays, if it is locked."""
        try:
            self._storage.delete(one.object if one.is_header else self._prefix + one.object)
        except ObjectLockedError as error:
            return error
        return None

    def _note(self, one: Removal, locked: ObjectLockedError | None) -> None:
        if locked is not None:
            self.removed.locked.append(locked)
            self.removed.waiting.append(one)
            self._held_back = self._held_back or one.kind == "journal"
            return
        self.removed.count += 1
        self.removed.freed_bytes += one.stored_bytes
        if one.is_header:
            self.removed.with_header = True
        elif one.kind == "journal":
            self._bearers.pop(int(one.name), None)


def _steps(removals: Iterable[Removal]) -> Iterator[list[Removal]]:
    """Yield removals in their order; what is in one step may go side by side."""
    for kind, some in groupby(removals, lambda one: one.kind):
        yield from batches(some, 1 if kind in ("journal", _HEADER) else _STEP)
