"""What was begun in a repository and never finished goes, and nothing else without a header."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.control import care
from strongroom.control.access import storage_of
from strongroom.crypto import random
from strongroom.repository import layout

if TYPE_CHECKING:
    from strongroom.control.care import PruneResult
    from strongroom.storage.base import Storage
    from tests.unit.control.conftest import Workshop

DAY = timedelta(days=1)


def begin(storage: Storage) -> bytes:
    """Leave what a copy leaves that stops after its first pack."""
    chain_id = random.token(16)
    storage.put(layout.envelope(chain_id, bytes(32), 1, "a"), b"an envelope")
    storage.put(layout.pack(chain_id, random.token(32)), bytes(1000))
    return chain_id


def objects(storage: Storage, chain_id: bytes) -> list[str]:
    return [info.key for info in storage.list(layout.chain(chain_id))]


def prune(shop: Workshop, *, drop: bool = False, dry_run: bool = False) -> PruneResult:
    return care.prune(shop.ctx, "main", drop_unfinished=drop, dry_run=dry_run)


def test_what_nobody_goes_on_with_goes_after_thirty_days(shop: Workshop) -> None:
    shop.repository()
    storage = storage_of(shop.ctx, "main")
    begun = begin(storage)
    (told,) = prune(shop).unfinished
    assert (told.chain, told.objects, told.stored_bytes) == (begun.hex(), 2, 1011)
    assert told.goes_at == shop.clock.now() + 30 * DAY

    shop.clock.advance(29 * DAY)
    prune(shop)
    assert objects(storage, begun)
    shop.clock.advance(DAY)
    assert prune(shop, dry_run=True).unfinished[0].goes_at is None
    assert objects(storage, begun)
    prune(shop)

    assert objects(storage, begun) == []
    assert prune(shop).unfinished == ()


def test_what_somebody_goes_on_with_stays(shop: Workshop) -> None:
    shop.repository()
    storage = storage_of(shop.ctx, "main")
    begun = begin(storage)
    for _ in range(5):
        prune(shop)
        shop.clock.advance(20 * DAY)
        storage.put(layout.pack(begun, random.token(32)), bytes(1000))

    prune(shop)

    assert len(objects(storage, begun)) == 7


def test_where_nothing_is_being_made_it_goes_at_once(shop: Workshop) -> None:
    shop.repository()
    storage = storage_of(shop.ctx, "main")
    begun = begin(storage)

    prune(shop, drop=True, dry_run=True)
    assert objects(storage, begun)
    prune(shop, drop=True)

    assert objects(storage, begun) == []


def test_a_chain_whose_header_is_gone_is_not_taken_for_unfinished(shop: Workshop) -> None:
    shop.repository()
    shop.job()
    shop.session()
    chain_id = shop.chain().chain_id
    storage = storage_of(shop.ctx, "main")
    storage.delete(layout.header(chain_id))
    before = objects(storage, chain_id)

    assert prune(shop, drop=True).unfinished == ()

    assert objects(storage, chain_id) == before


def test_nor_is_one_that_this_server_knows_though_its_journal_is_gone_as_well(
    shop: Workshop,
) -> None:
    shop.repository()
    shop.job()
    shop.session()
    chain_id = shop.chain().chain_id
    storage = storage_of(shop.ctx, "main")
    storage.put(layout.pack(chain_id, random.token(32)), b"a pack")
    storage.delete(layout.header(chain_id))
    for info in list(storage.list(layout.journal(chain_id))):
        storage.delete(info.key)
    before = objects(storage, chain_id)

    assert prune(shop, drop=True).unfinished == ()

    assert objects(storage, chain_id) == before
