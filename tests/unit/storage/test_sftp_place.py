from __future__ import annotations

import builtins
import sys
from typing import Any

import pytest

from strongroom import errors
from strongroom.storage.location import is_location, local_path, normalise, open_storage
from strongroom.storage.sftp_place import SftpPlace, parse


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("sftp://host/srv/backup", SftpPlace("host", "/srv/backup")),
        ("sftp://me@host:2222/srv/backup", SftpPlace("host", "/srv/backup", "me", 2222)),
        ("sftp://host/~/backup/b", SftpPlace("host", "backup/b")),
        ("sftp://[::1]:2222/srv", SftpPlace("::1", "/srv", None, 2222)),
        ("sftp://a%40corp@host/srv", SftpPlace("host", "/srv", "a@corp")),
        ("sftp://host/with%20space/%C3%A4%3F", SftpPlace("host", "/with space/ä?")),
    ],
)
def test_a_location_is_read_and_written_the_same(location: str, place: SftpPlace) -> None:
    assert parse(location) == place
    assert place.location == location
    assert normalise(location) == location
    assert is_location(location)
    assert local_path(location) is None


@pytest.mark.parametrize(
    "location",
    ["SFTP://HOST/srv//backup/", "sftp://host/./srv/backup", "sftp://host//srv/backup"],
)
def test_two_ways_to_write_a_place_become_one(location: str) -> None:
    assert normalise(location) == "sftp://host/srv/backup"


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("sftp:", "names no host"),
        ("sftp:/srv", "names no host"),
        ("sftp:///srv", "names no host"),
        ("sftp://me@/srv", "names no host"),
        ("sftp://-oProxyCommand=x/srv", "names no host"),
        ("sftp://ho st/srv", "names no host"),
        ("sftp://-l@host/srv", "user"),
        ("sftp://@host/srv", "user"),
        ("sftp://host:x/srv", "no place"),
        ("sftp://host:99999/srv", "no place"),
        ("sftp://[::1/srv", "no place"),
        ("sftp://host", "names no folder"),
        ("sftp://host/", "names no folder"),
        ("sftp://host/~", "names no folder"),
        ("sftp://host/~/", "names no folder"),
        ("sftp://host/srv/../etc", "leads up"),
        ("sftp://host/srv/%2e%2e/etc", "leads up"),
        ("sftp://host/a%00b", "cannot be shown"),
        ("sftp://host/srv?x=1", "mean nothing here"),
        ("sftp://host/srv#x", "mean nothing here"),
    ],
)
def test_what_is_no_place_is_refused(location: str, why: str) -> None:
    with pytest.raises(errors.InvalidInputError, match=why) as caught:
        normalise(location)

    assert "sftp://" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "location", ["sftp://me:hunter2@host/srv", "sftp://:hunter2@host/srv", "sftp://me:hunter2@/"]
)
def test_a_password_is_refused_and_not_repeated(location: str) -> None:
    with pytest.raises(errors.InvalidInputError, match="a password does not belong") as caught:
        normalise(location)

    assert "hunter2" not in f"{caught.value} {caught.value.hint} {caught.value.fields}"


def test_without_its_library_the_place_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("strongroom.storage.sftp", "strongroom.storage.ssh_line", "asyncssh"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    inner = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "asyncssh":
            raise ModuleNotFoundError("No module named 'asyncssh'", name="asyncssh")
        return inner(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(
        errors.RefusedError, match="the library asyncssh is not installed"
    ) as caught:
        open_storage("sftp://host/srv")

    assert caught.value.hint == "pip install 'strongroom[sftp]'"
