"""A bucket as a storage: objects of S3 and its kin, of Google Cloud Storage, of Azure.

An object of up to `SINGLE_BYTES` is one conditional PUT: it appears whole or not at all, and of
any number of writers one succeeds. A pack is never larger, so a backup is one request a pack.
What is larger is sent in parts, a few at a time, and appears with the last request; no provider's
library makes that one conditional, so the key is looked at first: two writers that begin at one
moment could both succeed. Keys of such objects are random ids that no two writers share.

How the three providers are spoken to is obstore's; how often is `RetryingStorage`'s, so obstore
itself repeats nothing. Whether a server keeps these promises, `storage.promises` finds out.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from strongroom import errors
from strongroom.storage.base import Buffer, Composed, ObjectInfo, ObjectKey, Part
from strongroom.storage.copying import by_the_place
from strongroom.storage.keys import check_key, check_range, is_key

try:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError
    from obstore.store import AzureStore, GCSStore, S3Store
except ImportError as missing:
    raise errors.RefusedError(
        f"a bucket needs the Python package {missing.name}, which is not installed",
        hint="pip install 'strongroom[cloud]', or 'make install' in a source folder",
    ) from missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3CredentialProvider

    from strongroom.storage.bucket_place import BucketPlace
    from strongroom.storage.credential import Credential

SINGLE_BYTES: Final = 40 << 20
"""The largest object that one request carries: a pack of 32 MiB raw, and an eighth of padding."""
PART_BYTES: Final = 16 << 20
_PARTS_AT_ONCE: Final = 2
_SMALL_BYTES: Final = 1 << 20
_PAGE: Final = 1000
_DIRECTORY_BUCKET: Final = "--x-s3"

_CONNECT: Final = timedelta(seconds=10)
_SILENCE: Final = timedelta(seconds=30)
"""For how long a place may say nothing. Sending counts as silence, so of large objects not."""
_LONGEST: Final = timedelta(minutes=15)
"""For one request; an object of `SINGLE_BYTES` takes that long over 0.3 Mbit/s."""
_ONCE: Final[RetryConfig] = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>([^<]+)</Code>|\"reason\": ?\"([^\"]+)\"")
_MESSAGE: Final = re.compile(r"<Message>([^<]+)</Message>|\"message\": ?\"([^\"]+)\"")
_CAUSE: Final = re.compile(r"message: \"([^\"]+)\"")

_NO_RANGE: Final = re.compile("non-partial response|content.?range|unexpected range", re.IGNORECASE)

_NO_BUCKET: Final = frozenset({"NoSuchBucket", "ContainerNotFound"})
_FULL: Final = frozenset(
    {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}
)
_UNKNOWN: Final = frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired"})
_AGAIN: Final = frozenset(
    {"ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "SlowDown"}
)
_OTHER_REGION: Final = frozenset(
    {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"}
)


class BucketStorage:
    """The objects under a prefix of a bucket."""

    def __init__(
        self,
        location: str,
        store: ObjectStore,
        patient: ObjectStore,
        *,
        ordered: bool = False,
        credential_hint: str = "",
        single_bytes: int,
        part_bytes: int,
    ) -> None:
        """Connect to nothing yet.

        Args:
            location: As the operator would write it.
            store: Takes requests that are answered soon.
            patient: The same place, for requests that take long to send.
            ordered: Whether it lists in order of keys. Some servers list folder by folder, and
                theirs are sorted here, at the price of holding all that was asked for.
            credential_hint: Where this place's credentials may come from.
            single_bytes: The largest object that one request carries.
            part_bytes: Of larger ones, what one request carries; at least 5 MiB.
        """
        self._location = location
        self._store = store
        self._patient = patient
        self._ordered = ordered
        self._is_there = False
        self._credential_hint = credential_hint
        self._single_bytes = single_bytes
        self._part_bytes = part_bytes

    @classmethod
    def at(
        cls,
        place: BucketPlace,
        credential: Credential | None,
        *,
        single_bytes: int = SINGLE_BYTES,
        part_bytes: int = PART_BYTES,
    ) -> BucketStorage:
        """Return the storage at a place.

        Raises:
            RefusedError: there is no credential for it.
        """
        make, hint = _maker(place, credential)
        client: ClientConfig = {
            "allow_http": place.is_plain,
            "connect_timeout": _CONNECT,
            "timeout": _LONGEST,
        }
        if authorities := os.environ.get("AWS_CA_BUNDLE"):
            client["root_certificate"] = _read_authorities(Path(authorities))
        try:
            store = make({**client, "read_timeout": _SILENCE})
            patient = make(client)
        except (BaseError, ValueError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise errors.RefusedError(
                f"cannot open {place.location}: {reason}", hint=hint
            ) from error
        # The providers' own say so in their manuals, but for Amazon's directory buckets.
        ordered = place.endpoint is None and not place.bucket.endswith(_DIRECTORY_BUCKET)
        return cls(
            place.location,
            store,
            patient,
            ordered=ordered,
            credential_hint=hint,
            single_bytes=single_bytes,
            part_bytes=part_bytes,
        )

    @property
    def location(self) -> str:
        return self._location

    def put(self, key: ObjectKey, data: Buffer) -> None:
        check_key(key)
        view = memoryview(data).cast("B")
        if view.nbytes > self._single_bytes:
            self._put_in_parts(key, view)
            return
        store = self._store if view.nbytes <= _SMALL_BYTES else self._patient
        with self._explaining("write", key):
            obstore.put(store, key, view, mode="create", use_multipart=False)

    def _put_in_parts(self, key: ObjectKey, view: memoryview) -> None:
        if self.exists(key):
            raise self._taken(key)
        with self._explaining("write", key):
            obstore.put(
                self._patient,
                key,
                view,
                use_multipart=True,
                chunk_size=self._part_bytes,
                max_concurrency=_PARTS_AT_ONCE,
            )

    def compose(self, target: ObjectKey, parts: Sequence[Part]) -> Composed:
        return by_the_place(self, target, parts, self._copy)

    def _copy(self, source: ObjectKey, target: ObjectKey) -> None:
        with self._explaining("copy", target):
            obstore.copy(self._patient, source, target, overwrite=False)

    def get(self, key: ObjectKey, offset: int = 0, length: int | None = None) -> bytes:
        check_key(key)
        check_range(offset, length)
        if length == 0:
            self.size(key)  # a range of nothing is no request, and a missing object is missing
            return b""
        wanted: Any = {}
        if length is not None:
            wanted = {"range": (offset, offset + length)}
        elif offset:
            wanted = {"range": {"offset": offset}}
        try:
            with self._explaining("read", key):
                return obstore.get(self._store, key, options=wanted).bytes().to_bytes()
        except _BeyondTheEndError:
            return b""

    def size(self, key: ObjectKey) -> int:
        check_key(key)
        try:
            with self._explaining("look up", key):
                return obstore.head(self._store, key)["size"]
        except errors.ObjectMissingError:
            self._check_bucket(key)
            raise

    def _check_bucket(self, key: ObjectKey) -> None:
        """Tell a missing bucket from a missing object, once: HEAD's answer has no words for it."""
        if not self._is_there:
            with suppress(errors.ObjectMissingError), self._explaining("look up", key):
                obstore.get(self._store, key)
            self._is_there = True

    def exists(self, key: ObjectKey) -> bool:
        try:
            self.size(key)
        except errors.ObjectMissingError:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder, _, _ = prefix.rpartition("/")
        # A prefix like `../` starts no key, and obstore would refuse it.
        if folder and not is_key(folder):
            return
        listed = self._listed(folder, prefix)
        yield from listed if self._ordered else sorted(listed, key=lambda info: info.key)

    def _listed(self, folder: str, prefix: str) -> Iterator[ObjectInfo]:
        with self._explaining("list"):
            # obstore's prefixes end at a slash; ours end anywhere.
            for page in obstore.list(self._store, folder or None, chunk_size=_PAGE):
                for found in page:
                    key = found["path"]
                    if is_key(key) and key.startswith(prefix):
                        yield ObjectInfo(key, found["size"])

    def delete(self, key: ObjectKey) -> None:
        check_key(key)
        with suppress(errors.ObjectMissingError), self._explaining("delete", key):
            obstore.delete(self._store, key)

    def free_bytes(self) -> int | None:
        return None

    # --- failing ----------------------------------------------------------------------------

    def _taken(self, key: ObjectKey) -> errors.ObjectExistsError:
        return errors.ObjectExistsError(f"{self._location} has an object {key} already", key=key)

    @contextmanager
    def _explaining(self, doing: str, key: ObjectKey = "") -> Iterator[None]:
        """Turn the library's errors into ours."""
        try:
            yield
        except errors.StrongroomError:
            raise
        except (BaseError, FileNotFoundError, ValueError, OSError) as error:
            raise self._explained(error, doing, key) from error
        except BaseException as error:
            # Rust's panics are no `Exception`, and would pass by whoever cleans up.
            if type(error).__name__ != "PanicException":
                raise
            raise errors.RefusedError(
                f"cannot {doing} {key} in {self._location}: its library failed: {error}"
            ) from error

    def _explained(self, error: Exception, doing: str, key: ObjectKey) -> errors.StrongroomError:
        text = str(error)
        status = _first(_STATUS, text)
        code = _first(_CODE, text)
        what = f"{key} in {self._location}" if key else self._location
        said = f"{code or status}: {_first(_MESSAGE, text) or 'no reason given'}"
        message = f"cannot {doing} {what}: {said if status else _cause(text)}"
        fields = {"key": key, "location": self._location, "status": status, "reason": code}
        if code in _NO_BUCKET or (status == "404" and not key):
            return errors.NotFoundError(
                f"there is no bucket for {self._location}",
                hint="make it with the provider's own tools, and check endpoint and region",
                location=self._location,
            )
        if code in _AGAIN:
            return errors.StorageUnavailableError(message, **fields)
        if isinstance(error, AlreadyExistsError):
            return self._taken(key)
        if isinstance(error, FileNotFoundError):
            return errors.ObjectMissingError(f"{self._location} has no object {key}", key=key)
        if status == "416":
            return _BeyondTheEndError(message)
        if status == "507" or code in _FULL:
            return errors.StorageFullError(message, **fields)
        if code in _OTHER_REGION or "configured region" in text:
            return errors.RefusedError(
                message, hint="write the bucket's region, ?region=NAME", **fields
            )
        if code == "RequestTimeTooSkewed":
            return errors.RefusedError(message, hint="set this machine's clock", **fields)
        if status in {"401", "403"} or code in _UNKNOWN:
            return errors.RefusedError(message, hint=self._credential_hint, **fields)
        if status in {"408", "429"} or (status.startswith("5") and status != "501"):
            return errors.StorageUnavailableError(message, **fields)
        if _NO_RANGE.search(text):
            return errors.PromiseBrokenError(
                f"{self._location} answers with something else than the range of {key} that it "
                "was asked for",
                promises=["reads-back"],
                **fields,
            )
        if status or "certificate" in text.lower() or "scheme is not allowed" in text:
            hint = None
            if not status:
                hint = "AWS_CA_BUNDLE names a file with your own authority's certificates"
            return errors.RefusedError(message, hint=hint, **fields)
        return errors.StorageUnavailableError(message, **fields)


