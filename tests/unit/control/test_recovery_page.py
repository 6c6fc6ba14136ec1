from __future__ import annotations

import re

import segno

from strongroom.control.recovery_kit import RecoveryKit, lines_of, parse_kit
from strongroom.control.recovery_page import format_kit_page, format_share_page, text_of
from strongroom.control.recovery_shares import parse_share, split_kit
from strongroom.crypto.keys import Seed

KIT = RecoveryKit(Seed(bytes(range(32))), "abcd-efgh-ijkl", "2026-11-24T12:00:00.000000Z")


def drawn(page: str) -> list[list[int]]:
    """Return the modules that the page's code draws, its quiet zone included."""
    size = int(re.search(r'viewBox="0 0 (\d+) \d+"', page)[1])  # type: ignore[index]
    rows = [[0] * size for _ in range(size)]
    path = re.search(r'<path[^>]* d="([^"]+)"', page)
    assert path is not None
    x, y = 0.0, 0.0
    for command, numbers in re.findall(r"([Mmh])([-\d. ]+)", path[1]):
        values = [float(number) for number in re.findall(r"-?[\d.]+", numbers)]
        if command == "M":
            x, y = values
        elif command == "m":
            x, y = x + values[0], y + values[1]
        else:
            for column in range(int(x), int(x + values[0])):
                rows[int(y)][column] = 1
            x += values[0]
    return rows


def test_a_page_reads_back_as_the_kit() -> None:
    assert parse_kit(text_of(format_kit_page(KIT))) == KIT


def test_the_code_says_the_lines_that_would_have_to_be_typed() -> None:
    text = "\n".join(lines_of(KIT))
    expected = segno.make(text, error="q", micro=False, boost_error=False)
    matrix = [[int(module) for module in row] for row in expected.matrix_iter(border=4)]
    assert drawn(format_kit_page(KIT)) == matrix
    assert parse_kit(text) == KIT


def test_a_page_refers_to_nothing_outside_itself() -> None:
    for page in (format_kit_page(KIT), format_share_page(split_kit(KIT, 2, 3)[0])):
        rest = page.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//|\bsrc=|\bhref=|url\(|@import|<script", rest)
        assert page.isascii()


def test_a_page_warns_in_words() -> None:
    assert "Whoever holds this file can read every backup" in format_kit_page(KIT)
    assert "Any 2 of them together" in format_share_page(split_kit(KIT, 2, 3)[0])


def test_a_share_s_page_reads_back() -> None:
    share = split_kit(KIT, 3, 5)[4]
    assert parse_share(text_of(format_share_page(share))) == share


def test_a_text_is_no_page_and_stays_as_it_is() -> None:
    assert text_of("strongroom recovery kit 1") == "strongroom recovery kit 1"
    assert text_of("<!doctype html><p>something else") == ""
