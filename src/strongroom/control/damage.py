"""What this server knows to be damaged, noted where it is found; `damage_notices` tells of it.

A scrub knows best: what it finds of a chain takes the place of what was known. Verify and
sessions add what they meet. Of a copy nothing is noted: jobs do not write there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import damage, repositories
from strongroom.errors import IntegrityError
from strongroom.format.block import PLACE_BITS
from strongroom.format.journal import SessionBody
from strongroom.repository import layout
from strongroom.repository.reach import Reach
from strongroom.repository.state import StateBlocks
from strongroom.storage.location import is_elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.control.context import Context
    from strongroom.engine.points import PointView
    from strongroom.engine.verify import VerifyReport
    from strongroom.repository.chain import Chain
    from strongroom.repository.repository import Repository
    from strongroom.repository.scrub_report import ScrubReport


def note_scrub(ctx: Context, repository: Repository, report: ScrubReport) -> None:
    """Remember what a scrub of a whole repository found, good or bad."""
    if not ctx.has_catalog or not _is_there(
        ctx, repository.repository_id, repository.storage.location
    ):
        return
    for row in chain_rows.of_repository(ctx.database, repository.repository_id):
        name = row.chain_id.hex()
        blocks = [
            (pack.slot, pack.ordinal << PLACE_BITS | place)
            for pack in report.packs
            if pack.chain == name
            for place in pack.places
        ]
        whole = (
            layout.header(row.chain_id),
            layout.journal(row.chain_id),
            layout.all_tables(row.chain_id),
        )
        state = any(
            one.object.startswith(whole) or one.object == layout.chain(row.chain_id)
            for one in report.damaged
            if one.points
        )
        damage.replace(ctx.database, row.chain_id, blocks, ctx.clock.now(), state=state)


def note_verify(ctx: Context, views: Iterable[PointView], report: VerifyReport) -> None:
    """Remember blocks that verify could not open; those it could may be told whole by scrub."""
    if not ctx.has_catalog or report.ok:
        return
    by_id = {view.id: view for view in views}
    for found in report.damaged:
        view = by_id.get(found.points[0]) if found.points else None
        if view is None or found.session is None or not is_noted(ctx, view.chain):
            continue
        sessions = view.chain.sessions(view.live.body)
        for slot, record in sessions.items():
            if record.session_id.hex() != found.session:
                continue
            blocks = (
                [(slot, found.block)]
                if found.block is not None
                else _used_of(view.chain, view.live.body, slot, found.object)
            )
            damage.add(ctx.database, view.chain.chain_id, blocks, ctx.clock.now())


def _used_of(chain: Chain, body: SessionBody, slot: int, pack: str | None) -> list[tuple[int, int]]:
    """Return the blocks that a state uses of a pack."""
    record = chain.sessions(body).get(slot)
    named = layout.pack_form(pack) if pack is not None else None
    if record is None or named is None:
        return []
    for ordinal, _, directory in Reach(chain).ledger(record):
        if directory.pack_id == named[0]:
            used = StateBlocks(chain, body).bits(slot, ordinal)
            return [
                (slot, ordinal << PLACE_BITS | place)
                for place in directory.places
                if used >> place & 1
            ]
    return []


def is_noted(ctx: Context, chain: Chain) -> bool:
    """Tell whether damage of this chain, where it was read, is this server's to know."""
    if not ctx.has_catalog:
        return False
    row = chain_rows.find(ctx.database, chain.chain_id)
    if row is None:
        return False
    return _is_there(ctx, row.repository_id, chain.storage.location)


def _is_there(ctx: Context, repository_id: bytes, location: str) -> bool:
    """Tell whether a repository of the catalog lies there; a copy of it may have its id."""
    row = repositories.by_id(ctx.database, repository_id)
    if row is None:
        return False
    if is_elsewhere(row.location):
        # It is not opened for this: what opens it may be gone, and a copy is read without it.
        return row.location == location
    return ctx.storage(row.location).location == location


def hurts(ctx: Context, chain: Chain, body: SessionBody) -> bool:
    """Tell whether a session's points use blocks that are known to be damaged."""
    return bool(hurt_blocks(ctx, chain, body))


def hurt_blocks(ctx: Context, chain: Chain, body: SessionBody) -> frozenset[tuple[int, int]]:
    """Return the blocks known to be damaged that a session's points use."""
    if not is_noted(ctx, chain):
        return frozenset()
    known = damage.of_chain(ctx.database, chain.chain_id)
    state = StateBlocks(chain, body)
    try:
        return frozenset(block for block in known.blocks if state.contains(*block))
    except IntegrityError:
        return known.blocks


def forget_unused(ctx: Context, chain: Chain) -> None:
    """Forget damaged blocks that no entry uses any more: prune has let them go."""
    known = damage.of_chain(ctx.database, chain.chain_id)
    if not known.blocks:
        return
    bodies = (chain.entry(number).body for number in chain.listing)
    states = [StateBlocks(chain, body) for body in bodies if isinstance(body, SessionBody)]
    unused = [
        block for block in known.blocks if not any(state.contains(*block) for state in states)
    ]
    damage.forget(ctx.database, chain.chain_id, unused)
