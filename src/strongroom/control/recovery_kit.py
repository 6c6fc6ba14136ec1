"""The recovery kit as a file: one secret, and what a finder has to know about it.

    strongroom recovery kit 1

    Whoever holds this file can read every backup …
    key     3f0c…                      the key's id, as 'strongroom recovery show' prints it
    signer  aaaa-bbbb-…                who signs these backups: compare before you trust
    made    2026-11-24T12:00:00.000000Z
    secret  abcd-efgh-…                32 bytes in base 32
    check   abcd-efgh                  over the lines above: finds a mistyped letter

Plain text, so that it can be printed and typed in again. Case, dashes, spaces and lines that
say something else do not matter. This module turns values to text and back and does no I/O.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from strongroom.clock import rfc3339
from strongroom.crypto.content import fingerprint
from strongroom.crypto.hpke import PrivateKey
from strongroom.crypto.keys import KEY_LENGTH, Seed
from strongroom.crypto.labels import bind
from strongroom.errors import InvalidInputError, UnsupportedVersionError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

TITLE: Final = "strongroom recovery kit"
VERSION: Final = 1
_CHECK_BYTES: Final = 5
_NAMES: Final = ("key", "signer", "made", "secret", "check")

EXPLANATION: Final = """\
Whoever holds this file can read every backup that was sealed for it, without any
password and without the server. Whoever has lost password and kit has lost the
backups: nobody can open them, and there is no other way in.

Keep it off this machine and out of its backups: printed in a safe, on a medium in
another building. To restore with it, on any machine that has strongroom:

    strongroom point list --repository LOCATION --recovery-key THIS-FILE
    strongroom restore POINT --to FOLDER --repository LOCATION --recovery-key THIS-FILE

The signer is who signs these backups. Compare it when strongroom asks whom to trust.
"""


@dataclass(frozen=True, slots=True)
class RecoveryKit:
    """What a kit holds."""

    seed: Seed
    signer: str
    """Fingerprint of the identity that signs the backups."""
    made: str
    """RFC 3339."""

    @property
    def key_id(self) -> bytes:
        return PrivateKey.from_seed(self.seed).public.id


def format_kit(kit: RecoveryKit) -> str:
    """Return the text of a kit."""
    title, *lines = lines_of(kit)
    body = "\n".join(lines)
    return f"{title}\n\n{EXPLANATION}\n{body}\n"


def lines_of(kit: RecoveryKit) -> list[str]:
    """Return what has to be typed to have the kit again."""
    secret = _groups(kit.seed.expose())
    lines = {
        "key": kit.key_id.hex(),
        "signer": kit.signer,
        "made": kit.made,
        "secret": secret,
        "check": _groups(_check(kit)),
    }
    return [f"{TITLE} {VERSION}", *(f"{name:<8}{value}" for name, value in lines.items())]


def parse_kit(text: str) -> RecoveryKit:
    """Return the kit that a text holds.

    Raises:
        InvalidInputError: it is none, or was mistyped or altered.
        UnsupportedVersionError: a newer release wrote it.
    """
    body = body_of(text, TITLE, VERSION, "recovery kit")
    found = read_fields(body, _NAMES, frozenset({"secret", "check"}), "the recovery kit")
    secret = _bytes(found["secret"])
    if secret is None or len(secret) != KEY_LENGTH:
        raise InvalidInputError("the recovery kit's secret is cut short or mistyped")
    kit = RecoveryKit(Seed(secret), found["signer"].lower(), found["made"].upper())
    if _bytes(found["check"]) != _check(kit) or found["key"].lower() != kit.key_id.hex():
        raise InvalidInputError(
            "the recovery kit's checksum is another: a letter is mistyped, or it was altered",
            hint="compare the lines key, signer, made and secret with the original",
        )
    return kit


def make_kit(seed: Seed, signer: str, made: datetime) -> RecoveryKit:
    """Return the kit of a seed."""
    return RecoveryKit(seed, signer, rfc3339(made))


def _check(kit: RecoveryKit) -> bytes:
    parts = (kit.key_id, kit.signer.encode(), kit.made.encode(), kit.seed.expose())
    return fingerprint(bind("recovery kit", *parts))[:_CHECK_BYTES]


def body_of(text: str, title: str, version: int, what: str) -> str:
    """Return what stands behind the title of a kit or a share.

    Raises:
        InvalidInputError: no line is such a title.
        UnsupportedVersionError: a newer release wrote it.
    """
    found = title_of(text, title)
    if found is None:
        raise InvalidInputError(f"this is no {what}: no line says {title!r}")
    if int(found[1]) != version:
        raise UnsupportedVersionError(
            f"the {what} is of version {found[1]}, and this release reads {version}"
        )
    return text[found.end() :]


def title_of(text: str, title: str) -> re.Match[str] | None:
    """Return the line that says `title` and a version, if there is one."""
    return re.search(rf"^\s*{title}\s+(\d{{1,9}})\s*$", text, re.MULTILINE | re.IGNORECASE)


def read_fields(
    body: str, names: Sequence[str], spaced: Collection[str], what: str
) -> dict[str, str]:
    """Return what the lines that begin with these names say.

    Args:
        body: Text in which other lines may stand as well.
        names: Of the lines; each has to be there once.
        spaced: Names of those with several words; of the others, a line of several is a
            sentence that happens to begin with the name.
        what: It is, for a message.

    Raises:
        InvalidInputError: one of the lines is missing, or there twice.
    """
    found: dict[str, str] = {}
    for line in body.splitlines():
        name, _, value = line.strip().partition(" ")
        name = name.lower().rstrip(":")
        if name in names and value.strip() and (name in spaced or len(value.split()) == 1):
            if name in found:
                raise InvalidInputError(f"{what} has two lines {name!r}")
            found[name] = value.strip()
    missing = [name for name in names if name not in found]
    if missing:
        raise InvalidInputError(f"{what} lacks its line {missing[0]!r}")
    return found


def _groups(data: bytes) -> str:
    text = base64.b32encode(data).decode().rstrip("=").lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def _bytes(text: str) -> bytes | None:
    letters = re.sub(r"[\s-]", "", text).upper()
    try:
        return base64.b32decode(letters + "=" * (-len(letters) % 8))
    except ValueError:
        return None
