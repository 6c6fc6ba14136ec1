"""New chains, and new chain keys for chains that are there.

A chain key's envelope is stored twice under names of its own, read back, and only then relied
on. Replacing an envelope writes the next generation before it removes the one before, so at
every instant an intact one is there.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from strongroom.clock import Clock, to_microseconds
from strongroom.crypto import random
from strongroom.crypto.envelope import ChainKey, make_link, seal_stanzas
from strongroom.errors import (
    EnvelopeDamagedError,
    IntegrityError,
    MalformedError,
    ObjectMissingError,
    RefusedError,
)
from strongroom.format import header as headers
from strongroom.format.codec import MAX_SMALL, encode
from strongroom.format.versions import FORMAT, SUITE_PLAIN, SUITE_SEALED
from strongroom.repository import layout
from strongroom.repository.chain import Chain
from strongroom.repository.framed import get_framed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.crypto.hpke import PublicKey
    from strongroom.crypto.recipients import Recipient
    from strongroom.crypto.signing import SigningKey
    from strongroom.format.journal import EntryRef
    from strongroom.storage.base import Storage


def _told_to_nobody(chain_id: bytes, header: bytes) -> None:
    """Where a crash leaves envelopes only: prune removes those in time, as what nobody finished."""


def start_chain(
    storage: Storage,
    job_id: bytes,
    recipients: Sequence[Recipient],
    signer: SigningKey,
    clock: Clock,
    previous: EntryRef | None,
) -> tuple[Chain, ChainKey | None]:
    """Begin a chain; with no recipients it is a plain one.

    Returns:
        The chain, and its chain key where it is sealed: the caller decides what the keystore
        may keep of it.
    """
    chain_id, header, chain_key = prepare_chain(
        storage, job_id, recipients, signer, to_microseconds(clock.now()), previous
    )
    storage.put(layout.header(chain_id), header)
    return Chain(storage, chain_id), chain_key


def prepare_chain(
    storage: Storage,
    job_id: bytes,
    recipients: Sequence[Recipient],
    signer: SigningKey,
    created_at: int,
    previous: EntryRef | None,
    *,
    begun: Callable[[bytes, bytes], object] = _told_to_nobody,
) -> tuple[bytes, bytes, ChainKey | None]:
    """Store a new chain's envelopes and sign its header, which is the caller's to store.

    Args:
        storage: Where.
        job_id: Whose chain it is.
        recipients: Who is to open it; nobody makes it a plain one.
        signer: The chain's identity.
        created_at: Microseconds since 1970.
        previous: The job's newest session entry.
        begun: Is told id and header before anything is stored: who remembers them can remove
            what a crash leaves.

    Returns:
        The chain's id, the header as the object to store, and the chain key of a sealed one.
    """
    chain_id = random.token(16)
    chain_key = ChainKey.generate() if recipients else None
    header = headers.ChainHeader(
        FORMAT,
        SUITE_SEALED if chain_key else SUITE_PLAIN,
        chain_id,
        chain_id,
        job_id,
        created_at,
        signer.public.raw,
        previous,
        chain_key.id if chain_key else b"",
    )
    encoded = encode(header)
    framed = headers.frame_header(encoded, signer.sign(headers.HEADER_DOMAIN, encoded))
    begun(chain_id, framed)
    if chain_key is not None:
        # Before the header: a chain that has a header can be opened.
        _write_envelope(storage, chain_id, chain_id, chain_key, recipients, signer, generation=1)
    return chain_id, framed, chain_key


def prepare_derived(
    old: Chain,
    recipients: bytes,
    signer: SigningKey,
    created_at: int,
    previous: EntryRef | None,
    storage: Storage | None = None,
    *,
    begun: Callable[[bytes, bytes], object] = _told_to_nobody,
) -> tuple[bytes, bytes]:
    """Store the ways into a chain that is made from sealed blocks of another one.

    Whoever opens the old chain opens the new one: its envelopes say the same of the same chain
    keys, signed anew, and its links are the same.

    Args:
        old: The chain whose blocks it is made from.
        recipients: Id of the chain key that its sessions will seal to; empty in a plain chain.
        signer: The new chain's identity.
        created_at: Microseconds since 1970.
        previous: The job's newest session entry.
        storage: Where the new chain is to be; with the old one by default.
        begun: Is told id and header before anything is stored: who remembers them can remove
            what a crash leaves.

    Returns:
        The new chain's id, and its header as the object to store.

    Raises:
        EnvelopeDamagedError: the chain key in force has no intact envelope.
    """
    target = storage if storage is not None else old.storage
    chain_id = random.token(16)
    envelopes = old.wrapped.envelopes()
    if old.sealed and recipients not in envelopes:
        raise EnvelopeDamagedError(
            f"chain {old.name} has no intact envelope of the key that sessions seal to"
        )
    header = headers.ChainHeader(
        FORMAT,
        old.header.suite,
        chain_id,
        old.origin_id,
        old.header.job_id,
        created_at,
        signer.public.raw,
        previous,
        recipients,
    )
    encoded = encode(header)
    framed = headers.frame_header(encoded, signer.sign(headers.HEADER_DOMAIN, encoded))
    begun(chain_id, framed)
    for envelope in envelopes.values():
        own = msgspec.structs.replace(
            envelope, chain_id=chain_id, generation=1, identity=signer.public.raw
        )
        store_envelope(target, own, signer)
    for info in old.storage.list(layout.links(old.chain_id)):
        ends = layout.link_keys(info.key)
        if ends is None:
            continue
        with suppress(IntegrityError):  # it closes what is behind it there, and here
            found = headers.read_link(get_framed(old.storage, info.key, MAX_SMALL), info.key)
            own_link = msgspec.structs.replace(found, chain_id=chain_id)
            target.put(layout.link(chain_id, *ends), headers.frame_link(own_link))
    return chain_id, framed


def change_recipients(
    chain: Chain,
    older: ChainKey | None,
    recipients: Sequence[Recipient],
    signer: SigningKey,
) -> ChainKey:
    """Give the chain a new chain key for `recipients`, linked to the one before.

    What was sealed stays as it is, and opens through the link with any of the new recipients'
    secrets. Sessions from now on seal to the new key. Without the one before there is no link:
    `link` makes it later.
    """
    newer = ChainKey.generate()
    _write_envelope(
        chain.storage, chain.chain_id, chain.origin_id, newer, recipients, signer, generation=1
    )
    if older is not None:
        link(chain, older, newer.public)
    return newer


def link(chain: Chain, older: ChainKey, newer: PublicKey) -> None:
    """Let whoever opens the newer chain key open an older one too."""
    sealed = make_link(older, newer, headers.chain_key_context(chain.origin_id))
    found = headers.Link(chain.chain_id, older.id, older.public.raw, newer.id, sealed)
    chain.storage.put(layout.link(chain.chain_id, newer.id, older.id), headers.frame_link(found))


@dataclass(frozen=True, slots=True)
class Replaced:
    """An envelope that stands in place of those before it."""

    generation: int
    remaining: dict[str, RefusedError]
    """Older envelopes that the storage does not let go of, by their names, and why."""


def replace_envelope(
    chain: Chain,
    chain_key: ChainKey,
    held: headers.Envelope | None,
    recipients: Sequence[Recipient],
    signer: SigningKey,
) -> Replaced:
    """Seal a chain key for `recipients` and nobody else; no block and no session is touched.

    Cut short, it leaves an intact envelope, the one before or the new one, and can be done again.

    Args:
        chain: The chain.
        chain_key: Which of its keys.
        held: The key's envelope that counts, if any is intact.
        recipients: Whom it is sealed for from now on.
        signer: The chain's identity.
    """
    taken = {
        info.key
        for info in chain.storage.list(layout.envelopes(chain.chain_id))
        if layout.envelope_key(info.key) == chain_key.id
    }
    generation = 1 + (held.generation if held is not None else 0)
    # Numbers are taken by what a re-wrap left that was cut short, whole or not.
    while taken & copies_of(chain, chain_key.id, generation):
        generation += 1
    _write_envelope(
        chain.storage, chain.chain_id, chain.origin_id, chain_key, recipients, signer, generation
    )
    return Replaced(generation, remove_envelopes(chain, chain_key.id, taken))


def remove_envelopes(chain: Chain, chain_key_id: bytes, names: set[str]) -> dict[str, RefusedError]:
    """Remove envelopes of a chain key that others stand in for.

    Returns:
        Those that the storage keeps, and its words.
    """
    remaining: dict[str, RefusedError] = {}
    for key in sorted(names):
        assert layout.envelope_key(key) == chain_key_id, "an envelope of another chain key"
        try:
            chain.storage.delete(key)
        except RefusedError as error:
            remaining[key] = error
    return remaining


def copies_of(chain: Chain, chain_key_id: bytes, generation: int) -> set[str]:
    """Return the names of an envelope's two copies."""
    return {layout.envelope(chain.chain_id, chain_key_id, generation, copy) for copy in ("a", "b")}


