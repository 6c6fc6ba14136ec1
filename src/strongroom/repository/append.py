"""Adding an entry to a chain's journal: the next number, taken exclusively.

Who appends has read every entry before its own. That is what fences: a session finds its own
death, a newer session or the condemnation of what it builds on before it can publish.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from strongroom.clock import Clock, to_microseconds
from strongroom.errors import ObjectExistsError, RefusedError
from strongroom.format.journal import (
    SIGNING_DOMAIN,
    Body,
    Entry,
    SuccessionBody,
    encode_entry,
    frame_entry,
    signer_name,
)
from strongroom.format.versions import FORMAT
from strongroom.repository import copy_marks, layout
from strongroom.storage.reading import together

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.crypto.signing import SigningKey
    from strongroom.repository.chain import Chain


def append_entry(
    chain: Chain,
    body: Body,
    signer: SigningKey | None,
    clock: Clock,
    check: Callable[[Entry], None] | None = None,
    seen: int = 0,
    lowest: int = 1,
) -> Entry:
    """Publish `body` as the chain's next entry.

    Args:
        chain: Where; its listing is refreshed.
        body: What to say; it must not depend on the number it gets.
        signer: Who signs; only a condemnation may go without.
        clock: Tells when.
        check: Called with every entry newer than `seen` before the number is taken; what it
            raises ends the attempt with nothing published.
        seen: The newest entry that the caller has already judged.
        lowest: The number is not below this. What carries a history may leave numbers out.

    Raises:
        ConflictError: the chain is a copy: nobody adds to it.
        RefusedError: `signer` is nobody whom the chain introduces: its readers would take the
            entry, and with it the whole chain, for a forgery.
        StorageUnavailableError: the storage did not answer; the entry may or may not be there.
    """
    refuse_copy = partial(copy_marks.refuse_writer, chain.storage, chain.chain_id)
    together(chain.storage, refuse_copy, chain.list_anew)
    while True:
        newest = chain.listing[-1] if chain.listing else 0
        for number in chain.listing:
            if number > seen and check is not None:
                check(chain.entry(number))
        # Each time anew: another server may have taken the chain over meanwhile.
        number = max(newest + 1, lowest)
        name = _name_of(chain, signer, body, number)
        previous = chain.entry(newest).hash if newest else chain.root_hash
        encoded = encode_entry(
            chain.chain_id,
            number,
            previous,
            to_microseconds(clock.now()),
            name,
            body,
            FORMAT,
        )
        signature = signer.sign(SIGNING_DOMAIN, encoded) if signer else b""
        try:
            chain.storage.put(layout.entry(chain.chain_id, number), frame_entry(encoded, signature))
        except ObjectExistsError:
            copy_marks.refuse_unfinished(chain.storage, chain.chain_id)
            # Somebody else took the number; what they said is judged first.
            seen = max(seen, newest)
            chain.list_anew()
            continue
        chain.refresh()
        return chain.entry(number)


def _name_of(chain: Chain, signer: SigningKey | None, body: Body, number: int) -> bytes:
    """Return what the entry is to call its signer."""
    if signer is None:
        return b""
    if chain.end is None:
        if isinstance(body, SuccessionBody):
            return signer_name(signer.public.id, number)
        name = chain.signs_as(signer.public)
        if name is not None:
            return name
    raise RefusedError(
        f"chain {chain.name} is signed by another server, so this one can add nothing to it",
        hint="do it on the server whose jobs write to it",
    )
