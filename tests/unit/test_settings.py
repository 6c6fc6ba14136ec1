from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from strongroom import settings
from strongroom.errors import InvalidInputError, RefusedError


def test_the_home_comes_from_the_option_then_the_variable_then_the_platform(
    tmp_path: Path,
) -> None:
    given = {"STRONGROOM_HOME": str(tmp_path / "variable")}
    assert settings.load(given, tmp_path / "option").home == tmp_path / "option"
    assert settings.load(given).home == tmp_path / "variable"
    assert settings.load({}).home.name == "strongroom"


def test_a_user_without_a_home_folder_is_told_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(InvalidInputError, match="no home folder") as caught:
        settings.load({})
    assert "STRONGROOM_HOME" in str(caught.value.hint)
    given = {"STRONGROOM_HOME": str(tmp_path), "STRONGROOM_KEY_FILE": str(tmp_path / "key")}
    assert settings.load(given).home == tmp_path


def test_the_key_file_lies_outside_the_home(tmp_path: Path) -> None:
    found = settings.load({}, tmp_path)
    assert not found.key_file.is_relative_to(tmp_path)
    assert settings.load({"STRONGROOM_KEY_FILE": "/run/key"}, tmp_path).key_file == Path("/run/key")


def test_reading_settings_makes_nothing(tmp_path: Path) -> None:
    found = settings.load({}, tmp_path / "home")
    assert not found.home_exists
    assert [*tmp_path.iterdir()] == []


def test_a_file_sets_what_the_environment_does_not(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        'key_file = "/etc/k"\nkey_passphrase_file = "/etc/p"\nlog = "DEBUG"\nquarantine_hours = 3\n'
    )
    found = settings.load({"STRONGROOM_LOG": "error"}, tmp_path)
    assert (found.key_file, found.key_passphrase_file) == (Path("/etc/k"), Path("/etc/p"))
    assert (found.log_level, found.quarantine_hours) == ("error", 3)
    assert settings.load({}, tmp_path).log_level == "debug"


@pytest.mark.parametrize(
    "text",
    ["unknown = 1", "log = 3", "log = 'loud'", "quarantine_hours = -1", "quarantine_hours = true",
     "key_file = [1]", "not toml", "\udcff"],
)  # fmt: skip
def test_a_wrong_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InvalidInputError):
        settings.load({}, tmp_path)


def test_a_home_of_somebody_else_is_no_wrong_file(tmp_path: Path) -> None:
    # A folder in the file's place is refused to root as well.
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(RefusedError, match=r"cannot read .*config\.toml") as caught:
        settings.load({}, tmp_path)
    assert "--home" in str(caught.value.hint)


def test_credentials_of_systemd_are_found(tmp_path: Path) -> None:
    found = settings.load({"CREDENTIALS_DIRECTORY": "/run/credentials/s"}, tmp_path)
    assert found.credentials == Path("/run/credentials/s")
