"""Buckets against a real S3 server that keeps its word."""

from __future__ import annotations

import hashlib
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import GenericError

from strongroom import errors
from strongroom.clock import SystemClock
from strongroom.storage.base import Composed, ObjectInfo, ObjectRange, Storage
from strongroom.storage.bucket import BucketStorage
from strongroom.storage.bucket_place import parse
from strongroom.storage.credential import Credential
from strongroom.storage.location import open_storage
from strongroom.storage.retrying import RetryingStorage
from strongroom.testing.storage_contract import StorageContract
from strongroom.testing.turned_clock import TurnedClock
from tests.support.gate import Gate
from tests.support.s3_server import ACCESS_KEY, CREDENTIAL, S3Server


class TestBucketStorage(StorageContract):
    """As commands open it: with what repeats calls around it."""

    races = 2
    reads = 25

    @pytest.fixture
    def storage(self, s3: S3Server) -> Storage:
        bucket = open_storage(s3.location(), credential=CREDENTIAL)
        return RetryingStorage(bucket, SystemClock(), jitter=lambda: 0.5)


def test_a_large_object_is_sent_in_parts_and_appears_whole(s3: S3Server) -> None:
    place = s3.place()
    whole = BucketStorage.at(place, CREDENTIAL)
    storage = BucketStorage.at(place, CREDENTIAL, single_bytes=1 << 20, part_bytes=5 << 20)
    data = hashlib.shake_256(b"large").digest(11 << 20)

    storage.put("packs/00/large", memoryview(bytearray(data)))

    assert whole.get("packs/00/large") == data
    etag = s3.client().head_object(Bucket=place.bucket, Key=f"{place.prefix}/packs/00/large")
    assert etag["ETag"].endswith('-3"')
    with pytest.raises(errors.ObjectExistsError):
        storage.put("packs/00/large", data[::-1])
    assert whole.get("packs/00/large") == data


def test_an_object_that_makes_the_whole_is_copied_by_the_server(s3: S3Server) -> None:
    storage = s3.storage()
    data = hashlib.shake_256(b"whole").digest(3 << 20)
    storage.put("packs/00/a", data)

    composed = storage.compose("packs/00/b", [ObjectRange("packs/00/a")])

    assert composed == Composed(copied_there_bytes=len(data))
    assert storage.get("packs/00/b") == data
    storage.put("packs/00/c", b"another")
    with pytest.raises(errors.ObjectExistsError):
        storage.compose("packs/00/c", [ObjectRange("packs/00/a")])
    assert storage.get("packs/00/c") == b"another"


@pytest.mark.parametrize("status", ["403 Forbidden", "501 Not Implemented"])
def test_a_server_that_does_not_copy_for_us_is_read_and_written(
    s3: S3Server, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise GenericError(f"Server returned non-2xx status code: {status}: no")

    storage = s3.storage()
    storage.put("packs/00/a", b"content")
    monkeypatch.setattr("obstore.copy", refuses)

    composed = storage.compose("packs/00/b", [ObjectRange("packs/00/a")])

    assert composed == Composed(copied_bytes=7)
    assert storage.get("packs/00/b") == b"content"


def test_a_copy_that_is_cut_short_is_no_success(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = s3.storage()
    storage.put("packs/00/a", b"content")
    monkeypatch.setattr("obstore.copy", lambda store, _, to, **__: obstore.put(store, to, b"cont"))

    with pytest.raises(errors.PromiseBrokenError, match="not as long"):
        storage.compose("packs/00/b", [ObjectRange("packs/00/a")])


def test_other_objects_in_the_bucket_are_no_concern(s3: S3Server) -> None:
    place = s3.place()
    client = s3.client()
    for key in (f"{place.prefix}/", f"{place.prefix}-other/a", f"{place.prefix}/Not Ours"):
        client.put_object(Bucket=place.bucket, Key=key, Body=b"x")
    storage = s3.storage(place.prefix)

    assert [*storage.list()] == []
    storage.put("a", b"1")
    assert [*storage.list()] == [ObjectInfo("a", 1)]


@pytest.mark.parametrize(
    "credential", [Credential(ACCESS_KEY, "wrong"), Credential("AKUNKNOWN", "wrong")]
)
def test_credentials_that_are_not_known_are_refused_with_where_to_look(
    s3: S3Server, credential: Credential
) -> None:
    storage = open_storage(s3.location(), credential=credential)

    for call in (
        lambda: storage.get("a"),
        lambda: storage.size("a"),
        lambda: storage.put("a", b"1"),
        lambda: [*storage.list()],
        lambda: storage.delete("a"),
    ):
        with pytest.raises(errors.RefusedError) as caught:
            call()
        assert "credential" in str(caught.value.hint)
        assert "wrong" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_said_so(s3: S3Server) -> None:
    storage = BucketStorage.at(parse(f"s3://no-such-bucket?endpoint={s3.endpoint}"), CREDENTIAL)

    for call in (lambda: storage.get("a"), lambda: [*storage.list()]):
        with pytest.raises(errors.NotFoundError, match="no bucket"):
            call()


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://localhost:1"])
def test_a_server_that_is_away_is_unavailable(endpoint: str) -> None:
    storage = BucketStorage.at(parse(f"s3://bucket?endpoint={endpoint}"), CREDENTIAL)

    for call in (
        lambda: storage.get("a"),
        lambda: storage.exists("a"),
        lambda: storage.put("a", b"1"),
        lambda: [*storage.list()],
        lambda: storage.delete("a"),
    ):
        with pytest.raises(errors.StorageUnavailableError, match="refused"):
            call()


def test_a_profile_of_the_usual_files_opens_a_bucket(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    file.write_text(
        f"[offsite]\naws_access_key_id={ACCESS_KEY}\n"
        f"aws_secret_access_key={CREDENTIAL.secret}\nregion=us-east-1\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    location = s3.location().replace("region=us-east-1", "profile=offsite")

    storage = open_storage(location)
    storage.put("a", b"1")

    assert open_storage(location).get("a") == b"1"
    with pytest.raises(errors.RefusedError, match="nobody"):
        open_storage(location.replace("offsite", "nobody"))


class _OpeningClock(TurnedClock):
    """Opens a gate whenever somebody waits."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self._gate.open()


@pytest.mark.parametrize("size", [10, 2 << 20])
def test_a_put_whose_answer_was_lost_is_taken_for_done(s3: S3Server, size: int) -> None:
    data = hashlib.shake_256(b"lost").digest(size)
    with Gate.before(s3.port) as gate:
        location = s3.location(endpoint=f"http://127.0.0.1:{gate.port}")
        bucket = open_storage(location, credential=CREDENTIAL)
        storage = RetryingStorage(bucket, _OpeningClock(gate), jitter=lambda: 0.5)
        storage.put("before", b"1")
        gate.break_next()

        storage.put("a", data)

        assert storage.get("a") == data
        with pytest.raises(errors.ObjectExistsError):
            storage.put("a", data)


def test_a_put_whose_answer_was_lost_does_not_take_anothers_for_its_own(s3: S3Server) -> None:
    place = s3.place()
    with Gate.before(s3.port) as gate:
        location = s3.location(place.prefix, endpoint=f"http://127.0.0.1:{gate.port}")
        bucket = open_storage(location, credential=CREDENTIAL)
        storage = RetryingStorage(bucket, _OpeningClock(gate), jitter=lambda: 0.5)
        s3.storage(place.prefix).put("a", b"another's")
        gate.break_next()

        with pytest.raises(errors.ObjectExistsError):
            storage.put("a", b"mine")

    assert s3.storage(place.prefix).get("a") == b"another's"
