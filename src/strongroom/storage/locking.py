"""Which storage that locks objects a location means, and whether it keeps its word."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from strongroom import errors
from strongroom.storage.guarded_folder import GuardedFolder
from strongroom.storage.keys import PROBES
from strongroom.storage.location import normalise

if TYPE_CHECKING:
    from strongroom.clock import Clock
    from strongroom.storage.base import LockingStorage, Storage
    from strongroom.storage.credential import Credential

_PROBE_FOR: Final = timedelta(hours=1)


def guarded_folder(
    location: str, guards: Path, hold_for: timedelta, clock: Clock, *, create: bool = False
) -> LockingStorage:
    """Return the folder that a location means, to lock what is put there.

    Args:
        location: Where.
        guards: Where guards of folders listen.
        hold_for: How long what is put is locked.
        clock: The time.
        create: Whether the folder may be made.

    Raises:
        InvalidInputError: it means no folder.
    """
    storage = GuardedFolder(Path(normalise(location)), guards, hold_for, clock)
    if create:
        storage.make_root()
    return storage


def locking_bucket(
    location: str,
    reading: Storage,
    credential: Credential | None,
    hold_for: timedelta,
    clock: Clock,
) -> LockingStorage:
    """Return the bucket that a location means, to lock what is put there.

    Args:
        location: Where.
        reading: Reads the same objects.
        credential: What it knows us by; None for what the environment has.
        hold_for: How long what is put is locked.
        clock: The time.

    Raises:
        RefusedError: it is of a kind that locks nothing.
    """
    from strongroom.storage.bucket_place import parse

    place = parse(location)
    if place.scheme != "s3":
        raise errors.RefusedError(
            f"objects in {place.location} cannot be locked",
            hint="a vault with --immutable-days is a local folder with a guard, or an S3 bucket "
            "with Object Lock",
        )
    from strongroom.storage import aws
    from strongroom.storage.object_lock import LockingBucket

    client = aws.s3_client(place, credential)
    return LockingBucket(reading, client, place.bucket, place.prefix, hold_for, clock)


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
