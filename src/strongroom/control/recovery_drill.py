"""The recovery drill: does a kit open what it should, and is it there to be opened?

With the kit and nothing else that opens anything, the newest point of every sealed chain is
opened, and blocks of it, chosen at random, are read and opened. When that was and how it ended is
remembered, a failure as well.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from strongroom.catalog import recovery_keys, repositories
from strongroom.control import audit, keys
from strongroom.control.recovery_files import read_kit
from strongroom.control.views.recovery import ChainProof, RecoveryTestResult
from strongroom.crypto import random
from strongroom.crypto.recipients import RecoveryUnlocker
from strongroom.errors import (
    IntegrityError,
    NotFoundError,
    RefusedError,
    StrongroomError,
    UnavailableError,
)
from strongroom.format.block import PLACE_BITS, BlockAddress, BlockClass
from strongroom.format.tables import places_of
from strongroom.repository.reader import BlockReader
from strongroom.repository.repository import Repository

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from strongroom.control.context import Context
    from strongroom.format.journal import SessionBody
    from strongroom.repository.chain import Chain, LivePoint, Trust

SAMPLE: Final = 16
"""Blocks of every chain that are read and opened: most damage and every wrong key shows."""


def prove(ctx: Context, files: Sequence[Path], wheres: tuple[str, ...] = ()) -> RecoveryTestResult:
    """Prove that a kit opens the newest point of every chain, and a sample of its content.

    Args:
        ctx: Surroundings.
        files: The kit, or shares that give it.
        wheres: Names or locations of repositories; those of the catalog by default.

    Raises:
        InvalidInputError: the files hold no kit.
        NotFoundError, IntegrityError, UnavailableError, RefusedError: one of `wheres` does not
            open.
    """
    from strongroom.control.access import storage_of

    kit = read_kit(files)
    unlocker = RecoveryUnlocker(kit.seed)
    believed = keys.readers_trust(ctx)
    believed = replace(believed, accepted=believed.accepted | {kit.signer})
    asked = bool(wheres)
    if not asked and ctx.has_catalog:
        wheres = tuple(row.name for row in repositories.all_rows(ctx.database))
    proofs: list[ChainProof] = []
    for where in wheres:
        try:
            repository = Repository.open(storage_of(ctx, where))
            chain_ids = repository.chain_ids()
        except (NotFoundError, IntegrityError, UnavailableError, RefusedError) as error:
            if asked:
                raise
            # One repository that is not there says nothing of the others.
            proofs.append(_unreachable(where, error))
            continue
        for chain_id in chain_ids:
            proof = _prove(repository, where, chain_id, unlocker, believed)
            if proof is not None:
                proofs.append(proof)
    ok = bool(proofs) and all(proof.opened for proof in proofs)
    if proofs and ctx.has_catalog:
        recovery_keys.tested(ctx.database, kit.key_id, ctx.clock.now(), ok=ok)
    audit.record(
        ctx, "recovery.tested", needed=False, key=kit.key_id.hex(), ok=ok, chains=len(proofs)
    )
    return RecoveryTestResult(ok=ok, key_id=kit.key_id.hex(), chains=tuple(proofs))


def _unreachable(where: str, error: StrongroomError) -> ChainProof:
    return ChainProof(repository=where, chain=None, point=None, opened=False, problem=str(error))


def _prove(
    repository: Repository,
    where: str,
    chain_id: bytes,
    unlocker: RecoveryUnlocker,
    believed: Trust,
) -> ChainProof | None:
    """Open the newest point of a chain; None where it has none, or is plain."""
    point: str | None = None
    try:
        chain = repository.chain(chain_id)
        live = chain.live_points()
        if not chain.sealed or not live:
            return None
        point = live[-1].point.point_id.hex()
        blocks = _open_newest(chain, live[-1], unlocker, believed)
    except StrongroomError as error:
        return ChainProof(
            repository=where, chain=chain_id.hex(), point=point, opened=False, problem=str(error)
        )
    return ChainProof(
        repository=where, chain=chain_id.hex(), point=point, opened=True, blocks=blocks
    )


def _open_newest(chain: Chain, live: LivePoint, unlocker: RecoveryUnlocker, believed: Trust) -> int:
    """Open a point and a sample of its blocks; return how many."""
    from strongroom.engine.points import open_details

    keyring = chain.wrapped.unlock(unlocker, believed)
    sessions = chain.sessions(live.body)
    # The keys of every session that the point's blocks were sealed in, not only of its own.
    for record in dict(sessions.items()).values():
        keyring.secrets(record)
    open_details(chain, keyring, live.body, live.point)
    reader = BlockReader(chain, sessions, keyring)
    sample = _sample(chain, live.body)
    for address in sample:
        directory = reader.directory(address.slot, address.ordinal)
        reader.read_uncached(address, BlockClass(directory.block_class))
    return len(sample)


def _sample(chain: Chain, body: SessionBody) -> set[BlockAddress]:
    """Return addresses of blocks that the state uses: few, at random, from any session."""
    sets = [(slot, chain.pack_sets(record)) for slot, record in chain.sets(body).items()]
    chosen: set[BlockAddress] = set()
    for slot, table in random.shuffled(sets)[:SAMPLE]:
        packs = random.shuffled([ordinal for ordinal, _ in table.items()])
        for ordinal in packs[: max(1, SAMPLE // len(sets))]:
            record = table.get(ordinal)
            bits = places_of(record.used) if record is not None else 0
            places = [place for place in range(bits.bit_length()) if bits >> place & 1]
            wanted = max(1, SAMPLE // (len(sets) * len(packs)))
            for place in random.shuffled(places)[:wanted]:
                chosen.add(BlockAddress(slot, (ordinal << PLACE_BITS) | place))
    return chosen
