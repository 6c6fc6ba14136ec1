"""A seed split among people, so that any few of them together have it and fewer have nothing.

SLIP-0039: Shamir's scheme with a checksum of its own in every share, written as words. One
group, no passphrase: what has to be known besides the shares could be lost with whoever knew
it, and a wrong one would go unnoticed. With no passphrase to guess, iterations would
slow down nobody but the owner, so the iteration exponent is 0, and any other is refused: a
hostile share could ask for minutes of work.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from strongroom.crypto.keys import KEY_LENGTH, Seed
from strongroom.errors import InvalidInputError, UnsupportedVersionError

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_SHARES: Final = 16
FEWEST_NEEDED: Final = 2
"""With one, every share would be the secret itself."""
WORDS: Final = 33
"""In one share of a seed."""

_EXPONENT: Final = 0


@dataclass(frozen=True, slots=True)
class Share:
    """One person's part of a seed."""

    words: tuple[str, ...] = field(repr=False)
    splitting: int
    """Tells shares of one splitting from those of another: 15 random bits."""
    number: int
    """Which of the shares it is, from 1."""
    needed: int
    """How many open the seed."""


def check_sharing(needed: int, count: int) -> None:
    """Go on if a seed can be split so.

    Raises:
        InvalidInputError: it cannot.
    """
    if not FEWEST_NEEDED <= needed <= count <= MOST_SHARES:
        raise InvalidInputError(
            f"{needed} of {count} is no sharing: at least {FEWEST_NEEDED} shares have to be "
            f"needed, and at most {MOST_SHARES} can be made"
        )


def split(seed: Seed, needed: int, count: int) -> tuple[Share, ...]:
    """Return `count` shares of which any `needed` give the seed, and fewer tell nothing of it.

    Raises:
        InvalidInputError: there are no such shares.
    """
    check_sharing(needed, count)
    from shamir_mnemonic import generate_mnemonics

    (made,) = generate_mnemonics(
        1, [(needed, count)], seed.expose(), extendable=True, iteration_exponent=_EXPONENT
    )
    return tuple(read_share(text) for text in made)


def read_share(text: str) -> Share:
    """Return the share that words say; numbers among them, case and spaces do not matter.

    Raises:
        InvalidInputError: these words are no share: one is missing, mistyped or out of place.
        UnsupportedVersionError: a share of a kind that is not written here.
    """
    from shamir_mnemonic import MnemonicError
    from shamir_mnemonic import Share as Mnemonic
    from shamir_mnemonic.wordlist import WORDLIST

    words = tuple(re.findall(r"[a-z]+", text.lower()))
    if len(words) != WORDS:
        raise InvalidInputError(f"a share has {WORDS} words, and here are {len(words)}")
    known = frozenset(WORDLIST)
    for place, word in enumerate(words, start=1):
        if word not in known:
            # The word itself is not repeated: it is all but right.
            raise InvalidInputError(f"word {place} of the share is none of the list: mistyped")
    try:
        share = Mnemonic.from_mnemonic(" ".join(words))
    except MnemonicError:
        # Not chained: the library's error carries words of the share.
        raise InvalidInputError(
            "the words of the share do not fit together: one is mistyped or out of place"
        ) from None
    if share.iteration_exponent != _EXPONENT or share.group_count != 1:
        raise UnsupportedVersionError(
            "the share was made by another program, with a passphrase's iterations or in groups"
        )
    if share.member_threshold < FEWEST_NEEDED or len(share.value) != KEY_LENGTH:
        raise InvalidInputError("the share is of another secret than a recovery key")
    return Share(words, share.identifier, share.index + 1, share.member_threshold)


def combine(shares: Sequence[Share]) -> Seed:
    """Return the seed that shares of one splitting give together.

    Raises:
        InvalidInputError: they are of several splittings, too few, or one of them is altered.
    """
    from shamir_mnemonic import MnemonicError, combine_mnemonics

    distinct = list({share.words: share for share in shares}.values())
    if not distinct:
        raise InvalidInputError("there is no share")
    if len({(share.splitting, share.needed) for share in distinct}) > 1:
        raise InvalidInputError("the shares are of several splittings")
    numbers = [share.number for share in distinct]
    if len(set(numbers)) < len(numbers):
        raise InvalidInputError("two shares have one number and differ: one is of another key")
    needed = distinct[0].needed
    if len(distinct) < needed:
        raise InvalidInputError(f"{len(distinct)} shares are here, and {needed} are needed")
    try:
        return Seed(combine_mnemonics(" ".join(share.words) for share in distinct[:needed]))
    except (MnemonicError, ValueError):
        raise InvalidInputError("the shares do not fit together: one is of another key") from None
