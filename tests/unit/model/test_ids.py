from __future__ import annotations

import pytest

from strongroom.errors import InvalidInputError
from strongroom.model.ids import checked_name


@pytest.mark.parametrize("name", ["a", "nightly", "web-1.example_2", "_x", "9", "A" * 64])
def test_a_name_of_letters_digits_dots_dashes_and_underscores_is_taken(name: str) -> None:
    assert checked_name("job", name) == name


@pytest.mark.parametrize(
    "name", ["", ".hidden", "-option", "a b", "a/b", "a:b", "A" * 65, "ü", "a\n", "a\0", "٣"]
)
def test_any_other_name_is_refused_and_said_for_what(name: str) -> None:
    with pytest.raises(InvalidInputError, match="job"):
        checked_name("job", name)
