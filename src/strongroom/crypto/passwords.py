"""Which passwords are strong enough.

A repository can be copied and its passwords guessed offline, for as many years as someone
likes; key derivation makes each guess dear, and these rules take away the first guesses. They
are for new passwords only: what opens an old chain is never judged.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import Final

from strongroom.errors import WeakPasswordError

MIN_LENGTH: Final = 12
LONG_ENOUGH: Final = 20
"""From this length on, words need no other kinds of characters."""

_CLASSES_NEEDED: Final = 3
_MIN_DIFFERENT: Final = 5
_MIN_HINT_WORD: Final = 4
_STEPS_ALLOWED: Final = 0.7
"""At most this part of all neighbours may be neighbours on a keyboard or in the alphabet."""

_ROWS: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertz", "azerty", "1234567890")

_COMMON: Final = frozenset(
    (
        *("password", "passwort", "passphrase", "motdepasse", "contrasena", "passw", "secret"),
        *("letmein", "letmeinnow", "welcome", "iloveyou", "ihateyou", "trustno", "trustnoone"),
        *("admin", "administrator", "root", "user", "guest", "login", "default", "changeme"),
        *("changeit", "backup", "restore", "veeam", "strongroom", "server", "test", "testing"),
        *("monkey", "dragon", "football", "baseball", "basketball", "superman", "batman"),
        *("princess", "sunshine", "starwars", "whatever", "shadow", "master", "michael"),
        *("correcthorsebatterystaple", "correcthorse", "batterystaple", "opensesame"),
        *("thequickbrownfoxjumpsoverthelazydog", "thequickbrownfox", "loremipsumdolorsitamet"),
        *("loremipsum", "tobeornottobe", "tobeornottobethatisthequestion", "maytheforcebewithyou"),
        *("hello", "helloworld", "qwerty", "qwertyuiop", "qwertz", "azerty", "asdf", "asdfgh"),
        *("abc", "abcdef", "spring", "summer", "autumn", "winter", "my", "the", "is", "your"),
    )
)
_LOOKALIKES: Final = str.maketrans("@4301!$5+7", "aaeoiisstt")


def check_strength(text: str, hint: str) -> None:
    """Refuse a password that would be guessed early, or that its hint gives away.

    Raises:
        WeakPasswordError: the message names the rule, and never quotes the password.
    """
    text = unicodedata.normalize("NFC", text)
    rule = _broken_rule(text) or _broken_hint_rule(text, unicodedata.normalize("NFC", hint))
    if rule is not None:
        raise WeakPasswordError(rule)


def _broken_rule(text: str) -> str | None:
    if not text:
        return "the password is empty"
    if len(text) < MIN_LENGTH:
        return f"the password has to have at least {MIN_LENGTH} characters"
    if len(text) < LONG_ENOUGH and _classes(text) < _CLASSES_NEEDED:
        return (
            f"the password needs {_CLASSES_NEEDED} of these four: small letters, capital "
            f"letters, digits, others; or at least {LONG_ENOUGH} characters"
        )
    folded = text.casefold()
    if len(set(folded)) < _MIN_DIFFERENT or _repeats(folded):
        return "the password repeats itself"
    if _steps(folded) > _STEPS_ALLOWED:
        return "the password follows the alphabet, the digits or a row of the keyboard"
    if _is_common(folded):
        return "the password is made of the most common words and phrases"
    return None


def _broken_hint_rule(text: str, hint: str) -> str | None:
    password = text.casefold()
    shown = hint.casefold()
    if password in shown:
        return "the hint contains the password, and anyone can read the hint"
    words = re.findall(r"\w+", shown)
    longest = max(map(len, words), default=0)
    if longest >= _MIN_HINT_WORD and any(
        word in password for word in words if len(word) == longest
    ):
        return "the password contains a word of its hint, and anyone can read the hint"
    return None


def _classes(text: str) -> int:
    lower = any(one.islower() for one in text)
    upper = any(one.isupper() for one in text)
    digit = any(one.isdigit() for one in text)
    other = any(not (one.islower() or one.isupper() or one.isdigit()) for one in text)
    return lower + upper + digit + other


def _repeats(text: str) -> bool:
    """Say whether the text is one piece, again and again, the last time perhaps cut short."""
    return any(text[period:] == text[:-period] for period in range(1, len(text) // 2 + 1))


def _steps(text: str) -> float:
    pairs = list(pairwise(text))
    near = sum(abs(ord(one) - ord(next_)) <= 1 or _on_one_row(one, next_) for one, next_ in pairs)
    return near / len(pairs)


def _on_one_row(one: str, next_: str) -> bool:
    return any(one + next_ in row or next_ + one in row for row in _ROWS)


def _is_common(text: str) -> bool:
    trimmed = text.strip("0123456789!?.,;:-_#*+ ")
    plain = re.sub(r"[\W\d_]", "", text)
    read = re.sub(r"[\W\d_]", "", trimmed.translate(_LOOKALIKES))
    return any(_is_made_of_common(one) for one in (plain, read))


def _is_made_of_common(letters: str) -> bool:
    # Where a common word ends, another may begin.
    reached = {0}
    for end in range(1, len(letters) + 1):
        if any(letters[start:end] in _COMMON for start in reached):
            reached.add(end)
    return bool(letters) and len(letters) in reached
