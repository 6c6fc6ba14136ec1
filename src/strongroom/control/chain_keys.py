"""All keys of a chain whose contents are going to be sealed again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from strongroom.control import audit, guarded, keys
from strongroom.errors import NoRecipientMatchedError
from strongroom.repository.keyring import Keyring, openers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.control.context import Context
    from strongroom.crypto.recipients import Unlocker
    from strongroom.repository.chain import Chain


def open_chain(ctx: Context, chain: Chain, unlockers: Sequence[Unlocker]) -> Keyring:
    """Return all keys of a chain that are kept or that secrets open, perhaps none.

    Raises:
        NoRecipientMatchedError: there are secrets, and none of them opens it.
    """
    kept = {} if guarded.is_guarded(ctx, chain) else keys.kept_chain_keys(ctx, chain)
    keyring = Keyring(chain.origin_id, kept, openers=openers_of(chain.wrapped.envelopes()))
    with suppress(NoRecipientMatchedError), guarded.guessing(ctx, [chain]):
        for unlocker in unlockers:
            try:
                opened = chain.wrapped.unlock(unlocker, keys.trust(ctx))
            except NoRecipientMatchedError:
                continue
            keyring.chain_keys |= opened.chain_keys
            keyring.closed |= opened.closed
            audit.record(
                ctx,
                "keys.unwrapped",
                by=unlocker.describe(),
                chains=[chain.chain_id.hex()],
            )
        if unlockers and not keyring.chain_keys:
            raise NoRecipientMatchedError(f"nothing at hand opens chain {chain.name}")
    return keyring
