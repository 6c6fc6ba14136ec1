"""A server that every operation of care finds work on, prepared once."""

from __future__ import annotations

import pytest

from tests.support.caretaker import Caretaker, in_memory, with_small_packs


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Caretaker:
    """Return it in memory: who changes it moves it elsewhere before."""
    with pytest.MonkeyPatch.context() as patch:
        with_small_packs(patch)
        return Caretaker.prepared(tmp_path_factory.mktemp("caretaker"), in_memory())
