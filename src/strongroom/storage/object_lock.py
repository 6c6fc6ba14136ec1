"""A bucket with S3 Object Lock: objects that nobody removes before their date, in compliance mode.

A bucket with Object Lock keeps versions. Removing a key only puts a *delete marker* on it, and
putting it again a newer version; both hide what is below and remove nothing, and neither can be
forbidden to who has the credentials. What is locked is a version. So here

* a put carries mode and date in its own request: locking costs no further call;
* the version that counts is the oldest, for a key is written once;
* a removal names the version, so it is refused while that is locked, and leaves no marker;
* a key whose oldest version is not what readers see was hidden by somebody (`hidden`), and is
  brought back by taking away what lies on it (`unhide`).

Dates are extended by one call an object, and a listing of versions for each thousand.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from botocore.exceptions import BotoCoreError, ClientError

from strongroom import errors
from strongroom.storage.copying import by_the_place
from strongroom.storage.keys import check_key, is_foreseeable, is_held, is_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime, timedelta

    from strongroom.clock import Clock
    from strongroom.storage.base import Buffer, Composed, ObjectInfo, ObjectKey, Part, Storage

_MOST_DAYS: Final = 36500
_AT_ONCE: Final = 8
_UNAVAILABLE: Final = frozenset({"SlowDown", "InternalError", "ServiceUnavailable", "503", "500"})
_CONFLICT: Final = frozenset({"ConditionalRequestConflict", "OperationAborted"})
_TAKEN: Final = frozenset({"PreconditionFailed", "412"})
_MISSING: Final = frozenset({"NoSuchKey", "NoSuchVersion", "404"})
_NO_LOCK: Final = frozenset(
    {"ObjectLockConfigurationNotFoundError", "InvalidRequest", "NotImplemented"}
)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A version of an object, or a delete marker on one."""

    is_latest: bool
    put_at: datetime
    version: str
    etag: str | None
    """Says what the version holds; None for a delete marker."""


_Layers: TypeAlias = list[_Layer]
"""All that lies under one key, newest first."""


