"""A repository: a place with a marker, and the chains in it.

A session never creates a repository. Where the marker is missing, a disk is not mounted or
the operator mistyped; writing there would scatter backups where nobody looks for them.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from strongroom.clock import Clock, to_microseconds
from strongroom.crypto import random
from strongroom.errors import (
    ConflictError,
    NotARepositoryError,
    ObjectExistsError,
    ObjectMissingError,
)
from strongroom.format.codec import MAX_SMALL
from strongroom.format.header import RepositoryMarker, frame_marker, read_marker
from strongroom.format.versions import FORMAT
from strongroom.repository import layout
from strongroom.repository.chain import Chain
from strongroom.repository.framed import get_framed
from strongroom.storage.reading import AskedAhead

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from strongroom.storage.base import Storage


_AHEAD: Final = 16
"""The most entries, and the most envelopes and links, that are worth asking for before it is known
which of them count: a request costs little, and an answer's time is what a reader waits for."""


class Repository:
    """Chains by their ids, in one storage."""

    def __init__(self, storage: Storage, marker: RepositoryMarker) -> None:
        self.storage = storage
        self.repository_id = marker.repository_id

    @classmethod
    def create(cls, storage: Storage, clock: Clock) -> Repository:
        """Make the storage a repository.

        Raises:
            ConflictError: it holds something else already.
        """
        if next(storage.list(""), None) is not None:
            raise ConflictError(
                f"{storage.location} is not empty and not a repository",
                hint="choose an empty folder, so that nothing of yours is mixed with backups",
            )
        marker = RepositoryMarker(FORMAT, random.token(16), to_microseconds(clock.now()))
        try:
            storage.put(layout.MARKER, frame_marker(marker))
        except ObjectExistsError:
            raise ConflictError(
                f"{storage.location} became a repository just now: somebody else created it"
            ) from None
        return cls(storage, marker)

    @classmethod
    def open(cls, storage: Storage, then_listed: str = "") -> Repository:
        """Open what is there.

        Args:
            storage: Where.
            then_listed: A prefix of what the caller lists next: where the storage can be asked
                ahead, that is on its way at the same time.

        Raises:
            NotARepositoryError: the marker is missing.
            MalformedError: it is none.
        """
        if then_listed and isinstance(storage, AskedAhead):
            storage.ask([layout.MARKER], [then_listed])
        try:
            data = get_framed(storage, layout.MARKER, MAX_SMALL)
        except ObjectMissingError:
            raise NotARepositoryError(
                f"{storage.location} is not a repository: it lacks its marker {layout.MARKER}"
            ) from None
        return cls(storage, read_marker(data, layout.MARKER))

    def chain_ids(self) -> list[bytes]:
        """Return the ids of the chains that have a header here.

        What else lies there is nobody's header and stops nobody's work; scrub reports it.
        """
        ids = []
        for info in self.storage.list(layout.HEADERS):
            name = info.key.removeprefix(layout.HEADERS)
            if re.fullmatch(r"[0-9a-f]{32}", name):
                ids.append(bytes.fromhex(name))
        return ids

    def chain(self, chain_id: bytes) -> Chain:
        """Return a view of one chain; see `Chain` for what it raises."""
        return Chain(self.storage, chain_id)

    def chain_to_open(self, chain_id: bytes) -> Chain:
        """Return the same for who reads its journal and opens it with a secret.

        Where the storage can be asked ahead, that takes two answers' time, and not one for each
        small object.
        """
        if isinstance(self.storage, AskedAhead):
            ways = (layout.envelopes(chain_id), layout.links(chain_id))
            _ask_for_chains(self.storage, [chain_id], ways)
            keys = [key for folder in ways for key in self.storage.answered(folder)]
            self.storage.ask([*_newest_entries(self.storage, chain_id), *keys[:_AHEAD]])
        return self.chain(chain_id)

    @contextmanager
    def asked_for_session(self, chain_ids: Sequence[bytes]) -> Iterator[None]:
        """Have at hand, in the block, what a session reads of its job's chains to choose one.

        Where the storage can be asked ahead, that takes two answers' time. Behind the block
        nothing of it is believed any longer.

        Args:
            chain_ids: The chains, as far as they are known; the one it will probably write to
                is the last.
        """
        storage = self.storage
        if not isinstance(storage, AskedAhead):
            yield
            return
        known = chain_ids[-_AHEAD:]
        folders = [layout.HEADERS]
        for chain_id in known[-1:]:
            folders += [layout.links(chain_id), layout.mirror_notes(chain_id)]
        try:
            _ask_for_chains(storage, known, folders)
            strangers = {*storage.answered(layout.HEADERS)} - {*map(layout.header, known)}
            entries = [key for one in known for key in _newest_entries(storage, one)]
            storage.ask([*sorted(strangers), *entries])
            yield
        finally:
            storage.forget()


def _ask_for_chains(
    storage: AskedAhead, chain_ids: Sequence[bytes], folders: Iterable[str]
) -> None:
    """Ask for headers and for what is in journals, and for what else lies in some folders."""
    storage.ask(map(layout.header, chain_ids), [*map(layout.journal, chain_ids), *folders])


def _newest_entries(storage: AskedAhead, chain_id: bytes) -> list[str]:
    """Return the keys of the newest entries, of a journal that was asked for."""
    listed = storage.answered(layout.journal(chain_id))
    return sorted(key for key in listed if layout.entry_number(key))[-_AHEAD:]
