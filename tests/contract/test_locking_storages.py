"""Every storage that locks its objects, held to the contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from strongroom import errors
from strongroom.clock import SystemClock, from_microseconds
from strongroom.crypto import random
from strongroom.storage.base import LockingStorage
from strongroom.storage.bucket import BucketStorage
from strongroom.storage.guarded_folder import GuardedFolder
from strongroom.storage.object_lock import LockingBucket
from strongroom.testing.locking_contract import LockingContract
from strongroom.testing.locking_memory import LockingMemory
from strongroom.testing.turned_clock import TurnedClock
from tests.support.guarded import Guarded
from tests.support.loop_folder import loop_folder
from tests.support.s3_server import CREDENTIAL, S3Server

MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


class TestMemory(LockingContract):
    @pytest.fixture
    def storage(self, clock: TurnedClock) -> LockingStorage:
        return LockingMemory(MINUTE, clock)

    @pytest.fixture
    def now(self, clock: TurnedClock) -> Callable[[], datetime]:
        return clock.now

    @pytest.fixture
    def wait(self, clock: TurnedClock) -> Callable[[float], None]:
        return clock.sleep


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with loop_folder(tmp_path_factory.mktemp("loop")) as place:
        yield place


class TestGuardedFolder(LockingContract):
    @pytest.fixture
    def guarded(self, mounted: Path, tmp_path: Path) -> Iterator[Guarded]:
        folder = mounted / tmp_path.name
        folder.mkdir()
        found = Guarded(folder, tmp_path / "sockets", tmp_path / "state.sqlite")
        with found.serving():
            yield found

    @pytest.fixture
    def storage(self, guarded: Guarded, clock: TurnedClock) -> LockingStorage:
        return GuardedFolder(guarded.folder, guarded.sockets, MINUTE, clock)

    @pytest.fixture
    def now(self, guarded: Guarded) -> Callable[[], datetime]:
        return lambda: from_microseconds(guarded.clock.wall)

    @pytest.fixture
    def wait(self, guarded: Guarded) -> Callable[[float], None]:
        return lambda seconds: guarded.clock.advance(timedelta(seconds=seconds))


VAULT = "vault"


@pytest.fixture(scope="module")
def locking_bucket(s3: S3Server) -> S3Server:
    """Return the server, with a bucket that locks objects."""
    s3.client().create_bucket(Bucket=VAULT, ObjectLockEnabledForBucket=True)
    return s3


class Calls:
    """boto3's client, and what it was called for."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.count: Counter[str] = Counter()
        client.meta.events.register("before-call.s3", self._called)

    def _called(self, model: Any, **_: Any) -> None:
        self.count[model.name] += 1