class LockingBucket:
    """The objects under a prefix of a bucket with Object Lock; see `base.LockingStorage`."""

    def __init__(
        self,
        inner: Storage,
        client: Any,  # noqa: ANN401 - boto3's
        bucket: str,
        prefix: str,
        hold_for: timedelta,
        clock: Clock,
    ) -> None:
        """Ask for nothing yet.

        Args:
            inner: Reads the same objects.
            client: boto3's, for what `inner` cannot do: locks and versions.
            bucket: Its name.
            prefix: Where in it; empty for all of it.
            hold_for: How long what is put is locked.
            clock: The time.
        """
        self._inner = inner
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._hold_for = hold_for
        self._clock = clock

    @property
    def location(self) -> str:
        return self._inner.location

    def put(self, key: ObjectKey, data: Buffer) -> None:
        check_key(key)
        until = None
        if is_held(key):
            if is_foreseeable(key):
                self._refuse_hidden(key)
            until = self._clock.now() + self._hold_for
        try:
            with self._explaining("write", key):
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=self._prefix + key,
                    Body=_Body(data),
                    IfNoneMatch="*",
                    **_locked_until(until),
                )
        except errors.ObjectExistsError as error:
            # The library repeats a put whose answer was lost, and then finds its own object.
            if not error.fields.get("repeated") or self.get(key) != data:
                raise

    def _refuse_hidden(self, key: ObjectKey) -> None:
        """Go on if nothing lies hidden under a name that is about to be given.

        It would be the oldest version, and so the one that counts, and what is put now would
        pass for what somebody hid it with.

        Raises:
            RefusedError: something does.
        """
        layers = self._layers(key)
        first = _original(layers)
        if first is None or layers[0].etag is not None:
            return  # free, or seen to be taken
        if self._date(key, first.version) is None:
            self.delete(key)
            return
        raise errors.RefusedError(
            f"cannot write {key} to {self.location}: an older version of it is there, locked, and "
            "was hidden by a delete marker, which this server never makes",
            hint="change the credentials of the storage; 'strongroom repository unhide' shows "
            "what is below",
            key=key,
        )

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        until = self._clock.now() + self._hold_for if is_held(target) else None
        composed = by_the_place(self, target, parts, partial(self._copy, until))
        if until is not None and not (composed.written_bytes or composed.copied_bytes):
            self.lock([target], until)  # not every server heeds the lock of a copy
        return composed

    def _copy(self, until: datetime | None, source: ObjectKey, target: ObjectKey) -> None:
        try:
            with self._explaining("copy", target):
                self._client.copy_object(
                    Bucket=self._bucket,
                    Key=self._prefix + target,
                    CopySource={"Bucket": self._bucket, "Key": self._prefix + source},
                    IfNoneMatch="*",
                    **_locked_until(until),
                )
        except errors.ObjectExistsError as error:
            # The library repeats a copy whose answer was lost.
            if not error.fields.get("repeated"):
                raise

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        return self._inner.get(key, offset, length)

    def size(self, key: ObjectKey) -> int:
        return self._inner.size(key)

    def exists(self, key: ObjectKey) -> bool:
        return self._inner.exists(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._inner.list(prefix)

    def delete(self, key: ObjectKey) -> None:
        check_key(key)
        layers = self._layers(key)
        # The oldest first: if that is locked, nothing of the key changes.
        for layer in reversed(layers):
            self._delete_version(key, layer.version)

    def free_bytes(self) -> int | None:
        return self._inner.free_bytes()

    # --- locks ------------------------------------------------------------------------------

    def lock(self, keys: Iterable[ObjectKey], until: datetime) -> None:
        wanted = set(keys)
        for key in wanted:
            check_key(key)
        found: dict[ObjectKey, str] = {}
        for prefix in sorted({_group(key) for key in wanted}):
            for key, layers in self._versions(prefix):
                if key in wanted and (first := _original(layers)) is not None:
                    found[key] = first.version
        missing = sorted(wanted - found.keys())
        if missing:
            raise errors.ObjectMissingError(
                f"{self.location} has no object {missing[0]}", key=missing[0]
            )
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for waiting in [pool.submit(self._retain, *one, until) for one in found.items()]:
                waiting.result()

    def locked_until(self, key: ObjectKey) -> datetime | None:
        check_key(key)
        first = _original(self._layers(key))
        if first is None:
            raise errors.ObjectMissingError(f"{self.location} has no object {key}", key=key)
        return self._date(key, first.version)

    def locks_at_most_days(self) -> int:
        try:
            with self._explaining("look up the Object Lock of the bucket"):
                found = self._client.get_object_lock_configuration(Bucket=self._bucket)
        except errors.RefusedError as error:
            if error.fields.get("reason") not in _NO_LOCK:
                raise
            found = {}
        if found.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            raise errors.RefusedError(
                f"bucket {self._bucket} has no Object Lock",
                hint="make a bucket with it (aws s3api create-bucket --object-lock-enabled-for-"
                "bucket ...); most providers cannot turn it on later",
            )
        return _MOST_DAYS

    # --- what hides objects -----------------------------------------------------------------

    def hidden(self) -> Iterator[ObjectKey]:
        for key, layers in self._versions(""):
            first = _original(layers)
            if first is None or layers[0].etag == first.etag or not is_held(key):
                continue
            # What is not locked somebody removed, who did not know of versions.
            if self._date(key, first.version) is not None:
                yield key

    def unhide(self, key: ObjectKey) -> None:
        check_key(key)
        layers = self._layers(key)
        first = _original(layers)
        if first is None:
            raise errors.ObjectMissingError(f"{self.location} has no object {key}", key=key)
        try:
            for layer in layers:
                if layer != first:
                    self._delete_version(key, layer.version)
        except errors.ObjectLockedError:
            # Whoever hid it locked what lies on it. What was below is put on top of that.
            with self._explaining("bring back", key):
                self._client.copy_object(
                    Bucket=self._bucket,
                    Key=self._prefix + key,
                    CopySource={
                        "Bucket": self._bucket,
                        "Key": self._prefix + key,
                        "VersionId": first.version,
                    },
                    ObjectLockMode="COMPLIANCE",
                    ObjectLockRetainUntilDate=self._clock.now() + self._hold_for,
                )

    # --- versions ---------------------------------------------------------------------------

    def _versions(self, prefix: str) -> Iterator[tuple[ObjectKey, _Layers]]:
        """Yield keys that start with `prefix`, each with what lies under it, newest first."""
        pages = self._client.get_paginator("list_object_versions").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        found: dict[ObjectKey, _Layers] = {}
        with self._explaining("list the versions in"):
            for page in pages:
                for one in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                    key = one["Key"].removeprefix(self._prefix)
                    if is_key(key):
                        layer = _Layer(
                            bool(one.get("IsLatest")),
                            one["LastModified"],
                            one["VersionId"],
                            one.get("ETag"),
                        )
                        found.setdefault(key, []).append(layer)
        for key, layers in sorted(found.items()):
            # Of one second they stay as they are listed, which is newest first too.
            layers.sort(key=lambda layer: (layer.is_latest, layer.put_at), reverse=True)
            yield key, layers

    def _layers(self, key: ObjectKey) -> _Layers:
        none: _Layers = []
        return next((layers for name, layers in self._versions(key) if name == key), none)

    def _delete_version(self, key: ObjectKey, version: str) -> None:
        try:
            with self._explaining("delete", key):
                self._client.delete_object(
                    Bucket=self._bucket, Key=self._prefix + key, VersionId=version
                )
        except errors.ObjectMissingError:
            return
        except errors.RefusedError as error:
            until = self._date(key, version)
            if until is None or until <= self._clock.now():
                raise
            raise errors.ObjectLockedError(
                f"cannot remove {key} from {self.location}: it is locked until "
                f"{until:%Y-%m-%d %H:%M} UTC",
                until=until,
                key=key,
            ) from error

    def _retain(self, key: ObjectKey, version: str, until: datetime) -> None:
        try:
            with self._explaining("lock", key):
                self._client.put_object_retention(
                    Bucket=self._bucket,
                    Key=self._prefix + key,
                    VersionId=version,
                    Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until},
                )
        except errors.RefusedError:
            # Nobody shortens a lock: one that lasts longer is refused, and as good.
            present = self._date(key, version)
            if present is None or present < until.replace(microsecond=0):
                raise

    def _date(self, key: ObjectKey, version: str) -> datetime | None:
        try:
            with self._explaining("look up the lock of", key):
                found = self._client.get_object_retention(
                    Bucket=self._bucket, Key=self._prefix + key, VersionId=version
                )
        except (errors.ObjectMissingError, errors.RefusedError):
            return None
        until: datetime | None = found.get("Retention", {}).get("RetainUntilDate")
        return until

    # --- failing ----------------------------------------------------------------------------

    @contextmanager
    def _explaining(self, doing: str, key: ObjectKey = "") -> Iterator[None]:
        """Turn the library's errors into ours."""
        what = f"{key} in {self.location}" if key else self.location
        try:
            yield
        except ClientError as error:
            found = error.response.get("Error", {})
            code = str(found.get("Code", ""))
            message = f"cannot {doing} {what}: {code}: {found.get('Message') or 'no reason given'}"
            if code in _TAKEN:
                repeated = error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0
                raise errors.ObjectExistsError(
                    f"{self.location} has an object {key} already", key=key, repeated=repeated
                ) from error
            if code in _MISSING:
                raise errors.ObjectMissingError(message, key=key) from error
            if code in _UNAVAILABLE or code in _CONFLICT:
                raise errors.StorageUnavailableError(message, key=key) from error
            raise errors.RefusedError(message, key=key, reason=code) from error
        except BotoCoreError as error:
            raise errors.StorageUnavailableError(f"cannot {doing} {what}: {error}") from error


def _locked_until(until: datetime | None) -> dict[str, Any]:
    """Return what locks an object that is being made."""
    if until is None:
        return {}
    return {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}


class _Body(io.RawIOBase):
    """Bytes as a file, without copying them."""

    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(data).cast("B")
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a buffer
        taken = self._view[self._at : self._at + len(buffer)]
        buffer[: len(taken)] = taken
        self._at += len(taken)
        return len(taken)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._view)}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at


def _group(key: ObjectKey) -> str:
    """Return what to list to find a key among its like."""
    return "/".join(key.split("/")[:2])


def _original(layers: _Layers) -> _Layer | None:
    """Return the version that was put first; none if all that is there are delete markers."""
    return next((layer for layer in reversed(layers) if layer.etag is not None), None)
