"""Key types that cannot be mixed or printed.

A key leaves its object only where someone wrote `expose`, so every place that truly uses key
bytes is found by searching for one word.
"""

from __future__ import annotations

import hmac
import unicodedata
from typing import ClassVar, Final, NoReturn, Self

from strongroom.errors import InvalidInputError

KEY_LENGTH: Final = 32


class SecretBytes:
    """Bytes that stay out of logs, tracebacks, copies and pickles.

    Python gives no promise to wipe memory, so none is made here.
    """

    __slots__ = ("_value",)

    length: ClassVar[int | None] = None
    """How many bytes it has to have; any number where it is none."""

    def __init__(self, value: bytes) -> None:
        """Hold `value`.

        Raises:
            ValueError: it has not the length of this kind of secret.
        """
        if self.length is not None and len(value) != self.length:
            raise ValueError(f"{type(self).__name__} takes {self.length} bytes, not {len(value)}")
        self._value = bytes(value)

    def expose(self) -> bytes:
        """Return the bytes themselves."""
        return self._value

    # Defining equality alone makes a secret unhashable: a hash would be a trace of it.
    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} redacted>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is not to be serialised")

    def __copy__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is not to be copied")

    def __deepcopy__(self, memo: dict[int, object]) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is not to be copied")


class Seed(SecretBytes):
    """What key pairs are made from; comes from a password, a recovery kit or at random."""

    __slots__ = ()
    length = KEY_LENGTH


class SessionKey(SecretBytes):
    """The data encryption key of one session; seals its blocks."""

    __slots__ = ()
    length = KEY_LENGTH


class MetaKey(SecretBytes):
    """Seals the index of one session, and what else the server may go on reading."""

    __slots__ = ()
    length = KEY_LENGTH


class DedupKey(SecretBytes):
    """Keys the hashes that name the content of one chain."""

    __slots__ = ()
    length = KEY_LENGTH


class AuditKey(SecretBytes):
    """Authenticates the lines of one installation's audit log; seals nothing."""

    __slots__ = ()
    length = KEY_LENGTH

    def tag(self, data: bytes) -> bytes:
        """Return the HMAC-SHA256 of `data`."""
        return hmac.digest(self._value, data, "sha256")


class Password(SecretBytes):
    """A password as the bytes that are hashed: its text in NFC, as UTF-8."""

    __slots__ = ()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the password that a person typed as `text`.

        The same characters reach us composed from one keyboard and decomposed from another;
        normalised, both are one password.

        Raises:
            InvalidInputError: the text is not Unicode, say from a variable in another encoding.
        """
        try:
            return cls(unicodedata.normalize("NFC", text).encode("utf-8"))
        except UnicodeEncodeError:
            # Not chained: the library's error carries the whole text.
            raise InvalidInputError(
                "the password is not valid Unicode text", hint="give it in UTF-8"
            ) from None
