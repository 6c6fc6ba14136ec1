"""Bytes as a block of text that survives mail, paper and hands.

    -----BEGIN STRONGROOM RECOVERY REQUEST-----
    base64, in lines of 64 characters
    -----END STRONGROOM RECOVERY REQUEST-----

What stands around the block does not matter, nor do spaces at the ends of lines or marks of
quotation before them. Whether a letter was mistyped the bytes themselves say: a frame ends in a
checksum.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from strongroom.errors import InvalidInputError

LARGEST: Final = 32 << 20
"""Characters of a text with a block in it."""

_LINE: Final = 64


def armour(label: str, data: bytes) -> str:
    """Return `data` as the block of text that is called `label`."""
    text = base64.b64encode(data).decode("ascii")
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""))


def unarmour(label: str, text: str) -> bytes:
    """Return the bytes of the one block called `label` in a text.

    Raises:
        InvalidInputError: there is none, or another, or it is cut short or too long.
    """
    if len(text) > LARGEST:
        raise InvalidInputError(f"the text has more than {LARGEST >> 20} MiB")
    what = label.lower().removeprefix("strongroom ")
    marks = list(re.finditer(r"-----(BEGIN|END) ([A-Z ]{1,60})-----", text))
    if not marks:
        raise InvalidInputError(f"this is no {what}: it has no line '-----BEGIN {label}-----'")
    if marks[0][1] == "BEGIN" and marks[0][2] != label:
        raise InvalidInputError(f"this is a {marks[0][2].lower()}, and no {what}")
    if [mark[0] for mark in marks] != [f"-----BEGIN {label}-----", f"-----END {label}-----"]:
        raise InvalidInputError(f"the {what} is cut short, or there are several")
    block = text[marks[0].end() : marks[1].start()]
    try:
        return base64.b64decode(re.sub(r"[\s>]", "", block), validate=True)
    except binascii.Error as error:
        raise InvalidInputError(f"the {what} is cut short, or a letter is mistyped") from error
