"""Several secrets as one: a chain whose links lack opens with all of them together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import NotAddressedError, RefusedError, UnavailableError, UnlockError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.crypto.keys import Seed
    from strongroom.crypto.recipients import Stanza, Unlocker
    from strongroom.crypto.signing import SigningPublicKey
    from strongroom.errors import StrongroomError


class SeveralUnlockers:
    """Unwraps with whichever of several secrets a stanza is for, and knows which of them were.

    One that cannot be asked, a KMS that is away, keeps nobody from the others.
    """

    def __init__(self, unlockers: Iterable[Unlocker]) -> None:
        self._unlockers = tuple(unlockers)
        self._used: set[int] = set()
        self.refusals: dict[str, StrongroomError] = {}
        """Why secrets could not be tried, by what they are."""

    @property
    def idle(self) -> tuple[Unlocker, ...]:
        """Those that have opened nothing so far."""
        return tuple(
            one for position, one in enumerate(self._unlockers) if position not in self._used
        )

    def describe(self) -> str:
        return " or ".join(map(self._in_words, self._unlockers))

    def _in_words(self, unlocker: Unlocker) -> str:
        words = unlocker.describe()
        refusal = self.refusals.get(words)
        return words if refusal is None else f"{words} ({refusal})"

    def unwrap(self, stanza: Stanza, info: bytes) -> Seed:
        for position, unlocker in enumerate(self._unlockers):
            try:
                seed = unlocker.unwrap(stanza, info)
            except NotAddressedError:
                continue
            except (UnavailableError, RefusedError, UnlockError) as error:
                self.refusals[unlocker.describe()] = error
                continue
            self._used.add(position)
            return seed
        raise NotAddressedError(
            f"this stanza is not for {self.describe()}", stanza_hint=stanza.hint
        )

    def vouches(self, stanza: Stanza, identity: SigningPublicKey) -> bool:
        return any(unlocker.vouches(stanza, identity) for unlocker in self._unlockers)
