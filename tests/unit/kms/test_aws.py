"""What AWS's answers mean, those that ministack never gives among them."""

from __future__ import annotations

import importlib
import sys

import pytest
from botocore.stub import Stubber

from strongroom import errors
from strongroom.crypto.keys import SecretBytes
from strongroom.crypto.rsa import OaepHash
from strongroom.kms.aws import AwsKms, alias
from strongroom.kms.base import Credentials, KeyState, Surroundings
from strongroom.kms.location import open_kms, parse

KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.fixture
def kms():
    credentials = Credentials(account="AKIA", secret=SecretBytes(b"secret"))
    kms = AwsKms(parse("aws://eu-central-1"), Surroundings(credentials))
    yield kms
    kms.close()


@pytest.fixture
def server(kms):
    with Stubber(kms._connected()) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("code", "status", "family"),
    [
        ("InvalidCiphertextException", 400, errors.UnlockError),
        ("NotFoundException", 400, errors.NotFoundError),
        ("DisabledException", 400, errors.RefusedError),
        ("KMSInvalidStateException", 400, errors.RefusedError),
        ("AccessDeniedException", 400, errors.RefusedError),
        ("ExpiredTokenException", 400, errors.RefusedError),
        ("LimitExceededException", 400, errors.RefusedError),
        ("InvalidKeyUsageException", 400, errors.RefusedError),
        ("ThrottlingException", 400, errors.KmsUnavailableError),
        ("KeyUnavailableException", 500, errors.KmsUnavailableError),
        ("SomethingNew", 503, errors.KmsUnavailableError),
    ],
)
def test_every_answer_has_its_family(kms, server, code, status, family):
    server.add_client_error("decrypt", code, "it said so", status)
    with pytest.raises(family) as caught:
        kms.decrypt(KEY, b"sealed", OaepHash.SHA256)
    assert type(caught.value) is family
    assert KEY in str(caught.value)
    assert "aws://eu-central-1" in str(caught.value)


def test_the_right_that_lacks_is_the_one_that_the_answer_names(kms, server):
    said = "User: arn:… is not authorized to perform: kms:TagResource on resource: *"
    server.add_client_error("create_key", "AccessDeniedException", said, 400)
    with pytest.raises(errors.RefusedError) as caught:
        kms.make_key("strongroom-nightly", 3072)
    assert caught.value.fields["right"] == "kms:TagResource"


def test_a_mac_that_is_wrong_is_an_answer_and_no_refusal(kms, server):
    server.add_client_error("verify_mac", "KMSInvalidMacException", "it does not match", 400)
    assert kms.verify_mac(KEY, b"m" * 32, bytes(32)) is False
    server.add_client_error("verify_mac", "AccessDeniedException", "not authorized", 400)
    with pytest.raises(errors.RefusedError) as caught:
        kms.verify_mac(KEY, b"m" * 32, bytes(32))
    assert caught.value.fields["right"] == "kms:VerifyMac"


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("Enabled", KeyState.ACTIVE),
        ("Disabled", KeyState.DISABLED),
        ("PendingImport", KeyState.DISABLED),
        ("Unavailable", KeyState.DISABLED),
        ("PendingDeletion", KeyState.CONDEMNED),
        ("PendingReplicaDeletion", KeyState.CONDEMNED),
    ],
)
def test_every_state_means_one_of_ours(kms, server, said, state):
    server.add_response("describe_key", {"KeyMetadata": {"KeyId": KEY, "KeyState": said}})
    assert kms.state(KEY) is state


def test_lists_are_read_to_their_end(kms, server):
    server.add_response(
        "list_keys", {"Keys": [{"KeyId": "a"}], "Truncated": True, "NextMarker": "m"}
    )
    server.add_response(
        "list_keys", {"Keys": [{"KeyId": "b"}], "Truncated": False}, {"Marker": "m"}
    )
    assert list(kms.keys()) == ["a", "b"]
    ours = {"AliasName": "alias/strongroom-vouching-1", "TargetKeyId": "c"}
    other = {"AliasName": "alias/aws/s3"}
    server.add_response("list_aliases", {"Aliases": [other], "Truncated": True, "NextMarker": "n"})
    server.add_response("list_aliases", {"Aliases": [ours], "Truncated": False}, {"Marker": "n"})
    assert list(kms.vouching_keys()) == ["c"]


def test_what_an_alias_cannot_hold_becomes_a_dash():
    assert alias("strongroom-web.site_1-0a1b2c3d") == "alias/strongroom-web-site_1-0a1b2c3d"


def test_half_an_access_key_is_refused_before_anything_is_asked():
    with pytest.raises(errors.InvalidInputError, match="only one of"):
        AwsKms(parse("aws://eu-central-1"), Surroundings(Credentials(account="AKIA")))


def test_without_any_credentials_the_answer_is_no(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    kms = AwsKms(parse("aws://eu-central-1"), Surroundings())
    with pytest.raises(errors.RefusedError, match="credentials"):
        kms.state(KEY)
    kms.close()
    kms = AwsKms(parse("aws://eu-central-1?profile=absent"), Surroundings())
    with pytest.raises(errors.RefusedError, match="absent"):
        kms.state(KEY)


def test_without_its_library_the_package_to_install_is_named(monkeypatch):
    import strongroom.kms.aws as provider

    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, provider.__name__)
    with pytest.raises(errors.RefusedError, match="boto3") as caught:
        open_kms(["aws://eu-central-1"], Surroundings())
    assert "strongroom[aws]" in (caught.value.hint or "")
    monkeypatch.undo()
    assert importlib.import_module("strongroom.kms.aws") is provider
