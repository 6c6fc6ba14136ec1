"""How the operator writes where a KMS is, and which provider that means.

    kmip://HOST[:5696]                        KMIP 1.4 over mutual TLS
    aws://REGION[?endpoint=URL][&profile=P]   AWS KMS
    transit+https://HOST:PORT/MOUNT           Vault's or OpenBao's transit engine
    pkcs11:token=LABEL?module-path=/PATH.so   a token (RFC 7512)

A provider is imported when a KMS of its kind is opened. A new one is one module and one line in
`_PROVIDERS`.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from strongroom.errors import InvalidInputError
from strongroom.kms.failover import FailoverKms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.kms.base import Kms, Surroundings

_KMIP_PORT: Final = 5696
_PROVIDERS: Final = {
    "kmip": ("strongroom.kms.kmip", "KmipKms"),
    "aws": ("strongroom.kms.aws", "AwsKms"),
    "transit": ("strongroom.kms.transit", "TransitKms"),
    "pkcs11": ("strongroom.kms.pkcs11", "Pkcs11Kms"),
}
_HINT: Final = (
    "write kmip://HOST, aws://REGION, transit+https://HOST:PORT/MOUNT or "
    "pkcs11:token=LABEL?module-path=/PATH.so"
)
_TRANSIT: Final = re.compile(r"transit\+(https?)")


@dataclass(frozen=True, slots=True)
class Address:
    """Where one endpoint of a KMS is."""

    kind: str
    url: str
    """As it is shown and kept; it holds no secret."""
    host: str = ""
    """A name or an address; AWS: the region."""
    port: int | None = None
    path: str = ""
    """transit: the mount, without slashes at its ends."""
    options: dict[str, str] = field(default_factory=dict)
    """AWS: `endpoint`, `profile`; transit: `scheme`, `namespace`; PKCS#11: `token`, `serial`,
    `module-path`."""


def parse(url: str) -> Address:
    """Return what a URL means.

    Raises:
        InvalidInputError: it is none of a KMS, or carries a secret.
    """
    if url.startswith("pkcs11:"):
        return _pkcs11(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _refused(url, str(error)) from error
    if parts.username is not None or parts.password is not None:
        raise _refused(parts.scheme + "://…", "a secret does not belong into a URL")
    if parts.fragment or not parts.hostname:
        raise _refused(url, "no host" if not parts.hostname else "# means nothing here")
    options = dict(parse_qsl(parts.query))
    if parts.scheme == "kmip":
        _only(url, options)
        return Address("kmip", url, parts.hostname, port or _KMIP_PORT)
    if parts.scheme == "aws":
        _only(url, options, "endpoint", "profile")
        # Not `hostname`, which is in lower case: regions are too, so only a typo differs.
        return Address("aws", url, parts.hostname, None, "", options)
    if transit := _TRANSIT.fullmatch(parts.scheme):
        _only(url, options, "namespace")
        mount = parts.path.strip("/") or "transit"
        options["scheme"] = transit[1]
        return Address("transit", url, parts.hostname, port, mount, options)
    raise _refused(url, f"{parts.scheme or url!r} is no kind of KMS")


def _pkcs11(url: str) -> Address:
    path, _, query = url.removeprefix("pkcs11:").partition("?")
    options: dict[str, str] = {}
    for part in [*path.split(";"), *query.split("&")]:
        name, equals, value = part.partition("=")
        if part and not equals:
            raise _refused(url, f"{part!r} has no value")
        if name in ("pin-value", "pin-source"):
            raise _refused("pkcs11:…", "a secret does not belong into a URL")
        if part:
            options[name] = unquote(value)
    _only(url, options, "token", "serial", "module-path")
    if not options.get("module-path", "").startswith("/"):
        raise _refused(url, "module-path names no file")
    if "token" not in options and "serial" not in options:
        raise _refused(url, "token names none")
    return Address("pkcs11", url, options=options)


def _only(url: str, options: dict[str, str], *known: str) -> None:
    for name in options:
        if name not in known:
            raise _refused(url, f"{name!r} means nothing here")


def _refused(url: str, why: str) -> InvalidInputError:
    return InvalidInputError(f"{url} is no place of a KMS: {why}", hint=_HINT)


def kind_of(urls: Sequence[str]) -> str:
    """Return the kind of KMS that all of these URLs are endpoints of.

    Raises:
        InvalidInputError: a URL is none, or they are of different kinds.
    """
    kinds = sorted({parse(url).kind for url in urls})
    if len(kinds) != 1:
        raise InvalidInputError("the endpoints of one KMS are of one kind", kinds=kinds)
    return kinds[0]


def open_kms(urls: Sequence[str], surroundings: Surroundings) -> Kms:
    """Return the KMS at one or more endpoints; nothing is connected yet.

    Raises:
        InvalidInputError: a URL is none, or they are of different kinds.
        RefusedError: the provider's library is not installed.
    """
    addresses = [parse(url) for url in urls]
    module, name = _PROVIDERS[kind_of(urls)]
    provider = cast(
        "Callable[[Address, Surroundings], Kms]", getattr(importlib.import_module(module), name)
    )
    return FailoverKms([provider(address, surroundings) for address in addresses])
