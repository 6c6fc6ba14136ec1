from __future__ import annotations

from itertools import combinations

import pytest

from strongroom.crypto.keys import Seed
from strongroom.crypto.shares import combine, read_share, split
from strongroom.errors import InvalidInputError, UnsupportedVersionError

SEED = Seed(bytes(range(32)))
# SLIP-0039, vectors.json: "Valid mnemonic without sharing (256 bits)"
ALONE = (
    "theory painting academic academic armed sweater year military elder discuss acne wildlife "
    "boring employer fused large satoshi bundle carbon diagnose anatomy hamster leaves tracks "
    "paces beyond phantom capital marvel lips brave detect luck"
)


def test_any_three_of_five_give_the_seed_and_two_do_not() -> None:
    shares = split(SEED, 3, 5)
    assert [share.number for share in shares] == [1, 2, 3, 4, 5]
    for chosen in combinations(shares, 3):
        assert combine(chosen) == SEED
    assert combine(shares) == SEED
    for chosen in combinations(shares, 2):
        with pytest.raises(InvalidInputError, match="2 shares are here, and 3 are needed"):
            combine(chosen)


def test_a_share_given_twice_counts_once() -> None:
    first, second, third = split(SEED, 2, 3)
    assert combine([first, first, third]) == SEED
    with pytest.raises(InvalidInputError, match="1 shares are here"):
        combine([second, second])


def test_words_may_be_numbered_spaced_and_of_any_case() -> None:
    share = split(SEED, 2, 2)[0]
    typed = "\n".join(f"  {n:02}.  {word.upper()}" for n, word in enumerate(share.words, start=1))
    assert read_share(typed) == share


def test_every_wrong_word_is_noticed_and_none_is_repeated() -> None:
    words = list(split(SEED, 2, 3)[1].words)
    for place, word in enumerate(words):
        for other in ("zzzz", "academic" if word != "academic" else "acid"):
            with pytest.raises(InvalidInputError) as caught:
                read_share(" ".join([*words[:place], other, *words[place + 1 :]]))
            assert caught.value.__cause__ is None
            said = str(caught.value).split()
            assert not {one for one in words if len(one) > 5} & set(said)
    with pytest.raises(InvalidInputError, match="33 words, and here are 32"):
        read_share(" ".join(words[:-1]))


def test_shares_of_two_splittings_do_not_mix() -> None:
    one, other = split(SEED, 2, 3), split(SEED, 2, 3)
    with pytest.raises(InvalidInputError, match="several splittings"):
        combine([one[0], other[1]])


@pytest.mark.parametrize(("needed", "count"), [(1, 5), (0, 0), (3, 2), (2, 17)])
def test_a_sharing_that_protects_nothing_or_cannot_be_is_refused(needed: int, count: int) -> None:
    with pytest.raises(InvalidInputError, match="is no sharing"):
        split(SEED, needed, count)


def test_a_share_that_asks_for_long_work_is_refused_before_it_is_done() -> None:
    from shamir_mnemonic.share import Share as Mnemonic

    slow = Mnemonic(7, True, 15, 0, 1, 1, 0, 2, bytes(32))
    with pytest.raises(UnsupportedVersionError, match="iterations"):
        read_share(slow.mnemonic())


def test_a_share_that_is_the_secret_itself_is_none_of_ours() -> None:
    with pytest.raises((InvalidInputError, UnsupportedVersionError)):
        read_share(ALONE)


def test_no_share_shows_its_words() -> None:
    share = split(SEED, 2, 2)[0]
    assert share.words[6] not in repr(share)
