from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from strongroom.control import guards
from strongroom.errors import ConflictError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_with_something_else_than_a_repository_is_not_guarded(
    shop, tmp_path: Path
) -> None:
    """Whoever mistypes the folder would have all of it made immutable."""
    home = tmp_path / "somebody"
    home.mkdir()
    (home / "letters").write_text("mine")

    with pytest.raises(ConflictError) as refused:
        guards.run(
            shop.ctx,
            home,
            days=7,
            at_most_days=None,
            once=True,
            state=tmp_path / "state",
            stopped=lambda: True,
        )
    assert "letters lies there" in str(refused.value)
    assert not (tmp_path / "state").exists()
    (home / "letters").write_text("changed")
