"""Which bucket a location means, and where in it.

    s3://BUCKET/PREFIX[?endpoint=URL][&region=R][&profile=P][&allow_http=true]
    gs://BUCKET/PREFIX[?endpoint=URL][&allow_http=true]
    az://CONTAINER/PREFIX[?account=A][&endpoint=URL][&allow_http=true]

A location is shown, logged and kept in the catalog, so it holds no secret: what looks like one is
refused, and not repeated. Traffic is encrypted but on this machine's own loopback, or where the
operator says otherwise in so many words.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urlsplit

from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from strongroom.storage.base import Storage
    from strongroom.storage.credential import Credential

_OPTIONS: Final = {
    "s3": ("endpoint", "region", "profile", "allow_http"),
    "gs": ("endpoint", "allow_http"),
    "az": ("account", "endpoint", "allow_http"),
}
"""In the order in which a location has them."""
_SECRETS: Final = re.compile(
    r"secret|token|password|signature|^sig$|(access|account|api).?key|^key"
)
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}[A-Za-z0-9]")
_PART: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_LONGEST_PREFIX: Final = 500
"""Providers allow keys of 1024 bytes, of which ours take up to 200."""
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ @+-]*")
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """A bucket, and the prefix under which a repository's objects lie in it."""

    scheme: str
    """`s3`, `gs` or `az`."""
    bucket: str
    prefix: str = ""
    """Without slashes at its ends; empty for the bucket as a whole."""
    endpoint: str | None = None
    """Scheme, host and port of a server other than the provider's own."""
    region: str | None = None
    profile: str | None = None
    """Whose credentials of `~/.aws` count."""
    account: str | None = None
    """Azure's storage account."""
    allow_http: bool = False
    """Whether the operator wants traffic in plain."""

    @property
    def location(self) -> str:
        """As the operator would write it; one place is written in one way only."""
        options = {
            "endpoint": self.endpoint,
            "region": self.region,
            "profile": self.profile,
            "account": self.account,
            "allow_http": "true" if self.allow_http else None,
        }
        query = "&".join(
            f"{name}={quote(value, safe=':/[]@')}"
            for name in _OPTIONS[self.scheme]
            if (value := options[name])
        )
        path = f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket
        return f"{self.scheme}://{path}{f'?{query}' if query else ''}"

    @property
    def is_plain(self) -> bool:
        """Whether the endpoint is reached without TLS."""
        return self.endpoint is not None and self.endpoint.startswith("http://")

    def open(
        self,
        credential: Credential | None,
        *,
        create: bool = False,  # noqa: ARG002 - others make a folder
    ) -> Storage:
        """Return the storage at this place; nothing is asked of it yet.

        Args:
            credential: What it knows us by; None for what the environment has.
            create: Means nothing here: an object needs no folder, and a bucket has an owner
                who decides about its region and its rules.
        """
        from strongroom.storage.bucket import BucketStorage

        return BucketStorage.at(self, credential)


def parse(location: str) -> BucketPlace:
    """Return the place that a location means.

    Raises:
        InvalidInputError: it means none, or carries a secret.
    """
    scheme = location.partition(":")[0].lower()
    if "@" in location:
        raise _secret(scheme)  # wherever it stands: the secret before it may hold slashes
    try:
        parts = urlsplit(location)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise _refused(scheme, f"{scheme}:…", str(error)) from error
    if ":" in parts.netloc or any(_SECRETS.search(name.lower()) for name, _ in options):
        raise _secret(scheme)
    if not location[len(scheme) :].startswith("://") or not parts.netloc:
        raise _refused(scheme, location, "it names no bucket")
    if parts.fragment:
        raise _refused(scheme, location, "# means nothing here")
    if not _BUCKET.fullmatch(parts.netloc):
        raise _refused(scheme, location, f"{parts.netloc} is no name of a bucket")
    given: dict[str, str] = {}
    for name, value in options:
        if name not in _OPTIONS[scheme]:
            known = ", ".join(_OPTIONS[scheme])
            raise _refused(scheme, location, f"{name}= means nothing here; {known} do")
        if name in given:
            raise _refused(scheme, location, f"{name}= is there twice")
        given[name] = value
    allow_http = _flag(scheme, location, given.get("allow_http"))
    endpoint = None
    if "endpoint" in given:
        endpoint = _endpoint(scheme, location, given["endpoint"], allow_http=allow_http)
    for name in ("region", "profile", "account"):
        if name in given and not _WORD.fullmatch(given[name]):
            raise _refused(scheme, location, f"{name}= names none")
    return BucketPlace(
        scheme=scheme,
        bucket=parts.netloc,
        prefix=_prefix(scheme, location, parts.path),
        endpoint=endpoint,
        region=given.get("region"),
        profile=given.get("profile"),
        account=given.get("account"),
        allow_http=allow_http,
    )


def _prefix(scheme: str, location: str, path: str) -> str:
    parts = [part for part in path.split("/") if part]
    for part in parts:
        if not _PART.fullmatch(part):
            raise _refused(
                scheme,
                location,
                f"{part!r} in its prefix has other characters than A-Z a-z 0-9 . _ - or starts "
                "with a dot",
            )
    prefix = "/".join(parts)
    if len(prefix) > _LONGEST_PREFIX:
        raise _refused(scheme, location, f"its prefix is longer than {_LONGEST_PREFIX} characters")
    return prefix


def _flag(scheme: str, location: str, value: str | None) -> bool:
    if value not in (None, "true", "false"):
        raise _refused(scheme, location, "allow_http= is true or false")
    return value == "true"


def _endpoint(scheme: str, location: str, url: str, *, allow_http: bool) -> str:
    if "@" in url:
        raise _secret(scheme)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _refused(scheme, location, f"its endpoint: {error}") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise _refused(scheme, location, "its endpoint is no https://HOST[:PORT]")
    if parts.query or parts.fragment:
        raise _refused(scheme, location, "its endpoint has more than a host, a port and a path")
    host = parts.hostname
    if parts.scheme == "http" and not (allow_http or _is_loopback(host)):
        raise InvalidInputError(
            f"{url} would be spoken to without TLS: whoever listens learns which objects there "
            "are, and can answer in its name",
            hint="write https://, or add &allow_http=true if the network is yours alone",
            location=location,
        )
    host = f"[{host}]" if ":" in host else host
    shown_port = "" if port in (None, _PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{host}{shown_port}{parts.path.rstrip('/')}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _secret(scheme: str) -> InvalidInputError:
    return InvalidInputError(
        f"a secret does not belong into a location such as {scheme}://…: locations are shown, "
        "logged and kept",
        hint="keep it with 'strongroom credential add', or give it in the environment",
    )


def _refused(scheme: str, location: str, why: str) -> InvalidInputError:
    what = "CONTAINER" if scheme == "az" else "BUCKET"
    # Without its options: one that means nothing may be a secret of a name unheard of.
    place = location.partition("?")[0]
    return InvalidInputError(
        f"{place} is no place: {why}", hint=f"write {scheme}://{what}/PREFIX", location=place
    )