class _BeyondTheEndError(errors.StrongroomError):
    """The object is there, and ends before the range begins; never leaves this module."""


def _maker(place: BucketPlace, credential: Credential | None) -> tuple[Any, str]:
    """Return what makes obstore's store from a client's options, and a hint on credentials."""
    prefix = place.prefix or None
    if place.scheme == "gs":
        google: dict[str, Any] = {"base_url": place.endpoint} if place.endpoint else {}
        if credential is not None:
            google["service_account_key"] = credential.secret
        return (
            lambda client: GCSStore(
                place.bucket, prefix=prefix, client_options=client, retry_config=_ONCE, **google
            ),
            "GOOGLE_APPLICATION_CREDENTIALS names a service account's file; or keep one with "
            "'strongroom credential add'",
        )
    if place.scheme == "az":
        azure: dict[str, Any] = {"endpoint": place.endpoint} if place.endpoint else {}
        if account := place.account or (credential.account if credential is not None else ""):
            azure["account_name"] = account
        if credential is not None:
            azure["account_key"] = credential.secret
        return (
            lambda client: AzureStore(
                place.bucket, prefix=prefix, client_options=client, retry_config=_ONCE, **azure
            ),
            "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY; or keep them with "
            "'strongroom credential add'",
        )
    from strongroom.storage import aws

    # Deletes one at a time: every server knows that, and rights on single keys suffice.
    amazon: dict[str, Any] = {
        "virtual_hosted_style_request": False,
        "disable_bulk_delete": True,
        "copy_if_not_exists": "header:if-none-match:*",
    }
    if place.endpoint:
        amazon["endpoint"] = place.endpoint
    if region := place.region or aws.region_of_profile(place):
        amazon["region"] = region
    # Of the shape that the library wants; it names that shape for type checkers only.
    grant: Any = aws.provider(place, credential)
    return (
        lambda client: S3Store(
            place.bucket,
            prefix=prefix,
            client_options=client,
            retry_config=_ONCE,
            credential_provider=cast("S3CredentialProvider | None", grant),
            **amazon,
        ),
        aws.CREDENTIAL_HINT,
    )


def _read_authorities(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise errors.InvalidInputError(
            f"cannot read {path}, which AWS_CA_BUNDLE names: {error.strerror}"
        ) from error


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return next((group for group in found.groups() if group), "") if found else ""


def _cause(text: str) -> str:
    """Return in a few words why there was no answer."""
    if "certificate" in text.lower():
        return "its certificate is not to be trusted"
    if "scheme is not allowed" in text:
        return "it would be spoken to without TLS"
    if "dns error" in text:
        return "its name is not known"
    if "TimedOut" in text or "timed out" in text:
        return "it did not answer in time"
    return (_first(_CAUSE, text) or "the connection was lost").lower()
