"""Links that were put off, or are lost: made as soon as the older key is open.

A link takes the older key's private half and the newer one's public half. So the next session
makes it where the older secret is at hand, and so do `chain unlock` and `job rewrap`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.catalog import missing_links
from strongroom.control import audit, keys
from strongroom.crypto.hpke import PublicKey
from strongroom.repository import rekey
from strongroom.repository.rescan import look_through

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.control.context import Context
    from strongroom.crypto.envelope import ChainKey
    from strongroom.repository.chain import Chain


def make(ctx: Context, chain: Chain, opened: Mapping[bytes, ChainKey]) -> list[bytes]:
    """Make the missing links of a chain of this installation whose older keys are open.

    Those that were put off, and those that points need and that are gone from the repository.

    Args:
        ctx: Surroundings.
        chain: The chain.
        opened: Chain keys by their ids.

    Returns:
        The ids of the older keys.
    """
    own = keys.known_identity(ctx.database)
    if own is None or chain.signs_as(own) is None:
        return []
    wanted = {
        one.older_id: one.newer_id for one in missing_links.of_chain(ctx.database, chain.chain_id)
    }
    for older_id in look_through(chain).unlinked:
        wanted.setdefault(older_id, chain.present_key_id)
    made = []
    for older_id, newer_id in wanted.items():
        newer = chain.wrapped.envelopes().get(newer_id)
        if older_id not in opened or newer is None:
            continue
        public = PublicKey(newer.chain_public)
        assert public.id == newer_id, "an envelope has the id of the key that it holds"
        rekey.link(chain, opened[older_id], public)
        missing_links.remove(ctx.database, chain.chain_id, older_id)
        made.append(older_id)
    if made:
        audit.record(
            ctx, "chain.linked", chain=chain.chain_id.hex(), keys=[one.hex() for one in made]
        )
    return made
