"""Which storage that locks its objects a location means, and whether it keeps its word."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from strongroom import errors
from strongroom.storage.bucket_place import BucketPlace, parse
from strongroom.storage.keys import PROBES
from strongroom.storage.location import is_elsewhere, local_path

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.clock import Clock
    from strongroom.storage.base import LockingStorage

_PROBE_FOR: Final = timedelta(hours=1)


def open_locking(
    location: str, hold_for: timedelta, *, clock: Clock, guards: Path, create: bool = False
) -> LockingStorage:
    """Return the storage at a location that locks what is put there.

    Args:
        location: Where.
        hold_for: How long what is put is locked.
        clock: The time.
        guards: Where guards of folders listen.
        create: Whether a folder may be made.

    Raises:
        RefusedError: nothing there locks objects.
    """
    if is_elsewhere(location):
        return _locking_bucket(parse(location), hold_for, clock)
    folder = local_path(location)
    if folder is None:
        raise _cannot_lock(location)
    from strongroom.storage.guarded_folder import GuardedFolder

    storage = GuardedFolder(folder, guards, hold_for, clock)
    if create:
        storage.make_root()
    return storage


def _locking_bucket(place: BucketPlace, hold_for: timedelta, clock: Clock) -> LockingStorage:
    if place.scheme != "s3":
        raise _cannot_lock(place.location)
    from strongroom.storage import aws
    from strongroom.storage.object_lock import LockingBucket

    client = aws.s3_client(place, None)
    return LockingBucket(place.open(None), client, place.bucket, place.prefix, hold_for, clock)


def _cannot_lock(location: str) -> errors.RefusedError:
    return errors.RefusedError(
        f"objects in {location} cannot be locked",
        hint="a vault with --immutable-days is a local folder with a guard, or an S3 bucket with "
        "Object Lock",
    )


def check_locks(storage: LockingStorage, clock: Clock) -> None:
    """Go on if a locked object cannot be removed: one is put, locked and tried.

    It stays for an hour, since it must not go; the next check removes it.

    Raises:
        RefusedError: the lock does not hold, or cannot be set.
    """
    for info in list(storage.list(PROBES)):
        try:
            storage.delete(info.key)
        except errors.ObjectLockedError:
            continue
    key = f"{PROBES}{uuid.uuid4().hex}"
    storage.put(key, b"This object was put to see whether it can be removed.\n")
    storage.lock([key], clock.now() + _PROBE_FOR)
    try:
        storage.delete(key)
    except errors.ObjectLockedError:
        if storage.exists(key):
            return
    raise errors.RefusedError(
        f"{storage.location} does not keep its objects: one that was locked could be removed",
        hint="do not rely on it as a vault; 'docs/operations/immutability.md' says what it takes",
    )
