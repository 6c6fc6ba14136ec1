from __future__ import annotations

import pytest

from strongroom.crypto.passwords import check_strength
from strongroom.errors import WeakPasswordError


@pytest.mark.parametrize(
    "text",
    [
        "Nine pigeons, 4 hats",
        "tK9-wq2.Lm4z",
        "velvet orbit cactus lantern",
        "x7#Bq!m2Zp0v",
        "grüne Äpfel, 3 Stück",
        "ключ от подвала лежит там",
        "k3yb0ard-Walnut-Tea",
        "my password is a purple submarine",
    ],
)
def test_a_strong_password_is_taken(text: str) -> None:
    check_strength(text, "the one from the drawer")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "empty"),
        ("Ab1!Ab2?Ab3", "at least 12"),
        ("a\u0308" * 6 + "Bc1!x", "at least 12"),
        ("velvetorbitca", "small letters"),
        ("velvetorbit42", "small letters"),
        ("velvet orbit 1a"[:11] + "abc", "small letters"),
        ("Aa1!Aa1!Aa1!", "repeats"),
        ("Xy7.Xy7.Xy7.Xy", "repeats"),
        ("Passw0rd!Passw0rd!", "repeats"),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", "repeats"),
        ("aabbaabbbabaabababbaabbaba", "repeats"),
        ("abcdefghijklmnopqrstuvwxyz", "alphabet"),
        ("Abcdefgh12345", "alphabet"),
        ("zyxwvutsrqponmlkjihgfedcba", "alphabet"),
        ("Qwertyuiop123!", "keyboard"),
        ("1234567890-1234567890x", "digits"),
        ("Password1234!", "common"),
        ("P@ssw0rd2026!", "common"),
        ("correct horse battery staple", "common"),
        ("CorrectHorseBatteryStaple1!", "common"),
        ("Welcome-Admin-2026", "common"),
        ("my password is password", "common"),
        ("To be or not to be, that is the question.", "common"),
    ],
)
def test_a_weak_password_is_refused_by_the_rule_it_breaks(text: str, rule: str) -> None:
    with pytest.raises(WeakPasswordError, match=rule) as raised:
        check_strength(text, "")
    assert not text or text not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("Nine pigeons, 4 hats", "it is: nine PIGEONS, 4 hats!"),
        ("Nine pigeons, 4 hats", "Pigeons in the loft"),
        ("tK9-winter.Lm4z", "winter"),
        ("gru\u0308ne Äpfel, 3 Stück", "GRÜNE"),
    ],
)
def test_a_hint_that_gives_the_password_away_is_refused(text: str, hint: str) -> None:
    with pytest.raises(WeakPasswordError, match="hint") as raised:
        check_strength(text, hint)
    assert text not in str(raised.value)


@pytest.mark.parametrize("hint", ["", "in a 4 of 3", "?!", "written in the blue book"])
def test_a_hint_of_other_or_of_tiny_words_is_fine(hint: str) -> None:
    check_strength("Nine pigeons, 4 hats", hint)
