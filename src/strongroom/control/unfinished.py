"""Chains that somebody began in a repository and did not finish: copies, and sessions that died.

What is without a header nobody reads, and nobody can tell whether it is still being made. So it
goes when it has not changed for `IDLE`, as far as this server has looked, or when an operator
says that nothing is being made there. Whatever this server knows stays: its chains and copies,
whose headers may be hidden, and what it makes itself and goes on with.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from strongroom.catalog import chains as chain_rows
from strongroom.catalog import copied_clones, copies, heads, reencryptions, synthetic_fulls, values
from strongroom.clock import from_microseconds, to_microseconds
from strongroom.control.views.repositories import Unfinished
from strongroom.repository import headless

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.control.context import Context
    from strongroom.repository.headless import Headless
    from strongroom.repository.repository import Repository

IDLE: Final = timedelta(days=30)
_SEEN: Final = "unfinished:"


class _Seen(msgspec.Struct, frozen=True):
    """How a chain without a header was first seen as it is now."""

    since: int
    objects: int
    stored_bytes: int


def look(
    ctx: Context, repository: Repository, found: Iterable[Headless], *, drop: bool
) -> list[Unfinished]:
    """Tell what of chains without a header is unfinished, and until when it stays.

    Args:
        ctx: Surroundings, with a catalog: it remembers since when nothing has changed.
        repository: Where they are.
        found: What is without a header there.
        drop: The operator says that nothing is being made there.
    """
    name = f"{_SEEN}{repository.repository_id.hex()}"
    data = values.get(ctx.database, name)
    before = msgspec.json.decode(data, type=dict[str, _Seen]) if data is not None else {}
    now = to_microseconds(ctx.clock.now())
    seen: dict[str, _Seen] = {}
    told = []
    for one in found:
        if one.is_remainder or _is_known(ctx, repository, one.chain_id):
            continue
        chain = one.chain_id.hex()
        present = _Seen(now, len(one.objects), one.stored_bytes)
        known = before.get(chain)
        if known is not None and msgspec.structs.replace(known, since=now) == present:
            present = known
        seen[chain] = present
        goes_at = from_microseconds(present.since) + IDLE
        told.append(
            Unfinished(
                chain=chain,
                objects=present.objects,
                stored_bytes=present.stored_bytes,
                goes_at=None if drop or goes_at <= ctx.clock.now() else goes_at,
            )
        )
    if seen != before:
        values.put(ctx.database, name, msgspec.json.encode(seen))
    return told


def remove(repository: Repository, found: Iterable[Headless], told: Iterable[Unfinished]) -> int:
    """Remove what is to go now, and what removals left; return how many objects went."""
    due = {one.chain for one in told if one.goes_at is None}
    return headless.remove(
        repository.storage, found, lambda one: one.is_remainder or one.chain_id.hex() in due
    )


def _is_known(ctx: Context, repository: Repository, chain_id: bytes) -> bool:
    """Tell whether a chain was whole there once, as far as this server knows, or is made by it."""
    database, repository_id = ctx.database, repository.repository_id
    row = chain_rows.find(database, chain_id)
    if row is not None and row.repository_id == repository_id:
        return True
    if row is None and heads.get(database, chain_id) is not None:
        return True
    if copies.find(database, repository_id, chain_id) is not None:
        return True
    made = {
        *(one.chain_id for one in copied_clones.all_rows(database)),
        *(one.chain_id for one in reencryptions.of_repository(database, repository_id)),
        *(one.chain_id for one in synthetic_fulls.of_repository(database, repository_id)),
    }
    return chain_id in made
