"""One share of a recovery key as a text: the head of a kit, and words in place of the secret.

    strongroom recovery share 1

    This is one of 5 shares of a recovery key …
    key     3f0c…                      of the whole key
    signer  aaaa-bbbb-…
    made    2026-11-24T12:00:00.000000Z
    share   2 of 5, 3 needed
    words
       1 regret     2 penalty    3 …   33 words of SLIP-0039, with a checksum of their own

This module turns values to text and back and does no I/O; the splitting is `crypto.shares`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from strongroom.control.recovery_kit import RecoveryKit, body_of, read_fields
from strongroom.crypto.shares import Share, combine, read_share, split
from strongroom.errors import InvalidInputError
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TITLE: Final = "strongroom recovery share"
VERSION: Final = 1
_NAMES: Final = ("key", "signer", "made", "share")
_SHARE: Final = re.compile(
    r"(\d{1,2})\s+of\s+(\d{1,2}),?\s+(\d{1,2})\s+(?:are\s+)?needed", re.IGNORECASE
)
_COLUMNS: Final = 4

_TEXT: Final = """\
This is one of {count} shares of a recovery key. Any {needed} of them together can read
every backup that was sealed for the key, without any password and without the
server; fewer tell nothing. Keep it apart from the others: with another person, in
another place. To restore, on any machine that has strongroom, name {needed} shares:

    strongroom restore POINT --to FOLDER --repository LOCATION \\
        --recovery-key SHARE --recovery-key SHARE ...

The signer is who signs these backups. Compare it when strongroom asks whom to trust.
"""


@dataclass(frozen=True, slots=True)
class KitShare:
    """A share, with what is said of the key that it is of."""

    share: Share
    count: int
    """How many shares were made."""
    key_id: str
    signer: str
    made: str

    @property
    def lines(self) -> list[str]:
        """What has to be typed to have it again."""
        head = {
            "key": self.key_id,
            "signer": self.signer,
            "made": self.made,
            "share": f"{self.share.number} of {self.count}, {self.share.needed} needed",
        }
        numbered = [f"{n:>4} {word:<10}" for n, word in enumerate(self.share.words, start=1)]
        rows = range(0, len(numbered), _COLUMNS)
        return [
            f"{TITLE} {VERSION}",
            *(f"{name:<8}{value}" for name, value in head.items()),
            "words",
            *("".join(numbered[row : row + _COLUMNS]).rstrip() for row in rows),
        ]

    @property
    def explanation(self) -> str:
        return _TEXT.format(count=self.count, needed=self.share.needed)


def split_kit(kit: RecoveryKit, needed: int, count: int) -> tuple[KitShare, ...]:
    """Return the shares of a kit.

    Raises:
        InvalidInputError: it cannot be split so.
    """
    return tuple(
        KitShare(share, count, kit.key_id.hex(), kit.signer, kit.made)
        for share in split(kit.seed, needed, count)
    )


def format_share(share: KitShare) -> str:
    """Return the text of a share."""
    title, *lines = share.lines
    body = "\n".join(lines)
    return f"{title}\n\n{share.explanation}\n{body}\n"


def parse_share(text: str) -> KitShare:
    """Return the share that a text holds.

    Raises:
        InvalidInputError: it is none, or was mistyped or altered.
        UnsupportedVersionError: a newer release wrote it.
    """
    body = body_of(text, TITLE, VERSION, "share of a recovery key")
    head, mark, words = _divided(body)
    if not mark:
        raise InvalidInputError("the share lacks its line 'words'")
    found = read_fields(head, _NAMES, frozenset({"share"}), "the share")
    numbers = _SHARE.match(found["share"])
    if numbers is None:
        raise InvalidInputError("the share does not say which of how many it is")
    number, count, needed = map(int, numbers.groups())
    share = read_share(words)
    if (number, needed) != (share.number, share.needed) or not number <= count:
        raise InvalidInputError(
            "the share's words are of another share than its head says: mistyped or mixed up"
        )
    return KitShare(
        share, count, found["key"].lower(), found["signer"].lower(), found["made"].upper()
    )


def _divided(body: str) -> tuple[str, str, str]:
    """Return what stands before the line `words`, that word, and the words."""
    mark = re.search(r"^\s*words\b:?", body, re.IGNORECASE | re.MULTILINE)
    if mark is None:
        return body, "", ""
    return body[: mark.start()], mark[0], body[mark.end() :]


def join_shares(shares: Sequence[KitShare]) -> RecoveryKit:
    """Return the kit that shares give together; one that is there twice counts once.

    Raises:
        InvalidInputError: they are of several keys, too few, or one is altered.
    """
    by_key: dict[str, dict[int, KitShare]] = {}
    for one in shares:
        by_key.setdefault(one.key_id, {}).setdefault(one.share.number, one)
    if len(by_key) > 1:
        told = "; ".join(
            f"{_numbers(members.values())} of key {key_id[:12]}"
            for key_id, members in by_key.items()
        )
        raise InvalidInputError(f"the shares are of {len(by_key)} recovery keys: {told}")
    first = shares[0]
    distinct = list({one.share.words: one for one in shares}.values())
    if len({one.share.splitting for one in distinct}) > 1:
        raise InvalidInputError(
            f"the shares of recovery key {first.key_id[:12]} are of several splittings"
        )
    present = len(by_key[first.key_id])
    missing = first.share.needed - present
    if missing > 0:
        raise InvalidInputError(
            f"{counted(present, 'share')} of recovery key {first.key_id[:12]} "
            f"{'is' if present == 1 else 'are'} here, and {first.share.needed} are needed: "
            f"{missing} more of the {first.count}",
            hint="name each with a --recovery-key of its own",
            key=first.key_id,
            missing=missing,
        )
    if len({(one.signer, one.made, one.count) for one in distinct}) > 1:
        raise InvalidInputError(
            f"the shares of recovery key {first.key_id[:12]} differ in their lines signer, made "
            "or share: one is mistyped, or was altered"
        )
    kit = RecoveryKit(combine([one.share for one in distinct]), first.signer, first.made)
    if kit.key_id.hex() != first.key_id:
        raise InvalidInputError(
            f"the shares give another key than {first.key_id[:12]}, which they say they are of"
        )
    return kit


def _numbers(shares: Iterable[KitShare]) -> str:
    return (
        f"share {', '.join(str(number) for number in sorted(one.share.number for one in shares))}"
    )
