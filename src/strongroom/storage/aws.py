"""What boto3 knows and obstore does not: profiles of `~/.aws`, roles, versions, open uploads."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypedDict

from strongroom.clock import SystemClock
from strongroom.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from strongroom.storage.bucket_place import BucketPlace
    from strongroom.storage.credential import Credential

CREDENTIAL_HINT: Final = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, write ?profile=NAME for one of ~/.aws, or "
    "keep one with 'strongroom credential add' and 'repository add … --credential'"
)
_ASKED_AGAIN_AFTER: Final = timedelta(minutes=5)
"""Roles' credentials expire, and boto3 renews them in time if it is asked."""


class Granted(TypedDict):
    """A credential as obstore wants it."""

    access_key_id: str
    secret_access_key: str
    token: str | None
    expires_at: datetime | None


def provider(place: BucketPlace, credential: Credential | None) -> Callable[[], Granted] | None:
    """Return what grants access to a place; None where the environment itself does.

    Raises:
        RefusedError: there is no credential, or boto3 is not installed to look further for one.
    """
    if credential is not None:
        return lambda: Granted(
            access_key_id=credential.account,
            secret_access_key=credential.secret,
            token=None,
            expires_at=None,
        )
    if place.profile is None and "AWS_ACCESS_KEY_ID" in os.environ:
        return None
    found = _session(place).get_credentials()
    if found is None:
        raise RefusedError(f"there is no credential for {place.location}", hint=CREDENTIAL_HINT)
    clock = SystemClock()

    def grant() -> Granted:
        frozen = found.get_frozen_credentials()
        return Granted(
            access_key_id=frozen.access_key,
            secret_access_key=frozen.secret_key,
            token=frozen.token,
            expires_at=clock.now() + _ASKED_AGAIN_AFTER,
        )

    return grant


def region_of_profile(place: BucketPlace) -> str | None:
    """Return the region that a place's profile names."""
    region: str | None = _session(place).region_name if place.profile is not None else None
    return region


def s3_client(place: BucketPlace, credential: Credential | None) -> Any:  # noqa: ANN401 - boto3's
    """Return boto3's client for a place, which connects to nothing yet.

    Raises:
        RefusedError: the library is not installed, or there is no such profile.
    """
    session = _session(place)
    from botocore.config import Config

    given = {}
    if credential is not None:
        given = {
            "aws_access_key_id": credential.account,
            "aws_secret_access_key": credential.secret,
        }
    config = Config(
        connect_timeout=10,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": 5},
        s3={"addressing_style": "path" if place.endpoint else "auto"},
    )
    region = place.region or session.region_name or "us-east-1"
    return session.client(
        "s3", endpoint_url=place.endpoint, region_name=region, config=config, **given
    )


def _session(place: BucketPlace) -> Any:  # noqa: ANN401 - boto3's
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise RefusedError(
            f"a place {place.scheme}: needs the Python package {error.name}, which is not "
            "installed, to look for credentials beyond the environment",
            hint="pip install 'strongroom[cloud]', or set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY",
        ) from error
    try:
        return boto3.Session(profile_name=place.profile)
    except BotoCoreError as error:
        raise RefusedError(
            f"cannot find the credential for {place.location}: {error}", hint=CREDENTIAL_HINT
        ) from error
