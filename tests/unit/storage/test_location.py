from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from strongroom import errors
from strongroom.storage.local import LocalStorage
from strongroom.storage.location import is_location, normalise, open_storage

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "word",
    ["/srv", "./backup", "a/b", "backup/", "~/backup", "file:/srv", "file:backup", "s3://bucket/x"],
)
def test_a_word_with_a_slash_or_a_scheme_is_a_location(word: str) -> None:
    assert is_location(word)


@pytest.mark.parametrize("word", ["main", "main-2", "backup.old", "2024", "", "0:main", "~"])
def test_any_other_word_is_a_name(word: str) -> None:
    assert not is_location(word)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/srv/backup", "/srv/backup"),
        ("/srv//backup/", "/srv/backup"),
        ("/srv/x/../backup/.", "/srv/backup"),
        ("//srv/backup", "/srv/backup"),
        ("file:/srv/backup", "/srv/backup"),
        ("FILE:/srv/backup", "/srv/backup"),
        ("file:///srv/backup", "/srv/backup"),
        ("./backup", "/here/backup"),
        ("file:backup", "/here/backup"),
        ("file:.", "/here"),
        ("~/backup", "/home/ann/backup"),
        ("file:~/backup", "/home/ann/backup"),
        ("/srv/a b/ü", "/srv/a b/ü"),
        ("./s3:x", "/here/s3:x"),
        ("/", "/"),
    ],
)
def test_ways_of_writing_one_place_become_the_same(
    monkeypatch: pytest.MonkeyPatch, location: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setattr("os.getcwd", lambda: "/here")

    assert normalise(location) == expected
    assert normalise(expected) == expected
    assert open_storage(location).location == expected


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("ftp://host/backup", "ftp: is not known"),
        ("s4:bucket", "s4: is not known"),
        ("file://host/backup", "another machine"),
        ("file:", "no place"),
        ("", "no place"),
        ("/srv\0/backup", "no place"),
        ("~nobody-of-this-name/x", "no place"),
    ],
)
def test_what_names_no_place_is_refused_with_what_is_known(location: str, words: str) -> None:
    for call in (normalise, open_storage):
        with pytest.raises(errors.InvalidInputError, match=words):
            call(location)


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(errors.InvalidInputError) as caught:
        open_storage("ftp://host/backup")
    assert "file:" in str(caught.value.hint)


def test_opening_makes_nothing_unless_asked(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"

    storage = open_storage(f"file:{place}")
    assert isinstance(storage, LocalStorage)
    assert not place.parent.exists()
    with pytest.raises(errors.StorageUnavailableError):
        storage.put("key", b"1")

    open_storage(str(place), create=True).put("key", b"1")
    assert (place / "key").exists()
