"""What this server knows to be damaged, in words: for wherever points are shown.

Apart from `damage`, which notes it: to tell takes the catalog alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import damage
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from strongroom.control.context import Context


def told_of(ctx: Context, repository_id: bytes | None = None) -> tuple[str, ...]:
    """Say what is known to be damaged, in one repository or in all."""
    if not ctx.has_catalog:
        return ()
    told = []
    for known in damage.all_chains(ctx.database):
        row = chain_rows.find(ctx.database, known.chain_id)
        if row is not None and repository_id in (None, row.repository_id):
            told.append(in_words(known))
    return tuple(told)


def in_words(known: damage.DamagedChain) -> str:
    """Say what is damaged of a chain, and what becomes of it."""
    name = f"chain {known.chain_id.hex()[:12]}"
    if known.state:
        return (
            f"{name}: its records are damaged; its job's next session begins a new chain "
            "('repository repair --from COPY' brings them back)"
        )
    return (
        f"{name}: {counted(len(known.blocks), 'block is', 'blocks are')} damaged; new points do "
        "without, and 'point list' shows which older ones do not"
    )
