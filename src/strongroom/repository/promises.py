"""What retention promises, as the journal remembers it.

Every signed entry refers to a history: the hash of each entry before it, and which of its
points are still promised. Giving a point up, holding or releasing one changes the promise
first, signed; only then may prune touch what the point held. An unsigned condemnation
without such a change excuses no hole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import NotFoundError
from strongroom.format.journal import END, CondemnationBody, Entry, PromiseBody, SessionBody
from strongroom.format.paging import Table, TableRoot
from strongroom.format.tables import HISTORY_SPAN, HistoryRecord
from strongroom.repository.append import append_entry
from strongroom.repository.pages import PageCollector

if TYPE_CHECKING:
    from collections.abc import Collection

    from strongroom.clock import Clock
    from strongroom.crypto.signing import SigningKey
    from strongroom.repository.chain import Chain


def take_back(
    chain: Chain, point_ids: Collection[bytes], signer: SigningKey, clock: Clock, reason: str
) -> Entry:
    """Publish that `point_ids` are given up.

    Raises:
        NotFoundError: one of them is not a live point of this chain.
    """
    return _publish(chain, signer, clock, reason, give_up=point_ids)


def retire(
    chain: Chain, point_ids: Collection[bytes], signer: SigningKey, clock: Clock, reason: str
) -> Entry:
    """Publish that `point_ids` are given up, in a chain in which nobody goes on.

    Where no other point is live, the entry ends the chain, and prune may remove all of it.

    Raises:
        NotFoundError: one of them is not a live point of this chain.
    """
    return _publish(chain, signer, clock, reason, give_up=point_ids, retires=True)


def hold(chain: Chain, point_ids: Collection[bytes], signer: SigningKey, clock: Clock) -> Entry:
    """Publish that an operator holds `point_ids`: no retention removes them."""
    return _publish(chain, signer, clock, "hold", hold_ids=point_ids)


def release(chain: Chain, point_ids: Collection[bytes], signer: SigningKey, clock: Clock) -> Entry:
    """Publish that retention decides about `point_ids` again."""
    return _publish(chain, signer, clock, "release", release_ids=point_ids)


def _publish(
    chain: Chain,
    signer: SigningKey,
    clock: Clock,
    reason: str,
    *,
    give_up: Collection[bytes] = (),
    hold_ids: Collection[bytes] = (),
    release_ids: Collection[bytes] = (),
    retires: bool = False,
) -> Entry:
    chain.refresh()
    live = {point.point.point_id for point in chain.live_points()}
    unknown = {*give_up, *hold_ids, *release_ids} - live
    if unknown:
        raise NotFoundError(
            f"chain {chain.name} has no live point {', '.join(sorted(p.hex() for p in unknown))}"
        )
    pages = PageCollector(chain)
    root = updated_history(
        chain, pages, give_up=give_up, hold_ids=hold_ids, release_ids=release_ids
    )
    pages.store()
    seen = chain.listing[-1]

    def refuse_newer(entry: Entry) -> None:
        # A condemnation may name the pages that were just stored for this entry.
        if isinstance(entry.body, PromiseBody | SessionBody | CondemnationBody):
            raise _PromiseMovedError

    body = PromiseBody(root, END if retires and live <= {*give_up} else reason)
    try:
        return append_entry(chain, body, signer, clock, refuse_newer, seen)
    except _PromiseMovedError:
        # A session published meanwhile: its history is the one to change now.
        return _publish(
            chain,
            signer,
            clock,
            reason,
            give_up=give_up,
            hold_ids=hold_ids,
            release_ids=release_ids,
            retires=retires,
        )


class _PromiseMovedError(Exception):
    """Another entry with a history came first."""


def updated_history(
    chain: Chain,
    pages: PageCollector,
    *,
    give_up: Collection[bytes] = (),
    hold_ids: Collection[bytes] = (),
    release_ids: Collection[bytes] = (),
) -> TableRoot:
    """Return the history that follows the chain's newest one, with the changes made.

    Every entry that is there and not yet remembered is taken into it; points of session
    entries are promised from then on unless given up here.
    """
    newest = chain.promise_entry
    root = TableRoot()
    if newest is not None and isinstance(newest.body, SessionBody | PromiseBody):
        root = newest.body.history
    table = Table(HistoryRecord, HISTORY_SPAN, root, pages.load)
    records = dict(table.items())
    changes: dict[int, HistoryRecord | None] = {}
    for number in chain.listing:
        if number not in records:
            entry = chain.entry(number)
            body = entry.body
            # What is not remembered yet is promised, whatever a condemnation says of it.
            promised = (
                [point.point_id for point in body.points] if isinstance(body, SessionBody) else []
            )
            changes[number] = records[number] = HistoryRecord(entry.hash, promised, [])
    for number, record in records.items():
        promised = [point for point in record.promised if point not in give_up]
        held = [
            point
            for point in promised
            if (point in record.held or point in hold_ids) and point not in release_ids
        ]
        if promised != record.promised or held != record.held:
            changes[number] = HistoryRecord(record.entry_hash, promised, held)
    return table.updated(changes, pages.add)
