"""Which folder of which SSH server a location means.

    sftp://[USER@]HOST[:PORT]/srv/backup       from the root of the server's file system
    sftp://[USER@]HOST[:PORT]/~/backup         from the folder that the user logs into

USER and PORT may be left to `~/.ssh/config`, where HOST may be a name of yours. A location is
shown, logged and kept in the catalog, so it holds no password: one in it is refused and not
repeated.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit

from strongroom.errors import InvalidInputError, RefusedError

if TYPE_CHECKING:
    from strongroom.storage.base import Storage
    from strongroom.storage.credential import Credential

_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?|[0-9A-Fa-f:]+(%\w+)?")
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]*")
_FORM: Final = "give sftp://[USER@]HOST[:PORT]/PATH, or /~/PATH from the folder logged into"


@dataclass(frozen=True, slots=True)
class SftpPlace:
    """A folder on an SSH server."""

    host: str
    path: str
    """From the root, or from the folder logged into where it starts with no slash."""
    user: str | None = None
    port: int | None = None

    @property
    def location(self) -> str:
        """As the operator would write it; one place is written in one way only."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{quote(self.user, safe='+')}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        path = self.path if self.path.startswith("/") else f"/~/{self.path}"
        return f"sftp://{user}{host}{port}{quote(path, safe='/~+@:,=')}"

    def open(self, credential: Credential | None, *, create: bool = False) -> Storage:
        """Return the storage at this place, its folder made first if `create` is set.

        Raises:
            InvalidInputError: a credential was given; SSH has keys.
            RefusedError: the library for it is not installed.
        """
        if credential is not None:
            raise InvalidInputError(
                f"{self.location} takes no credential: SSH lets in who has the key",
                hint="use ssh-agent, a key in ~/.ssh, or name one in ~/.ssh/config",
            )
        try:
            from strongroom.storage.sftp import SftpStorage
        except ModuleNotFoundError as error:
            raise RefusedError(
                f"cannot reach {self.location}: the library {error.name} is not installed",
                hint="pip install 'strongroom[sftp]'",
                location=self.location,
            ) from error
        storage = SftpStorage(self)
        if create:
            storage.make_root()
        return storage


def parse(location: str) -> SftpPlace:
    """Return the place that a location means.

    Raises:
        InvalidInputError: it means none, or carries a password.
    """
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInputError(f"sftp:… is no place: {error}", hint=_FORM) from error
    if parts.password is not None:
        raise InvalidInputError(
            "a password does not belong into a location such as sftp://…: locations are shown, "
            "logged and kept",
            hint="use ssh-agent, a key in ~/.ssh, or name one in ~/.ssh/config",
        )
    user = None if parts.username is None else unquote(parts.username)
    if not host or not _HOST.fullmatch(host):
        raise _refused(location, "it names no host")
    if user is not None and not _USER.fullmatch(user):
        raise _refused(location, "its user is none")
    if parts.query or parts.fragment:
        raise _refused(location, "? and # mean nothing here; write %3F and %23 in a path")
    return SftpPlace(host=host, path=_path(location, parts.path), user=user, port=port)


def _path(location: str, written: str) -> str:
    path = unquote(written)
    if not path.isprintable():
        raise _refused(location, "its path has a character that cannot be shown")
    # As folders are seen from here; what `..` means behind a link only the server knows.
    if ".." in path.split("/"):
        raise _refused(location, "its path leads up again")
    path = posixpath.normpath(path).lstrip("/") if path else ""
    if path in ("", ".", "~"):
        raise _refused(location, "it names no folder")
    return path.removeprefix("~/") if path.startswith("~/") else f"/{path}"


def _refused(location: str, why: str) -> InvalidInputError:
    return InvalidInputError(f"{location} is no place: {why}", hint=_FORM, location=location)
