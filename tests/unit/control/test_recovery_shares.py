from __future__ import annotations

import pytest

from strongroom.control.recovery_kit import RecoveryKit
from strongroom.control.recovery_shares import (
    format_share,
    join_shares,
    parse_share,
    split_kit,
)
from strongroom.crypto.keys import Seed
from strongroom.errors import InvalidInputError, UnsupportedVersionError

KIT = RecoveryKit(Seed(bytes(range(32))), "abcd-efgh-ijkl", "2026-11-24T12:00:00.000000Z")
OTHER = RecoveryKit(Seed(bytes(range(1, 33))), "abcd-efgh-ijkl", "2026-11-24T12:00:00.000000Z")


def test_shares_read_back_and_join_to_the_kit() -> None:
    texts = [format_share(share) for share in split_kit(KIT, 3, 5)]
    assert join_shares([parse_share(texts[place]) for place in (4, 0, 2)]) == KIT


def test_a_share_says_what_it_is_and_how_many_are_needed() -> None:
    share = split_kit(KIT, 3, 5)[1]
    text = format_share(share)
    assert text.startswith("strongroom recovery share 1\n")
    assert "share   2 of 5, 3 needed" in text
    assert "This is one of 5 shares" in text
    assert KIT.signer in text
    assert KIT.key_id.hex() in text
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 88


def test_a_share_that_was_typed_in_reads_back() -> None:
    share = split_kit(KIT, 2, 3)[2]
    head = [line for line in share.lines if not line.startswith(" ")]
    typed = "  ".join(word.title() for word in share.share.words)
    assert parse_share("\r\n".join(["in a drawer", *head[:-1], f"Words: {typed}"])) == share


def test_too_few_shares_say_how_many_are_missing_and_of_which_key() -> None:
    shares = split_kit(KIT, 3, 5)
    with pytest.raises(InvalidInputError) as caught:
        join_shares([shares[0], shares[0], shares[3]])
    message = str(caught.value)
    assert f"2 shares of recovery key {KIT.key_id.hex()[:12]} are here" in message
    assert "3 are needed: 1 more of the 5" in message
    assert caught.value.fields["missing"] == 1


def test_shares_of_several_keys_are_told_apart() -> None:
    ours, theirs = split_kit(KIT, 2, 3), split_kit(OTHER, 2, 3)
    with pytest.raises(InvalidInputError) as caught:
        join_shares([ours[0], ours[2], theirs[1]])
    message = str(caught.value)
    assert f"share 1, 3 of key {KIT.key_id.hex()[:12]}" in message
    assert f"share 2 of key {OTHER.key_id.hex()[:12]}" in message


def test_shares_of_two_splittings_of_one_key_do_not_mix() -> None:
    with pytest.raises(InvalidInputError, match="several splittings"):
        join_shares([split_kit(KIT, 2, 3)[0], split_kit(KIT, 2, 3)[1]])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("abcd-efgh-ijkl", "abcd-efgh-ijkm"),
        ("2026-11-24", "2026-11-25"),
        ("1 of 3, 2 needed", "1 of 4, 2 needed"),
    ],
)
def test_a_head_that_differs_from_the_others_is_noticed(before: str, after: str) -> None:
    texts = [format_share(share) for share in split_kit(KIT, 2, 3)]
    altered = [texts[0].replace(before, after), texts[1]]
    with pytest.raises(InvalidInputError, match="differ in their lines"):
        join_shares([parse_share(text) for text in altered])


def test_a_key_id_that_is_not_the_shares_own_is_noticed() -> None:
    texts = [format_share(share) for share in split_kit(KIT, 2, 3)]
    wrong = [text.replace(KIT.key_id.hex(), OTHER.key_id.hex()) for text in texts]
    with pytest.raises(InvalidInputError, match="another key"):
        join_shares([parse_share(text) for text in wrong])


def test_words_under_another_share_s_head_are_noticed() -> None:
    first, second = (format_share(share) for share in split_kit(KIT, 2, 3)[:2])
    mixed = first[: first.index("\nwords")] + second[second.index("\nwords") :]
    with pytest.raises(InvalidInputError, match="another share than its head says"):
        parse_share(mixed)


@pytest.mark.parametrize("name", ["key", "signer", "made", "share", "words"])
def test_a_line_that_is_missing_is_named(name: str) -> None:
    lines = format_share(split_kit(KIT, 2, 3)[0]).splitlines()
    kept = [line for line in lines if line.split()[:1] != [name]]
    with pytest.raises(InvalidInputError, match=name):
        parse_share("\n".join(kept))


def test_a_share_of_a_later_version_is_refused_as_such() -> None:
    text = format_share(split_kit(KIT, 2, 3)[0])
    with pytest.raises(UnsupportedVersionError, match="version 2"):
        parse_share(text.replace("share 1", "share 2", 1))
