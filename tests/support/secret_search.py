"""Finds secrets in bytes, however they are written there.

    search = SecretSearch({key: "SessionKey"})
    assert search.found_in(log) == set()

As they are, escaped, in hexadecimal, in base 32 and 64 wherever in a longer text they begin, with
dashes, spaces and lines between, or, of words, some of them in order. How many secrets there are
costs nothing: one look at each place asks whether any of them begins there.
"""

from __future__ import annotations

import base64
import json
import re
import string
from collections import defaultdict
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_from_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SHORTEST: Final = 8
"""What is shorter would be found where it is not."""
_WORDS_IN_A_ROW: Final = 4
_LONG_LINE: Final = 16
_SEPARATORS: Final = b'-_ \t\r\n"'
_NO_LETTERS: Final = bytes(set(range(256)) - set(string.ascii_lowercase.encode()))


class SecretSearch:
    """Looks for all of some secrets at once."""

    def __init__(self, secrets: Mapping[bytes, str]) -> None:
        """Prepare the search.

        Args:
            secrets: By their bytes, what they are.

        Raises:
            ValueError: one is too short to be told from anything else.
        """
        self._plain = _Needles()
        self._folded = _Needles()
        self._letters = _Needles()
        for secret, kind in secrets.items():
            if len(secret) < SHORTEST:
                raise ValueError(f"a {kind} of {len(secret)} bytes is too short to look for")
            for form in _plain_forms(secret):
                self._plain.add(form, kind)
            for form in (secret.hex().encode(), base64.b32encode(secret).rstrip(b"=").lower()):
                self._folded.add(form, kind)
            for form in _rows_of_words(secret):
                self._letters.add(form, kind)

    def found_in(self, data: bytes) -> set[str]:
        """Return what kinds of secret stand in `data`."""
        lower = data.lower()
        return {
            *self._plain.found_in(data),
            *self._folded.found_in(lower.translate(None, _SEPARATORS)),
            *self._letters.found_in(lower.translate(None, _NO_LETTERS)),
        }


class _Needles:
    """Byte strings to look for, by their first bytes."""

    def __init__(self) -> None:
        self._by_head: defaultdict[bytes, list[tuple[bytes, str]]] = defaultdict(list)

    def add(self, needle: bytes, kind: str) -> None:
        self._by_head[needle[:SHORTEST]].append((needle, kind))

    def found_in(self, data: bytes) -> Iterator[str]:
        heads = self._by_head
        for place in range(len(data) - SHORTEST + 1) if heads else ():
            if (head := data[place : place + SHORTEST]) in heads:
                for needle, kind in heads[head]:
                    if data.startswith(needle, place):
                        yield kind


def _plain_forms(secret: bytes) -> set[bytes]:
    """Return a secret as it is, as it is escaped, and as base 64 has it at any offset."""
    forms = {
        secret,
        repr(secret)[2:-1].encode(),
        json.dumps(secret.decode("latin-1"))[1:-1].encode(),
        quote_from_bytes(secret, safe="").encode(),
    }
    # Of several lines each is one, for a writer may indent or escape the ends: a key in PEM.
    forms |= {
        line
        for line in secret.split(b"\n")
        if len(line) >= _LONG_LINE and not line.startswith(b"-----")
    }
    for offset in range(3):
        whole = (offset + len(secret)) * 8 // 6
        text = base64.b64encode(bytes(offset) + secret)[-(-offset * 8 // 6) : whole]
        forms |= {text, text.translate(bytes.maketrans(b"+/", b"-_"))}
    return forms


def _rows_of_words(secret: bytes) -> Iterator[bytes]:
    """Return some words in order at a time of a secret that is made of many, without spaces."""
    words = re.findall(rb"[a-z]+", secret) if re.fullmatch(rb"[a-z ]+", secret) else []
    for first in range(0, len(words) - _WORDS_IN_A_ROW + 1, _WORDS_IN_A_ROW):
        yield b"".join(words[first : first + _WORDS_IN_A_ROW])