class TestLockingBucket(LockingContract):
    @pytest.fixture
    def prefix(self) -> str:
        return f"test-{random.token(6).hex()}"

    @pytest.fixture
    def calls(self, locking_bucket: S3Server) -> Calls:
        return Calls(locking_bucket.client())

    @pytest.fixture
    def storage(self, locking_bucket: S3Server, prefix: str, calls: Calls) -> LockingStorage:
        place = replace(locking_bucket.place(prefix), bucket=VAULT)
        inner = BucketStorage.at(place, CREDENTIAL)
        return LockingBucket(inner, calls.client, VAULT, prefix, MINUTE, SystemClock())

    @pytest.fixture
    def now(self) -> Callable[[], datetime]:
        return SystemClock().now

    @pytest.fixture
    def wait(self) -> Callable[[float], None]:
        return SystemClock().sleep

    def test_locking_costs_no_call_when_put_and_one_each_when_extended(
        self, storage: LockingStorage, calls: Calls
    ) -> None:
        keys = [f"chains/00/packs/{number:02}/p" for number in range(20)]
        for key in keys:
            storage.put(key, key.encode())
        assert calls.count == {"PutObject": 20}
        storage.lock(keys, SystemClock().now() + timedelta(days=3))
        assert calls.count == {"PutObject": 20, "ListObjectVersions": 1, "PutObjectRetention": 20}

    def test_who_has_the_credentials_hides_and_cannot_remove(
        self, storage: LockingStorage, calls: Calls, prefix: str
    ) -> None:
        keys = [f"chains/00/journal/{number}" for number in range(3)]
        for key in keys:
            storage.put(key, key.encode())
        at = {"Bucket": VAULT, "Key": f"{prefix}/{keys[0]}"}
        for key in keys[1:]:
            calls.client.delete_object(Bucket=VAULT, Key=f"{prefix}/{key}")
        calls.client.put_object(**at, Body=b"forged")
        calls.client.put_object(
            **{**at, "Key": f"{prefix}/{keys[1]}"},
            Body=b"forged, and locked itself",
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=SystemClock().now() + timedelta(days=1),
        )
        for key in keys:
            (first,) = [
                one["VersionId"]
                for one in calls.client.list_object_versions(
                    Bucket=VAULT, Prefix=f"{prefix}/{key}"
                )["Versions"]
                if one["Size"] == len(key)
            ]
            with pytest.raises(ClientError, match="AccessDenied"):
                calls.client.delete_object(Bucket=VAULT, Key=f"{prefix}/{key}", VersionId=first)
        assert [*storage.hidden()] == keys
        assert storage.get(keys[0]) == b"forged"
        for key in keys:
            storage.unhide(key)
            assert storage.get(key) == key.encode()
        assert [*storage.hidden()] == []

    def test_who_was_there_first_and_hid_it_is_not_taken_for_the_original(
        self, storage: LockingStorage, calls: Calls, prefix: str
    ) -> None:
        """Their version would be the oldest: it would be extended, and brought back."""
        locked, loose = (f"chains/00/journal/{number}" for number in range(2))
        calls.client.put_object(
            Bucket=VAULT,
            Key=f"{prefix}/{locked}",
            Body=b"forged, and locked itself",
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=SystemClock().now() + timedelta(days=1),
        )
        calls.client.put_object(Bucket=VAULT, Key=f"{prefix}/{loose}", Body=b"forged")
        for key in (locked, loose):
            calls.client.delete_object(Bucket=VAULT, Key=f"{prefix}/{key}")

        with pytest.raises(errors.RefusedError, match="hidden"):
            storage.put(locked, b"true")
        storage.put(loose, b"true")

        assert not storage.exists(locked)
        storage.unhide(loose)
        assert storage.get(loose) == b"true"

    def test_an_object_that_grew_old_is_removed_with_all_its_versions(
        self,
        storage: LockingStorage,
        calls: Calls,
        prefix: str,
        wait: Callable[[float], None],
        now: Callable[[], datetime],
    ) -> None:
        storage.put("probes/a", b"first")
        calls.client.delete_object(Bucket=VAULT, Key=f"{prefix}/probes/a")
        calls.client.put_object(Bucket=VAULT, Key=f"{prefix}/probes/a", Body=b"second")
        storage.delete("probes/a")
        left = calls.client.list_object_versions(Bucket=VAULT, Prefix=f"{prefix}/probes")
        assert "Versions" not in left
        assert "DeleteMarkers" not in left

    def test_a_bucket_without_locks_is_refused(self, s3: S3Server, prefix: str) -> None:
        place = s3.place(prefix)
        storage = LockingBucket(
            s3.storage(prefix), s3.client(), place.bucket, prefix, MINUTE, SystemClock()
        )
        with pytest.raises(errors.RefusedError, match="no Object Lock"):
            storage.locks_at_most_days()

    def test_a_server_that_does_not_answer_is_unavailable(
        self, storage: LockingStorage, calls: Calls
    ) -> None:
        def silence(**_: Any) -> None:
            raise ReadTimeoutError(endpoint_url="http://127.0.0.1:1")

        calls.client.meta.events.register("before-call.s3", silence)
        with pytest.raises(errors.StorageUnavailableError):
            storage.put("a", b"")
