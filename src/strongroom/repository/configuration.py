"""Configuration backups in a repository: made, listed, judged, opened, let go.

    config/<installation>/<number>      written once, created exclusively

A repository's chains know nothing of them. Whoever can write to the storage has the public
halves and can seal a backup of their own; so one counts only if its signer is known, or the
secret that opens it vouches for the signer (docs/format.md, "Configuration backups").
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from strongroom.crypto import hpke
from strongroom.crypto.content import fingerprint
from strongroom.crypto.envelope import ChainKey, seal_stanzas, unlock
from strongroom.crypto.signing import SigningPublicKey, verify
from strongroom.errors import (
    ConflictError,
    EnvelopeDamagedError,
    ForgedError,
    ForkedError,
    IntegrityError,
    MalformedError,
    ObjectExistsError,
    ObjectLockedError,
    ObjectMissingError,
    RolledBackError,
    UnsupportedVersionError,
    UnvouchedError,
)
from strongroom.format import configuration as form
from strongroom.format.codec import encode
from strongroom.format.versions import FORMAT
from strongroom.repository import layout
from strongroom.repository.framed import get_framed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.crypto.recipients import Recipient, Unlocker
    from strongroom.crypto.signing import SigningKey
    from strongroom.repository.chain import Trust
    from strongroom.storage.base import Storage

_ATTEMPTS: Final = 20
"""Each lost to another process of this installation."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest configuration backup that somebody knows of."""

    number: int
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class StoredConfiguration:
    """A backup as it lies in a repository; its signature holds, and nothing else is known."""

    key: str
    backup: form.ConfigurationBackup
    identity: SigningPublicKey
    body_hash: bytes

    @property
    def seen(self) -> Seen:
        return Seen(self.backup.number, self.body_hash)


def installation_id(identity: SigningPublicKey) -> bytes:
    """Return what the backups of the installation that signs with `identity` lie under."""
    return identity.id[:16]


def numbers(storage: Storage, installation: bytes | None = None) -> dict[bytes, list[int]]:
    """Return the numbers that are there, ascending, by installation."""
    prefix = layout.CONFIGURATIONS if installation is None else layout.configurations(installation)
    found: dict[bytes, list[int]] = {}
    for info in storage.list(prefix):
        named = layout.configuration_of(info.key)
        if named is not None:
            found.setdefault(named[0], []).append(named[1])
    return found


def publish(
    storage: Storage,
    configuration: form.Configuration,
    recipients: Sequence[Recipient],
    signer: SigningKey,
    made_at: int,
    previous: Seen | None,
) -> Seen:
    """Store a backup under the next number, for all recipients.

    Raises:
        InvalidInputError: there are no recipients: a configuration is never stored in plain.
        ConflictError: others keep taking the number.
    """
    number = _newest_number(storage, installation_id(signer.public))
    for _ in range(_ATTEMPTS):
        number = max(number, previous.number if previous else 0) + 1
        seen, data = _sealed(configuration, recipients, signer, made_at, previous, number)
        try:
            storage.put(layout.configuration(installation_id(signer.public), number), data)
        except ObjectExistsError:
            continue
        return seen
    raise ConflictError(f"others keep storing configuration backups in {storage.location}")


def _newest_number(storage: Storage, installation: bytes) -> int:
    """Return the number of the newest backup; what anybody put there under a higher is passed."""
    for number in reversed(numbers(storage, installation).get(installation, [])):
        try:
            read(storage, installation, number)
        except (IntegrityError, UnsupportedVersionError):
            continue
        return number
    return 0


def _sealed(
    configuration: form.Configuration,
    recipients: Sequence[Recipient],
    signer: SigningKey,
    made_at: int,
    previous: Seen | None,
    number: int,
) -> tuple[Seen, bytes]:
    installation = installation_id(signer.public)
    # A key pair of its own, wrapped like a chain's: one that opens is compared with the public
    # half that was signed, so no object opens under two keys.
    key = ChainKey.generate()
    payload = form.pack_payload(configuration, hpke.OVERHEAD)
    body = encode(
        form.ConfigurationBackup(
            format_version=FORMAT,
            installation_id=installation,
            number=number,
            made_at=made_at,
            previous=previous.body_hash if previous and previous.number == number - 1 else b"",
            identity=signer.public.raw,
            key_public=key.public.raw,
            stanzas=list(seal_stanzas(key, recipients, form.context(installation, number))),
            sealed=hpke.seal(key.public, form.payload_info(installation, number), payload),
        )
    )
    data = form.frame_configuration(body, signer.sign(form.DOMAIN, body))
    return Seen(number, fingerprint(body)), data


