"""How the operator writes where a storage is, and which storage that means.

    /srv/backup   ./backup   ~/backup   file:/srv/backup      a folder
    s3://BUCKET/PREFIX?endpoint=URL   gs://…   az://…         a bucket
    sftp://USER@HOST:PORT/srv/backup                          a folder of an SSH server
    /media/stick/letters.strongroom                           a file: an archive of a point

A word with a `/` or a scheme is a location; any other word is the name of a repository. A new
kind of place is a module and a line in `_ELSEWHERE`.
"""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast

from strongroom.errors import InvalidInputError
from strongroom.storage.local import LocalStorage

if TYPE_CHECKING:
    from strongroom.storage.base import Storage
    from strongroom.storage.credential import Credential

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_ELSEWHERE: Final = {
    "s3": "strongroom.storage.bucket_place",
    "gs": "strongroom.storage.bucket_place",
    "az": "strongroom.storage.bucket_place",
    "sftp": "strongroom.storage.sftp_place",
}
"""The modules whose `parse` returns the `Place` that a location means, by its scheme."""
_KNOWN: Final = (
    "a path such as /srv/backup, or file:/srv/backup, s3://BUCKET/PREFIX, gs:, az:, sftp://"
)


class Place(Protocol):
    """Where a location leads to on other machines; nothing is opened yet."""

    @property
    def location(self) -> str:
        """As the operator would write it; one place is written in one way only."""
        ...

    def open(self, credential: Credential | None, *, create: bool = False) -> Storage:
        """Return the storage there, made first if `create` is set and the place can be made."""
        ...


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
    place = _elsewhere(location)
    return place.location if place is not None else str(_folder(location))


def open_storage(
    location: str, *, create: bool = False, credential: Credential | None = None
) -> Storage:
    """Return the storage at `location`, its folder made first if `create` is set.

    Whether the place is there shows with the first call.

    Args:
        location: Where.
        create: Whether it may be made.
        credential: What it is to know us by; None for what the environment has.

    Raises:
        InvalidInputError: there is no such scheme, or nothing after it.
        RefusedError: the library for it is not installed, or no credential was found.
    """
    place = _elsewhere(location)
    if place is not None:
        return place.open(credential, create=create)
    folder = _folder(location)
    if folder.is_file():
        from strongroom.storage.archive import ArchiveStorage

        return ArchiveStorage(folder)
    storage = LocalStorage(folder)
    if create:
        storage.make_root()
    return storage


def is_elsewhere(location: str) -> bool:
    """Tell whether a location leads to other machines."""
    scheme = _SCHEME.match(location)
    return scheme is not None and scheme[1].lower() in _ELSEWHERE


def _elsewhere(location: str) -> Place | None:
    scheme = _SCHEME.match(location)
    module = _ELSEWHERE.get(scheme[1].lower()) if scheme else None
    if module is None:
        return None
    return cast("Place", importlib.import_module(module).parse(location))


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
