"""How the operator writes where a storage is, and which storage that means.

    /srv/backup   ./backup   ~/backup   file:/srv/backup      a folder

A word with a `/` or a scheme is a location; any other word is the name of a repository.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from strongroom.errors import InvalidInputError
from strongroom.storage.local import LocalStorage

if TYPE_CHECKING:
    from strongroom.storage.base import Storage

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_KNOWN: Final = "a path such as /srv/backup, or file:/srv/backup"


def is_location(word: str) -> bool:
    """Tell a location from a name."""
    return "/" in word or _SCHEME.match(word) is not None


def normalise(location: str) -> str:
    """Return `location` so that two ways of writing one place become the same.

    A relative path is taken from the present folder. Symbolic links are left as they are:
    the operator may turn one to another disk.

    Raises:
        InvalidInputError: there is no such scheme, or nothing after it.
    """
    return str(_folder(location))


def open_storage(location: str, *, create: bool = False) -> Storage:
    """Return the storage at `location`, its folder made first if `create` is set.

    Whether the place is there shows with the first call.

    Raises:
        InvalidInputError: there is no such scheme, or nothing after it.
    """
    storage = LocalStorage(_folder(location))
    if create:
        storage.make_root()
    return storage


def _folder(location: str) -> Path:
    scheme = _SCHEME.match(location)
    # A path may hold a colon too, but not before its first slash.
    path = location[scheme.end() :] if scheme else location
    if scheme and scheme[1].lower() != "file":
        raise InvalidInputError(
            f"cannot tell where {location} is: {scheme[1]}: is not known",
            hint=f"give {_KNOWN}",
            location=location,
        )
    if scheme and path.startswith("//") and not path.startswith("///"):
        raise InvalidInputError(
            f"{location} names another machine, and file: reads this one only",
            hint="give file:/srv/backup, with one slash",
            location=location,
        )
    if not path or "\0" in path:
        raise InvalidInputError(
            f"{location!r} is no place", hint=f"give {_KNOWN}", location=location
        )
    try:
        path = str(Path(path).expanduser())
    except RuntimeError as error:
        raise InvalidInputError(f"{location} is no place: {error}", location=location) from error
    absolute = os.path.abspath(path)  # noqa: PTH100 - resolve() follows links
    # abspath keeps a leading `//`, which POSIX leaves to the system and Linux reads as `/`.
    return Path("/" + absolute.lstrip("/"))


def local_path(location: str) -> Path | None:
    """Return the folder that a location means, or None if it is elsewhere."""
    try:
        return _folder(location)
    except InvalidInputError:
        return None
