"""Every object that the newest points of a chain cannot do without.

What a reader of them uses, and what it checks on the way: packs and pages of the newest state,
envelopes and links that its keys are opened by, every entry that is still promised, for a hole
among those is withholding. Not what only older points need; not sealed keys objects, since a
published session's keys stand in its record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import MalformedError
from strongroom.format.journal import IdentityBody, PromiseBody, SessionBody, SuccessionBody
from strongroom.repository import layout
from strongroom.repository.reach import Reach
from strongroom.repository.stored_packs import forms_of_all

if TYPE_CHECKING:
    from strongroom.repository.chain import Chain
    from strongroom.storage.base import ObjectKey


def objects_of_newest_state(chain: Chain) -> list[ObjectKey]:
    """Return the keys of all that the newest points need, in order; none without a session.

    Raises:
        IntegrityError: the chain is damaged or withheld in part.
    """
    newest = chain.newest_session
    if newest is None:
        return []
    assert isinstance(newest.body, SessionBody)
    found = {layout.MARKER, layout.header(chain.chain_id)}
    found |= _of_state(chain, newest.body)
    found |= _of_journal(chain, newest.number)
    if chain.sealed:
        found |= _of_keys(chain)
    return sorted(found)


def _of_state(chain: Chain, body: SessionBody) -> set[ObjectKey]:
    """Return the packs that the state uses, and the pages that say so."""
    reach = Reach(chain)
    records = dict(reach.sessions(body))
    used = {(slot, ordinal) for slot, ordinal, bits in reach.blocks(body) if bits}
    forms = forms_of_all(
        (info.key, info.size) for info in chain.storage.list(layout.packs(chain.chain_id))
    )
    found: set[ObjectKey] = set()
    for slot, record in records.items():
        for ordinal, _, directory in reach.ledger(record):
            if (slot, ordinal) in used:
                used.discard((slot, ordinal))
                stored = forms.get(directory.pack_id)
                whole = layout.pack(chain.chain_id, directory.pack_id)
                # All there are: a form that somebody planted is not to stand for the right one.
                found.update([form.key for form in stored] if stored else [whole])
    if used:
        raise MalformedError(
            f"the newest state of chain {chain.name} uses {len(used)} packs that no ledger knows"
        )
    promise = chain.promise_entry
    assert promise is not None, "the newest session has a history itself"
    assert isinstance(promise.body, SessionBody | PromiseBody)
    for _ in reach.history(promise.body.history):
        pass
    return found | {layout.tables(chain.chain_id, one) for one in reach.objects}


def _of_journal(chain: Chain, newest: int) -> set[ObjectKey]:
    numbers = {newest, *(entry.number for entry in chain.kept_entries())}
    if chain.promise_entry is not None:
        numbers.add(chain.promise_entry.number)
    numbers.update(
        number
        for number in chain.listing
        if number > newest or isinstance(chain.entry(number).body, IdentityBody | SuccessionBody)
    )
    return {layout.entry(chain.chain_id, number) for number in numbers}


def _of_keys(chain: Chain) -> set[ObjectKey]:
    """Return links, and the envelopes that count: an older one is to go, not to stay."""
    newest = {
        (chain_key_id, envelope.generation)
        for chain_key_id, envelope in chain.wrapped.envelopes().items()
    }
    found = {
        info.key
        for info in chain.storage.list(layout.envelopes(chain.chain_id))
        if layout.envelope_parts(info.key) in newest
    }
    return found | {
        info.key
        for info in chain.storage.list(layout.links(chain.chain_id))
        if layout.link_keys(info.key) is not None
    }
