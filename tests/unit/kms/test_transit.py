"""What a transit engine's answers mean, and what is asked before there is one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hvac.exceptions import VaultError as Answer

from strongroom import errors
from strongroom.crypto.keys import SecretBytes
from strongroom.crypto.rsa import OaepHash
from strongroom.kms.base import Credentials, Surroundings
from strongroom.kms.location import open_kms, parse
from strongroom.kms.transit import TransitKms

URL = "transit+https://vault.test:8200/team/transit"


@pytest.fixture
def kms():
    """Return one that has asked nothing yet."""
    kms = TransitKms(parse(URL), Surroundings(Credentials(secret=SecretBytes(b"t0ken"))))
    yield kms
    kms.close()


@pytest.fixture
def answer(kms, monkeypatch):
    def set_answer(status, *words, text=""):
        def request(*_):
            raise Answer.from_status(status, text or None, errors=list(words) or None, text=text)

        monkeypatch.setattr(kms, "_request", request)

    return set_answer


@pytest.mark.parametrize(
    ("status", "words", "family"),
    [
        (500, "failed to RSA decrypt the ciphertext: crypto/rsa", errors.UnlockError),
        (400, "invalid ciphertext: no prefix", errors.UnlockError),
        (400, "invalid ciphertext: version is too new", errors.NotFoundError),
        (400, "encryption key not found", errors.NotFoundError),
        (400, "version is disallowed by policy (too old)", errors.RefusedError),
        (400, "refusing to use soft-deleted key", errors.RefusedError),
        (400, "something new", errors.RefusedError),
        (401, "unauthorized", errors.RefusedError),
        (403, "permission denied", errors.RefusedError),
        (404, "no handler for route", errors.RefusedError),
        (405, "unsupported operation", errors.RefusedError),
        (429, "request quota exceeded", errors.KmsUnavailableError),
        (500, "internal error", errors.KmsUnavailableError),
        (501, "not initialized", errors.KmsUnavailableError),
        (502, "bad gateway", errors.KmsUnavailableError),
        (503, "Vault is sealed", errors.KmsUnavailableError),
    ],
)
def test_every_answer_has_its_family(kms, answer, status, words, family):
    answer(status, words)
    with pytest.raises(family) as caught:
        kms.decrypt("strongroom-nightly:1", b"sealed", OaepHash.SHA256)
    assert type(caught.value) is family
    assert "strongroom-nightly:1" in str(caught.value)
    assert URL in str(caught.value)


def test_a_proxy_that_answers_for_the_server_is_no_refusal(kms, answer):
    answer(504, text="<html>Gateway Timeout</html>")
    with pytest.raises(errors.KmsUnavailableError):
        kms.state("strongroom-nightly:1")


def test_what_is_no_transit_engine_is_said_without_its_answer(kms, monkeypatch):
    monkeypatch.setattr(kms, "_request", lambda *_: {"data": {"plaintext": 7, "else": "secret"}})
    with pytest.raises(errors.KmsUnavailableError, match="no transit engine") as caught:
        kms.decrypt("strongroom-nightly:1", b"sealed", OaepHash.SHA256)
    assert caught.value.__cause__ is None
    assert "secret" not in str(caught.value)


def test_a_request_that_failed_is_not_chained_since_it_carries_the_token(kms, monkeypatch):
    import requests

    def request(*_):
        raise requests.exceptions.ReadTimeout("timed out", request=requests.Request("GET", URL))

    monkeypatch.setattr(kms, "_request", request)
    with pytest.raises(errors.KmsUnavailableError, match="timed out") as caught:
        kms.state("strongroom-nightly:1")
    assert caught.value.__cause__ is None


def test_padding_with_another_hash_is_not_even_asked_for(kms, answer):
    answer(500, "internal error")
    with pytest.raises(errors.UnlockError, match="SHA-256"):
        kms.decrypt("strongroom-nightly:1", b"sealed", OaepHash.SHA1)


@pytest.mark.parametrize("key", ["strongroom-nightly", ":1", "strongroom-nightly:", "a:b"])
def test_what_names_no_version_names_no_key(kms, key):
    with pytest.raises(errors.NotFoundError, match="names no key"):
        kms.decrypt(key, b"sealed", OaepHash.SHA256)


def test_authorities_and_client_certificate_lie_in_memory_until_closed(kms):
    credentials = Credentials(
        secret=SecretBytes(b"t0ken"),
        authorities=b"authorities",
        certificate=b"certificate",
        key=SecretBytes(b"private"),
    )
    ours = TransitKms(parse(URL), Surroundings(credentials))
    adapter = ours._connected()
    paths = [adapter._kwargs["verify"], *adapter._kwargs["cert"]]
    assert [Path(path).read_bytes() for path in paths] == [
        b"authorities",
        b"certificate",
        b"private",
    ]
    ours.close()
    for path in paths:
        with pytest.raises(FileNotFoundError):
            Path(path).read_bytes()


def test_without_its_library_the_package_to_install_is_named(monkeypatch):
    import strongroom.kms.transit as provider

    monkeypatch.setitem(sys.modules, "requests", None)
    monkeypatch.delitem(sys.modules, provider.__name__)
    with pytest.raises(errors.RefusedError, match="requests") as caught:
        open_kms([URL], Surroundings())
    assert "strongroom[transit]" in (caught.value.hint or "")