def read(storage: Storage, installation: bytes, number: int) -> StoredConfiguration:
    """Return one backup; who signed it is for the caller to judge.

    Raises:
        ObjectMissingError: it is not there.
        MalformedError: it is none, or was moved here from another name.
        ForgedError: it is not signed by the identity that it names.
    """
    key = layout.configuration(installation, number)
    return _judged(get_framed(storage, key, form.MAX_OBJECT), installation, number)


def _judged(data: bytes, installation: bytes, number: int) -> StoredConfiguration:
    key = layout.configuration(installation, number)
    backup, body, signature = form.read_configuration(data, key)
    identity = SigningPublicKey(backup.identity)
    if (backup.installation_id, backup.number) != (installation, number):
        raise MalformedError(f"{key} holds another backup than its name says: it was moved")
    if installation_id(identity) != installation:
        raise ForgedError(
            f"{key} is signed by another installation's identity, {identity.fingerprint}",
            fingerprint=identity.fingerprint,
        )
    verify(identity, form.DOMAIN, body, signature)
    return StoredConfiguration(key, backup, identity, fingerprint(body))


def check_history(storage: Storage, newest: StoredConfiguration, seen: Seen | None = None) -> None:
    """Compare the newest backup with the one before, and with what is known from elsewhere.

    Raises:
        RolledBackError: the storage shows an older state than was seen.
        ForkedError: it shows another history.
    """
    if seen is not None:
        if newest.backup.number < seen.number:
            raise RolledBackError(
                f"the newest configuration backup is number {newest.backup.number}, and number "
                f"{seen.number} was seen before"
            )
        if newest.backup.number == seen.number and newest.body_hash != seen.body_hash:
            raise ForkedError(f"{newest.key} is another backup than was seen before")
    if not newest.backup.previous:
        return
    try:
        before = read(storage, newest.backup.installation_id, newest.backup.number - 1)
    except ObjectMissingError:
        return  # let go since
    if before.body_hash != newest.backup.previous:
        raise ForkedError(f"{newest.key} follows another backup than {before.key}")


def open_configuration(
    stored: StoredConfiguration, unlocker: Unlocker, believed: Trust
) -> form.Configuration:
    """Return what a backup holds, if its signer is to be believed.

    Raises:
        NoRecipientMatchedError: the secret is none that it is sealed for.
        UnvouchedError: neither the secret nor anything known vouches for who signed it.
        EnvelopeDamagedError: it does not hold what it says.
    """
    backup = stored.backup
    where = (backup.installation_id, backup.number)
    key = unlock(backup.stanzas, backup.key_public, unlocker, form.context(*where))
    if not believed.knows(stored.identity) and (
        believed.pinned
        or not any(unlocker.vouches(stanza, stored.identity) for stanza in backup.stanzas)
    ):
        raise UnvouchedError(
            f"{stored.key} is signed by {stored.identity.fingerprint}, and "
            + (
                "that is not the signer that was pinned"
                if believed.pinned
                else "this secret does not vouch for it: anybody who can write there can make one"
            ),
            hint="compare the fingerprint with the recovery kit; if it is the same, say "
            "--signer FINGERPRINT",
            fingerprint=stored.identity.fingerprint,
        )
    try:
        payload = hpke.open_sealed(key.private, form.payload_info(*where), backup.sealed)
    except hpke.NotSealedHereError as error:
        raise EnvelopeDamagedError(f"{stored.key} does not open: it was altered") from error
    return form.unpack_payload(payload, stored.key)


def let_go(storage: Storage, installation: bytes, newest: int, keep: int) -> int:
    """Remove all but `keep` backups of an installation up to `newest`; return how many went.

    What a vault keeps locked goes with a later call. What anybody put there under a higher number
    is not counted: it would let the last good one go.
    """
    there = numbers(storage, installation).get(installation, [])
    old = [number for number in there if number <= newest][:-keep]
    gone = 0
    for number in old:
        with suppress(ObjectLockedError):
            storage.delete(layout.configuration(installation, number))
            gone += 1
    return gone


def check(storage: Storage, key: str) -> str | None:
    """Return what is wrong with a backup, as far as that shows without any key."""
    return checked(storage, key)[1]


def checked(storage: Storage, key: str) -> tuple[bytes, str | None]:
    """Return a backup as it is stored, and what is wrong with just these bytes."""
    named = layout.configuration_of(key)
    if named is None:
        return b"", "is no part of a repository"
    try:
        data = get_framed(storage, key, form.MAX_OBJECT)
        _judged(data, *named)
    except IntegrityError as error:
        return b"", str(error)
    return data, None