def has_both_copies(chain: Chain, envelope: headers.Envelope) -> bool:
    """Tell whether both copies of an intact envelope are there, and alike."""
    try:
        copies = {
            get_framed(chain.storage, name, MAX_SMALL)
            for name in copies_of(chain, envelope.chain_key_id, envelope.generation)
        }
    except (ObjectMissingError, MalformedError):
        return False
    return len(copies) == 1


def _write_envelope(
    storage: Storage,
    chain_id: bytes,
    origin_id: bytes,
    chain_key: ChainKey,
    recipients: Sequence[Recipient],
    signer: SigningKey,
    generation: int,
) -> None:
    stanzas = seal_stanzas(chain_key, recipients, headers.chain_key_context(origin_id))
    envelope = headers.Envelope(
        chain_id,
        chain_key.id,
        chain_key.public.raw,
        generation,
        signer.public.raw,
        list(stanzas),
    )
    store_envelope(storage, envelope, signer)


def store_envelope(storage: Storage, envelope: headers.Envelope, signer: SigningKey) -> None:
    """Sign an envelope and store both copies, which are read back.

    Raises:
        EnvelopeDamagedError: one does not read back as it was written.
    """
    encoded = encode(envelope)
    data = headers.frame_envelope(encoded, signer.sign(headers.ENVELOPE_DOMAIN, encoded))
    for copy in ("a", "b"):
        key = layout.envelope(envelope.chain_id, envelope.chain_key_id, envelope.generation, copy)
        storage.put(key, data)
        if storage.get(key) != data:
            raise EnvelopeDamagedError(f"{key} does not read back as it was written")
