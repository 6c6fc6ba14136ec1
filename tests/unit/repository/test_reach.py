from strongroom.crypto import random
from strongroom.format.codec import encode
from strongroom.format.journal import SessionBody
from strongroom.format.pack import Directory
from strongroom.format.paging import Table, TableRoot
from strongroom.format.tables import (
    LEDGER_SPAN,
    PACK_SET_SPAN,
    SESSION_SPAN,
    SET_SPAN,
    LedgerPage,
    PackSet,
    SessionRecord,
    SessionSet,
)
from strongroom.repository.chain import Chain
from strongroom.repository.pages import PageCollector
from strongroom.repository.reach import Reach
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.chain_builder import start_chain


def a_state(chain: Chain, shared: PageCollector, sets: TableRoot, ledger: TableRoot) -> SessionBody:
    """Return a state of two sessions that have their block sets and ledgers in the same pages."""
    slots = {slot: SessionRecord(bytes([slot]) * 16, b"", b"", b"", ledger, 1) for slot in (1, 2)}
    record = SessionSet(sets)
    body = SessionBody(
        random.token(16),
        2,
        0,
        1,
        None,
        0,
        [],
        b"",
        [],
        Table(SessionRecord, SESSION_SPAN, TableRoot(), shared.load).updated(slots, shared.add),
        Table(SessionSet, SET_SPAN, TableRoot(), shared.load).updated(
            {1: record, 2: record}, shared.add
        ),
        TableRoot(),
    )
    shared.store()
    return body


def test_a_page_that_two_sessions_share_counts_for_both() -> None:
    chain = start_chain(MemoryStorage()).chain()
    pages = PageCollector(chain)
    sets = Table(PackSet, PACK_SET_SPAN, TableRoot(), pages.load).updated(
        {0: PackSet(b"\x03")}, pages.add
    )
    directory = Directory(bytes(32), 0, 0, 81, [0], [80], [1], bytes(32))
    ledger = Table(LedgerPage, LEDGER_SPAN, TableRoot(), pages.load).updated(
        {0: LedgerPage(encode(directory))}, pages.add
    )
    body = a_state(chain, pages, sets, ledger)

    reach = Reach(chain)

    # Otherwise care would take what one of them uses for dead, and remove it.
    assert sorted(reach.blocks(body)) == [(1, 0, 3), (2, 0, 3)]
    records = dict(reach.sessions(body))
    assert [list(reach.ledger(record)) for record in records.values()] == [
        [(0, encode(directory), directory)]
    ] * 2


def test_what_was_seen_is_not_told_again() -> None:
    chain = start_chain(MemoryStorage()).chain()
    pages = PageCollector(chain)
    sets = Table(PackSet, PACK_SET_SPAN, TableRoot(), pages.load).updated(
        {0: PackSet(b"\x03")}, pages.add
    )
    body = a_state(chain, pages, sets, TableRoot())
    reach = Reach(chain)

    assert len(list(reach.blocks(body))) == 2
    assert list(reach.blocks(body)) == []
