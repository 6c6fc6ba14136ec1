"""What every command of the control plane is handed: settings, clock, and what they lead to.

Catalog, keystore and identity are opened at first use and not before: a restore from a
location and a secret opens none of them, and leaves no trace of a home.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Self

from strongroom import logs
from strongroom.control.secrets import SecretSource
from strongroom.control.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta
    from types import TracebackType

    from strongroom.catalog.database import Database
    from strongroom.clock import Clock
    from strongroom.crypto.kdf import Argon2Parameters
    from strongroom.crypto.signing import SigningKey
    from strongroom.keystore import Keystore
    from strongroom.kms.base import Kms, Surroundings
    from strongroom.settings import Settings
    from strongroom.storage.base import LockingStorage, Storage
    from strongroom.storage.credential import Credential


def quiet(_: str) -> None:
    """Say nothing."""


class Context(AbstractContextManager["Context"]):
    """One command's surroundings. Closed by `with`, or by `close`."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        secrets: SecretSource | None = None,
        report: Callable[[str], None] = quiet,
        warn: Callable[[str], None] = quiet,
        open_storage: Callable[[str, bool], Storage] | None = None,
        open_locking: Callable[[str, timedelta, bool], LockingStorage] | None = None,
        open_kms: Callable[[Sequence[str], Surroundings], Kms] | None = None,
        derivation: Callable[[], Argon2Parameters] | None = None,
        command: str = "",
    ) -> None:
        """Open nothing yet.

        Args:
            settings: Where the home is.
            clock: The time.
            secrets: How the command's secret is to be got; from nowhere by default.
            report: Tells the operator something that is neither result nor error. One line
                each.
            warn: Tells the operator what needs a look and has no other place: no result, no error.
            open_storage: Turns a location into a storage, created if the flag says so.
            open_locking: Turns a location into a storage that locks what is put there for so
                long, created if the flag says so.
            open_kms: Turns the URLs of a KMS into one.
            derivation: Says what deriving a new password's key may cost; calibrated to this
                machine by default.
            command: Noun and verb of what runs, for the audit log.
        """
        self.command = command
        self.syslog_failed = False
        self.settings = settings
        self.clock = clock
        self.secrets = secrets if secrets is not None else SecretSource()
        self.report = report
        self.warn = warn
        self._open_storage = open_storage
        self._open_locking = open_locking
        self._open_kms = open_kms if open_kms is not None else _open_kms
        self._kms: dict[tuple[bytes, tuple[str, ...]], Kms] = {}
        self._derivation = derivation
        self._locking: dict[tuple[str, timedelta], LockingStorage] = {}
        self.traffic = Traffic()
        self._closers: list[Callable[[], None]] = []

    def storage(
        self,
        location: str,
        *,
        create: bool = False,
        credential: Credential | None = None,
        known: bool = True,
    ) -> Storage:
        """Return the storage at a location; tests put one in memory in its place.

        A place elsewhere is opened with the credential given, or the one that its repository
        has in the catalog, or what the environment has; calls that it does not answer are
        repeated.

        Args:
            location: Where.
            create: Whether to make it where it is not there.
            credential: What opens it.
            known: Whether the catalog may be asked for a limit of the repository there.

        Raises:
            InvalidInputError: it is no location.
            RefusedError: there is no credential for it.
        """
        if self._open_storage is not None:
            storage = self._open_storage(location, create)
        else:
            storage = self._opened(location, create=create, credential=credential)
        if logs.wants_debug():
            from strongroom.storage.tracing import TracingStorage

            storage = TracingStorage(storage, self.clock)
        return self.traffic.limited(self, storage, location if known else None)

    def locking_storage(
        self,
        location: str,
        hold_for: timedelta,
        *,
        create: bool = False,
        credential: Credential | None = None,
    ) -> LockingStorage:
        """Return the storage at a location that locks what is put there for `hold_for`.

        Raises:
            RefusedError: nothing there locks objects.
        """
        if self._open_locking is not None:
            return self._open_locking(location, hold_for, create)
        if credential is None and (location, hold_for) in self._locking:
            return self._locking[location, hold_for]
        storage = self._opened_locking(location, hold_for, create, credential)
        self._locking[location, hold_for] = storage
        return storage

    def _opened_locking(
        self, location: str, hold_for: timedelta, create: bool, credential: Credential | None
    ) -> LockingStorage:
        from strongroom.storage import locking
        from strongroom.storage.location import is_elsewhere, normalise

        if not is_elsewhere(location):
            guards = self.settings.guards
            return locking.guarded_folder(location, guards, hold_for, self.clock, create=create)
        from strongroom.control.credentials import of_location

        if credential is None:
            credential = of_location(self, normalise(location))
        reading = self.storage(location, credential=credential)
        return locking.locking_bucket(location, reading, credential, hold_for, self.clock)

    def _opened(self, location: str, *, create: bool, credential: Credential | None) -> Storage:
        from strongroom.storage.location import is_elsewhere, normalise, open_storage

        if not is_elsewhere(location):
            return open_storage(location, create=create)
        from strongroom.control.credentials import of_location
        from strongroom.crypto import random
        from strongroom.storage.retrying import RetryingStorage

        if credential is None:
            credential = of_location(self, normalise(location))
        return RetryingStorage(
            open_storage(location, create=create, credential=credential),
            self.clock,
            jitter=lambda: random.number(0, 1000) / 1000,
            tell=self.report,
        )

    def kms(self, kms_id: bytes, urls: tuple[str, ...]) -> Kms:
        """Return a KMS of the catalog at some of its endpoints, with what it is to know us by.

        Nothing is connected before its first call; the context closes it.
        """
        from strongroom.keystore import KmsRecord
        from strongroom.kms.base import Credentials, Surroundings

        if (kms_id, urls) not in self._kms:
            record = self.keystore.get(KmsRecord, kms_id.hex())
            credentials = Credentials(
                account=record.account,
                secret=record.secret,
                certificate=record.certificate,
                key=record.key,
                authorities=record.authorities,
            )
            kms = self._open_kms(urls, Surroundings(credentials, self.warn))
            self.on_close(kms.close)
            self._kms[kms_id, urls] = kms
        return self._kms[kms_id, urls]

    def forget_kms(self) -> None:
        """Have every KMS opened anew: what they know us by has changed."""
        for kms in self._kms.values():
            kms.close()
        self._kms.clear()

    def derivation(self) -> Argon2Parameters:
        """Return what deriving the key of a new password costs."""
        if self._derivation is not None:
            return self._derivation()
        from strongroom.crypto.kdf import calibrate

        return calibrate()

    @cached_property
    def database(self) -> Database:
        """The catalog, created with the home at first use."""
        from strongroom.catalog.database import Database

        return Database.open(self.settings.catalog_file)

    @cached_property
    def keystore(self) -> Keystore:
        """The keystore, created with the home and its key file at first use.

        Raises:
            KeystoreLockedError: it does not open on this machine.
        """
        from strongroom.control.keys import open_keystore

        return open_keystore(self.settings)

    @cached_property
    def identity(self) -> SigningKey:
        """What this installation signs with, made at first use."""
        from strongroom.control.keys import own_identity

        return own_identity(self.keystore, self.database)

    @property
    def has_catalog(self) -> bool:
        """Whether there is a catalog to ask, without making one."""
        return self.catalog_is_open or self.settings.home_exists

    @property
    def catalog_is_open(self) -> bool:
        """Whether the command has asked the catalog for anything."""
        return "database" in self.__dict__

    def on_close(self, closer: Callable[[], None]) -> None:
        """Have `closer` called when the context is closed."""
        self._closers.append(closer)

    def close(self) -> None:
        """Close what was opened; a second call does nothing."""
        while self._closers:
            self._closers.pop()()
        opened = self.__dict__.pop("database", None)
        if opened is not None:
            opened.close()
        self.__dict__.pop("identity", None)
        self.__dict__.pop("keystore", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _open_kms(urls: Sequence[str], surroundings: Surroundings) -> Kms:
    from strongroom.kms.location import open_kms

    return open_kms(urls, surroundings)
