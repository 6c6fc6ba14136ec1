from __future__ import annotations

import pytest

from strongroom.errors import InvalidInputError
from strongroom.kms.base import Surroundings
from strongroom.kms.location import Address, open_kms, parse


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("kmip://kms.example", Address("kmip", "kmip://kms.example", "kms.example", 5696)),
        ("kmip://[::1]:1234", Address("kmip", "kmip://[::1]:1234", "::1", 1234)),
        ("aws://eu-north-1", Address("aws", "aws://eu-north-1", "eu-north-1")),
        (
            "aws://eu-north-1?endpoint=http://127.0.0.1:1&profile=backup",
            Address(
                "aws",
                "aws://eu-north-1?endpoint=http://127.0.0.1:1&profile=backup",
                "eu-north-1",
                options={"endpoint": "http://127.0.0.1:1", "profile": "backup"},
            ),
        ),
        (
            "transit+https://bao.example:8200/teams/transit/?namespace=ops",
            Address(
                "transit",
                "transit+https://bao.example:8200/teams/transit/?namespace=ops",
                "bao.example",
                8200,
                "teams/transit",
                {"namespace": "ops", "scheme": "https"},
            ),
        ),
        (
            "transit+http://127.0.0.1:18200",
            Address(
                "transit",
                "transit+http://127.0.0.1:18200",
                "127.0.0.1",
                18200,
                "transit",
                {"scheme": "http"},
            ),
        ),
        (
            "pkcs11:token=my%20token;serial=1?module-path=/usr/lib/x.so",
            Address(
                "pkcs11",
                "pkcs11:token=my%20token;serial=1?module-path=/usr/lib/x.so",
                options={"token": "my token", "serial": "1", "module-path": "/usr/lib/x.so"},
            ),
        ),
    ],
)
def test_a_url_says_where_a_kms_is(url: str, address: Address) -> None:
    assert parse(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "kms.example",
        "https://kms.example",
        "kmip://",
        "kmip://host:port",
        "kmip://host?timeout=1",
        "kmip://host#part",
        "aws://?endpoint=http://127.0.0.1",
        "aws://north?region=south",
        "transit+ftp://host",
        "transit://host",
        "pkcs11:",
        "pkcs11:token=x",
        "pkcs11:token=x?module-path=x.so",
        "pkcs11:?module-path=/x.so",
        "pkcs11:token?module-path=/x.so",
        "pkcs11:token=x;object=y?module-path=/x.so",
    ],
)
def test_anything_else_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse(url)
    assert "kmip://HOST" in str(caught.value.hint)


@pytest.mark.parametrize(
    "url",
    [
        "transit+https://user:hunter2@host/transit",
        "transit+https://hunter2@host/transit",
        "pkcs11:token=x?module-path=/x.so&pin-value=hunter2",
        "pkcs11:token=x;pin-source=hunter2?module-path=/x.so",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse(url)
    assert "hunter2" not in f"{caught.value} {caught.value.hint} {caught.value.fields}"


def test_endpoints_of_two_kinds_are_no_kms() -> None:
    with pytest.raises(InvalidInputError, match="one kind"):
        open_kms(("kmip://a", "aws://b"), Surroundings())
