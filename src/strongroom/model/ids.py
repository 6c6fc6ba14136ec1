"""Names that operators give and ids that Strongroom draws.

A name is for people and may be used again after its bearer is gone; an id is 16 random bytes
and never is. Ids are drawn in `crypto.random`; this module only says what they are.
"""

from __future__ import annotations

import re
from typing import Final, NewType

from strongroom.errors import InvalidInputError

JobId = NewType("JobId", bytes)
SourceId = NewType("SourceId", bytes)
SessionId = NewType("SessionId", bytes)
ChainId = NewType("ChainId", bytes)
PointId = NewType("PointId", bytes)

ID_LENGTH: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


def checked_name(what: str, text: str) -> str:
    """Return `text` if it can be the name of a job, a repository or a password.

    Args:
        what: What it is to name, for the message: `job`, `repository`, `password`.
        text: The name as the operator wrote it.

    Raises:
        InvalidInputError: it is empty, too long, or holds other characters.
    """
    if _NAME.fullmatch(text) is None:
        raise InvalidInputError(
            f"{text!r} cannot be the name of a {what}",
            hint="use 1 to 64 letters, digits, dots, dashes and underscores, "
            "not starting with a dot or dash",
            what=what,
            name=text,
        )
    return text
