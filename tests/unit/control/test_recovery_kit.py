from __future__ import annotations

import pytest

from strongroom.control.recovery_kit import RecoveryKit, format_kit, parse_kit
from strongroom.crypto.keys import Seed
from strongroom.errors import InvalidInputError, UnsupportedVersionError

KIT = RecoveryKit(Seed(bytes(range(32))), "abcd-efgh-ijkl", "2026-11-24T12:00:00.000000Z")


def test_a_kit_reads_back_as_it_was_written() -> None:
    assert parse_kit(format_kit(KIT)) == KIT


def test_a_kit_says_what_it_is_and_who_signs() -> None:
    text = format_kit(KIT)
    assert text.startswith("strongroom recovery kit 1\n")
    assert "Whoever holds this file can read every backup" in text
    assert KIT.signer in text
    assert KIT.key_id.hex() in text
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 88


def test_a_kit_that_was_typed_in_reads_back() -> None:
    lines = [line for line in format_kit(KIT).splitlines() if line[:7].strip()]
    typed = "\r\n".join(f"   {line.upper().replace('-', ' - ')}" for line in lines[-2:])
    rest = "\n".join(lines[:1] + lines[-5:-2])
    assert parse_kit(f"found in a drawer\n{rest}\n{typed}") == KIT


def test_every_changed_letter_is_noticed() -> None:
    text = format_kit(KIT)
    start = text.index("\nkey ")
    for place in range(start, len(text)):
        if not text[place].isalnum():
            continue
        other = "b" if text[place] != "b" else "c"
        if text[place].isdigit():
            other = "2" if text[place] != "2" else "3"
        with pytest.raises(InvalidInputError):
            parse_kit(text[:place] + other + text[place + 1 :])


@pytest.mark.parametrize("name", ["key", "signer", "made", "secret", "check"])
def test_a_line_that_is_missing_or_there_twice_is_named(name: str) -> None:
    lines = format_kit(KIT).splitlines()
    (place,) = [n for n, line in enumerate(lines) if line.startswith(f"{name:<8}")]
    with pytest.raises(InvalidInputError, match=name):
        parse_kit("\n".join(lines[:place] + lines[place + 1 :]))
    with pytest.raises(InvalidInputError, match=name):
        parse_kit("\n".join([*lines, lines[place]]))


def test_what_is_no_kit_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no recovery kit"):
        parse_kit("secret aaaa")
    with pytest.raises(UnsupportedVersionError, match="version 2"):
        parse_kit(format_kit(KIT).replace("kit 1", "kit 2", 1))


def test_no_error_repeats_the_secret() -> None:
    text = format_kit(KIT)
    secret = text.split("secret")[-1].split()[0]
    with pytest.raises(InvalidInputError) as caught:
        parse_kit(text.replace("abcd", "abce"))
    assert secret not in f"{caught.value!r}{caught.value.hint}{caught.value.fields}"
    assert secret not in repr(KIT)
