"""One server going on in a chain that another one began.

The identity that signed before is lost, so it can introduce nobody. The newcomer brings itself
in with a SUCCESSION entry. That anybody could write; what makes readers believe it is what makes
them believe any signer: a secret of theirs that vouches for it, or an operator who says so
(docs/decisions/0019). Readers who do not believe it still have the chain as it was before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import ConflictError, UnvouchedError
from strongroom.format.journal import Entry, SuccessionBody
from strongroom.repository.append import append_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.clock import Clock
    from strongroom.crypto.signing import SigningKey
    from strongroom.repository.chain import Chain
    from strongroom.repository.keyring import Keyring


def succeed(chain: Chain, signer: SigningKey, clock: Clock) -> Entry:
    """Let `signer` be whose the chain is from now on.

    The caller believes the chain up to its newest entry: from now on that is believed for the
    sake of `signer`. An envelope whose stanzas vouch for it has been written already, so that
    at no instant the chain is closed to those whom it is sealed for.

    Raises:
        ConflictError: somebody wrote to the chain since it was read.
    """
    seen = chain.listing[-1] if chain.listing else 0
    body = SuccessionBody(signer.public.raw, chain.root_hash, chain.lines[-1])

    def refuse(entry: Entry) -> None:
        raise ConflictError(
            f"entry {entry.number} of chain {chain.name} was written meanwhile: the server that "
            "it belongs to is at work",
            hint="two servers cannot go on in one chain; make sure that the other one is gone",
        )

    return append_entry(chain, body, signer, clock, refuse, seen)


def unlock_believed(chain: Chain, unlock: Callable[[Chain], Keyring]) -> tuple[Chain, Keyring]:
    """Return a chain as far as its reader believes it, and its keys.

    Args:
        chain: The whole of it.
        unlock: Opens a chain and raises UnvouchedError if its identity is not believed.

    Raises:
        UnvouchedError: no part of it is; the error is about the whole.
    """
    part = chain
    refusal: UnvouchedError | None = None
    while True:
        try:
            return part, unlock(part)
        except UnvouchedError as error:
            refusal = refusal or error
        earlier = part.before_succession()
        if earlier is None:
            raise refusal
        part = earlier
