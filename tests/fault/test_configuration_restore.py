"""A restore of the configuration that dies at a rename: running it again is always right."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.control import config_backup, config_restore, passwords, repositories
from strongroom.control.access import Access
from strongroom.control.context import Context
from strongroom.crypto.kdf import MINIMUM
from strongroom.settings import Settings
from strongroom.testing.memory_storage import MemoryStorage
from strongroom.testing.turned_clock import TurnedClock
from tests.support.installation import LOCATION, PASSWORD, secret

pytestmark = pytest.mark.usefixtures("quick_derivation")


def machine(folder: Path, storage: MemoryStorage) -> Context:
    return Context(
        Settings(folder / "home", folder / "key"),
        TurnedClock(),
        open_storage=lambda location, create: storage,
        derivation=lambda: MINIMUM,
    )


def set_up(folder: Path, storage: MemoryStorage, password: str) -> Context:
    ctx = machine(folder, storage)
    repositories.add(ctx, "main", LOCATION)
    passwords.add(ctx, password, secret(PASSWORD))
    return ctx


@pytest.mark.parametrize("dies_at", [1, 2, 3, 4, 5])
def test_whatever_rename_it_dies_at_the_next_one_brings_all_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    storage = MemoryStorage()
    with set_up(tmp_path / "old", storage, "office") as ctx:
        config_backup.set_plan(ctx, "main", "password:office", None)
    set_up(tmp_path / "new", storage, "before").close()
    access = Access(where=LOCATION, secrets=(secret(PASSWORD),))
    names = ("rename", "replace", "mkdir")
    genuine = {name: getattr(Path, name) for name in names}
    calls = 0

    def dying(name: str) -> object:
        def call(one: Path, *given: object, **options: object) -> object:
            nonlocal calls
            # Only what is at stake: the new home and the old one.
            if str(tmp_path / "new" / "home") in str(one):
                calls += 1
                if calls == dies_at:
                    raise KeyboardInterrupt
            return genuine[name](one, *given, **options)

        return call

    with monkeypatch.context() as patched:
        for name in names:
            patched.setattr(Path, name, dying(name))
        with pytest.raises(KeyboardInterrupt), machine(tmp_path / "new", storage) as ctx:
            config_restore.restore(ctx, access, replace=True, yes=True)
    with machine(tmp_path / "new", storage) as ctx:
        config_restore.restore(ctx, access, replace=True, yes=True)
        assert [view.name for view in passwords.list_all(ctx)] == ["office"]
        passwords.verify(ctx, "office", secret(PASSWORD))
    homes = [one for one in (tmp_path / "new").iterdir() if (one / "catalog.db").exists()]
    assert len(homes) >= 2  # what was there before is never removed
