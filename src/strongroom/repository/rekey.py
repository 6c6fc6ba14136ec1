"""New chains, and new chain keys for chains that are there.

A chain key's envelope is stored twice under names of its own, read back, and only then relied
on. Replacing an envelope writes the next generation before it removes the one before, so at
every instant an intact one is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.clock import Clock, to_microseconds
from strongroom.crypto import random
from strongroom.crypto.envelope import ChainKey, make_link, seal_stanzas
from strongroom.errors import EnvelopeDamagedError
from strongroom.format import header as headers
from strongroom.format.codec import encode
from strongroom.format.versions import FORMAT, SUITE_PLAIN, SUITE_SEALED
from strongroom.repository import layout
from strongroom.repository.chain import Chain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.crypto.hpke import PublicKey
    from strongroom.crypto.recipients import Recipient
    from strongroom.crypto.signing import SigningKey
    from strongroom.format.journal import EntryRef
    from strongroom.storage.base import Storage


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
    chain_id = random.token(16)
    chain_key = ChainKey.generate() if recipients else None
    header = headers.ChainHeader(
        FORMAT,
        SUITE_SEALED if chain_key else SUITE_PLAIN,
        chain_id,
        job_id,
        to_microseconds(clock.now()),
        signer.public.raw,
        previous,
        chain_key.id if chain_key else b"",
    )
    if chain_key is not None:
        # Before the header: a chain that has a header can be opened.
        _write_envelope(storage, chain_id, chain_key, recipients, signer, generation=1)
    encoded = encode(header)
    signature = signer.sign(headers.HEADER_DOMAIN, encoded)
    storage.put(layout.header(chain_id), headers.frame_header(encoded, signature))
    return Chain(storage, chain_id), chain_key


def change_recipients(
    chain: Chain,
    older: ChainKey,
    recipients: Sequence[Recipient],
    signer: SigningKey,
) -> ChainKey:
    """Give the chain a new chain key for `recipients`, linked to the one before.

    What was sealed stays as it is, and opens through the link with any of the new recipients'
    secrets. Sessions from now on seal to the new key.
    """
    newer = ChainKey.generate()
    _write_envelope(chain.storage, chain.chain_id, newer, recipients, signer, generation=1)
    link(chain, older, newer.public)
    return newer


def link(chain: Chain, older: ChainKey, newer: PublicKey) -> None:
    """Let whoever opens the newer chain key open an older one too."""
    sealed = make_link(older, newer, headers.chain_key_context(chain.chain_id))
    found = headers.Link(chain.chain_id, older.id, older.public.raw, newer.id, sealed)
    chain.storage.put(layout.link(chain.chain_id, newer.id, older.id), headers.frame_link(found))


def _write_envelope(
    storage: Storage,
    chain_id: bytes,
    chain_key: ChainKey,
    recipients: Sequence[Recipient],
    signer: SigningKey,
    generation: int,
) -> None:
    stanzas = seal_stanzas(chain_key, recipients, headers.chain_key_context(chain_id))
    envelope = headers.Envelope(
        chain_id,
        chain_key.id,
        chain_key.public.raw,
        generation,
        signer.public.raw,
        list(stanzas),
    )
    encoded = encode(envelope)
    data = headers.frame_envelope(encoded, signer.sign(headers.ENVELOPE_DOMAIN, encoded))
    for copy in ("a", "b"):
        key = layout.envelope(chain_id, chain_key.id, generation, copy)
        storage.put(key, data)
        if storage.get(key) != data:
            raise EnvelopeDamagedError(f"{key} does not read back as it was written")
