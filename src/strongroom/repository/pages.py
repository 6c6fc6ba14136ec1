"""Collects the public pages of one publication into one tables object."""

from __future__ import annotations

from strongroom.crypto import random
from strongroom.crypto.content import fingerprint
from strongroom.format.codec import frame
from strongroom.format.paging import PageRef
from strongroom.format.versions import TABLES
from strongroom.repository import layout
from strongroom.repository.chain import TABLES_HEAD, Chain


class PageCollector:
    """Pages on their way into a tables object; readable at once, stored by `store`."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.object_id = random.token(16)
        self._body = bytearray()

    def add(self, page: bytes) -> PageRef:
        """Take a page over and return where it will lie."""
        ref = PageRef(self.object_id, TABLES_HEAD + len(self._body), len(page), fingerprint(page))
        self._body += page
        return ref

    def load(self, ref: PageRef) -> bytes:
        """Return a page, whether it is stored already or still here."""
        if ref.object_id == self.object_id:
            start = ref.offset - TABLES_HEAD
            return bytes(self._body[start : start + ref.length])
        return self._chain.load_page(ref)

    @property
    def byte_count(self) -> int:
        """Bytes collected so far."""
        return len(self._body)

    def store(self) -> None:
        """Make the pages durable; nothing to do when there are none."""
        if self._body:
            self._chain.storage.put(
                layout.tables(self._chain.chain_id, self.object_id),
                frame(TABLES, bytes(self._body)),
            )
