from __future__ import annotations

import pytest

from strongroom import errors
from strongroom.storage.keys import LONGEST_KEY, check_key, check_range, is_key


@pytest.mark.parametrize(
    "key", ["a", "0", "_", "-", "a.b", "a..b", "a./b", "packs/00/00ff-1_2.x", "k" * LONGEST_KEY]
)
def test_keys_pass(key: str) -> None:
    check_key(key)
    assert is_key(key)


@pytest.mark.parametrize("key", ["", ".", "a/", "/a", "a/.b", "K", "a\n", "k" * (LONGEST_KEY + 1)])
def test_other_words_do_not(key: str) -> None:
    assert not is_key(key)
    with pytest.raises(errors.InvalidInputError, match="cannot name an object"):
        check_key(key)


def test_an_endless_key_makes_no_endless_message() -> None:
    with pytest.raises(errors.InvalidInputError) as caught:
        check_key("k" * 10_000_000)
    assert len(str(caught.value)) < 1000


def test_a_range_counts_forwards() -> None:
    check_range(0, None)
    check_range(0, 0)
    for offset, length in ((-1, None), (0, -1)):
        with pytest.raises(errors.InvalidInputError):
            check_range(offset, length)
