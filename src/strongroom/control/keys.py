"""Keys as the control plane uses them: recipients of a job, what this machine can open, trust.

Recipients come from the keystore, which seals them; the catalog only says which password has
which name. Nothing here does cryptography of its own.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from strongroom.catalog import chains, missing_links, passwords, recovery_keys, signers, values
from strongroom.catalog import kms as kms_rows
from strongroom.control import audit
from strongroom.crypto import hpke, random
from strongroom.crypto.envelope import ChainKey
from strongroom.crypto.recipients import (
    KMS_PREFIX,
    Recipient,
    SeedUnlocker,
    Stanza,
    Unlocker,
)
from strongroom.crypto.signing import SigningKey, SigningPublicKey
from strongroom.errors import (
    ConflictError,
    InvalidInputError,
    KeystoreLockedError,
    NoRecipientMatchedError,
    NotAddressedError,
    NotFoundError,
    UnlockError,
    UnvouchedError,
)
from strongroom.keystore import (
    CREDENTIAL,
    ChainRecord,
    IdentityRecord,
    KeyFile,
    Keystore,
    KmsKeyRecord,
    KmsRecord,
    PasswordRecord,
    RecoveryRecord,
    settle,
)
from strongroom.model.job import Job, KmsEncryption, NoEncryption, PasswordEncryption
from strongroom.model.transition import WantedEncryption
from strongroom.repository.chain import Chain, Trust
from strongroom.repository.keyring import Keyring, openers_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from strongroom.catalog.database import Database
    from strongroom.control.context import Context
    from strongroom.crypto.keys import Password, Seed
    from strongroom.keystore import KeystoreKey
    from strongroom.kms.recipients import KmsUnlocker
    from strongroom.settings import Settings

IDENTITY: Final = "own"
"""Name of this installation's identity in the keystore."""
_IDENTITY_VALUE: Final = "identity"
_MACHINE_IDS: Final = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_NO_MACHINE: Final = b"no machine id"
"""Containers often have none; then the key file alone binds the keystore."""


# --- keystore and identity ------------------------------------------------------------------


def open_keystore(settings: Settings, machine_ids: Sequence[Path] = _MACHINE_IDS) -> Keystore:
    """Open the keystore of a home; key file and keystore are made where neither is there yet.

    Raises:
        KeystoreLockedError: it was sealed on another machine, or its key file is gone.
    """
    settle(settings.keystore_file)
    key_file = _key_file(settings)
    passphrase = _passphrase(settings.key_passphrase_file)
    candidates = _machines(machine_ids)
    if not settings.keystore_file.exists():
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Keystore(settings.keystore_file, key_file.key(candidates[0], passphrase))
    try:
        return Keystore(settings.keystore_file, key_file.key(candidates[0], passphrase))
    except KeystoreLockedError:
        # A machine without an id may have got one since.
        for machine in candidates[1:]:
            with suppress(KeystoreLockedError):
                return Keystore(settings.keystore_file, key_file.key(machine, passphrase))
        raise


def machine_key(settings: Settings, machine_ids: Sequence[Path] = _MACHINE_IDS) -> KeystoreKey:
    """Return what this machine seals keystores with, whatever seals the one that is there.

    The key file is made if there is none.
    """
    if _credential(settings) is None and not settings.key_file.exists():
        with suppress(ConflictError):
            KeyFile.create(settings.key_file, home=settings.home)
    key = _key_file(settings)
    return key.key(_machines(machine_ids)[0], _passphrase(settings.key_passphrase_file))


def old_machine_key(
    settings: Settings, key_file: Path | None, machine_id: bytes | None
) -> KeystoreKey:
    """Return what another machine, or another key file, sealed this home's keystore with.

    Args:
        settings: Whose keystore, and the present key file.
        key_file: The key file of then; None where it is the present one.
        machine_id: The id of then; None tries those of this machine.

    Raises:
        KeystoreLockedError: the keystore does not open with them.
        NotFoundError: there is no keystore.
    """
    settle(settings.keystore_file)
    if not settings.keystore_file.exists():
        raise NotFoundError(f"there is no keystore in {settings.home}")
    key = _key_file(settings) if key_file is None else KeyFile.load(key_file)
    passphrase = _passphrase(settings.key_passphrase_file)
    candidates = _machines(_MACHINE_IDS) if machine_id is None else [machine_id]
    for position, machine in enumerate(candidates, 1):
        old = key.key(machine, passphrase)
        try:
            Keystore(settings.keystore_file, old)
        except KeystoreLockedError:
            if position == len(candidates):
                raise
        else:
            return old
    raise AssertionError("a machine without an id counts as one")


def _machines(machine_ids: Sequence[Path]) -> list[bytes]:
    return [*(machine for path in machine_ids if (machine := _content(path))), _NO_MACHINE]


def _credential(settings: Settings) -> Path | None:
    folder = settings.credentials
    return folder if folder is not None and (folder / CREDENTIAL).exists() else None


def _key_file(settings: Settings) -> KeyFile:
    credential = _credential(settings)
    if credential is not None:
        return KeyFile.from_credential(credential)
    if settings.key_file.exists() or settings.keystore_file.exists():
        return KeyFile.load(settings.key_file, home=settings.home)
    # Of two first commands at one instant one makes the key file, and both use it.
    with suppress(ConflictError):
        return KeyFile.create(settings.key_file, home=settings.home)
    return KeyFile.load(settings.key_file, home=settings.home)


def _passphrase(path: Path | None) -> Password | None:
    if path is None:
        return None
    from strongroom.control.secrets import SecretSource

    return SecretSource(file=path).get("keystore's passphrase")


def _content(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes().strip()
    return b""


def own_identity(keystore: Keystore, database: Database) -> SigningKey:
    """Return what this installation signs with, made if there is none yet."""
    try:
        record = keystore.get(IdentityRecord, IDENTITY)
    except NotFoundError:
        # Of two first commands at one instant one makes the identity, and both sign with it.
        with suppress(ConflictError):
            keystore.add(IDENTITY, IdentityRecord(seed=random.seed()))
        record = keystore.get(IdentityRecord, IDENTITY)
    identity = SigningKey.from_seed(record.seed)
    if values.get(database, _IDENTITY_VALUE) != identity.public.raw:
        values.put(database, _IDENTITY_VALUE, identity.public.raw)
    return identity


def known_identity(database: Database) -> SigningPublicKey | None:
    """Return the public half of this installation's identity, without opening the keystore."""
    raw = values.get(database, _IDENTITY_VALUE)
    return None if raw is None else SigningPublicKey(raw)


def trust(ctx: Context) -> Trust:
    """Return whom sessions go on after: nobody but this installation itself.

    An operator may accept another signer for reading. What this installation signs would
    still be a forgery in that one's chains.
    """
    own = known_identity(ctx.database) if ctx.has_catalog else None
    return Trust(identities=frozenset() if own is None else frozenset({own.id}))


def readers_trust(ctx: Context, pinned: Iterable[str] = ()) -> Trust:
    """Return whom to believe in what is read: those pinned on the command and nobody else.

    Where nobody is pinned: ourselves, and those that an operator accepted on this machine.
    """
    accepted = signers.accepted(ctx.database) if ctx.has_catalog else ()
    return Trust(
        pinned=frozenset(map(normal_fingerprint, pinned)),
        accepted=frozenset(signer.fingerprint for signer in accepted),
        identities=trust(ctx).identities,
    )


def normal_fingerprint(text: str) -> str:
    """Return a fingerprint as it is compared, however it was typed."""
    return text.strip().lower()


# --- recipients -----------------------------------------------------------------------------


def password_record_name(password_id: bytes, version: int) -> str:
    """Return under what name the keystore has one version of a password."""
    return f"{password_id.hex()}/{version}"


def password_record(ctx: Context, row: passwords.PasswordRow) -> PasswordRecord:
    """Return the present version of a password.

    Raises:
        UnlockError: the keystore does not have it: it was lost, or made anew.
    """
    try:
        return ctx.keystore.get(PasswordRecord, password_record_name(row.password_id, row.version))
    except NotFoundError as error:
        raise UnlockError(
            f"the keystore has no record of password {row.name}",
            hint=f"'strongroom password edit {row.name}' gives it one again",
            password=row.name,
        ) from error


def recipients(ctx: Context, job: Job) -> list[Recipient]:
    """Return whom the job's next chain key is sealed for; nobody if it is plain."""
    if isinstance(job.encryption, NoEncryption):
        return []
    found: list[Recipient] = []
    if isinstance(job.encryption, PasswordEncryption):
        row = passwords.get(ctx.database, job.encryption.name)
        found.append(password_record(ctx, row).recipient())
    else:
        found.append(kms_recipient(ctx, job, job.encryption))
    recovery = recovery_recipient(ctx) if job.recovery else None
    if recovery is not None:
        found.append(recovery)
    return found


def recovery_recipient(ctx: Context) -> Recipient | None:
    """Return the active recovery key as a recipient, if there is one.

    Raises:
        UnlockError: there is one, and the keystore lost its public half.
    """
    row = recovery_keys.active(ctx.database)
    return None if row is None else recovery_record(ctx, row).recipient()


def recovery_record(ctx: Context, row: recovery_keys.RecoveryKeyRow) -> RecoveryRecord:
    """Return what the keystore has of a recovery key.

    Raises:
        UnlockError: it was lost.
    """
    try:
        return ctx.keystore.get(RecoveryRecord, row.key_id.hex())
    except NotFoundError as error:
        raise UnlockError(
            f"the keystore has no record of recovery key {row.key_id.hex()[:12]}",
            hint="'strongroom recovery import KIT' gives it one again",
            key=row.key_id.hex(),
        ) from error


def kms_recipient(ctx: Context, job: Job, encryption: KmsEncryption) -> Recipient:
    """Return the job's newest key at a KMS as a recipient; the KMS is not asked.

    Raises:
        UnlockError: none was made, or the keystore has lost its public half.
        InvalidInputError: a local half is wanted, and there is no recovery key to carry it.
    """
    from strongroom.crypto.rsa import OaepHash
    from strongroom.crypto.rsa import PublicKey as RsaPublicKey
    from strongroom.kms.recipients import KmsRecipient, stanza_kind

    row = kms_rows.get(ctx.database, encryption.name)
    key = kms_rows.key_of_job(ctx.database, row.kms_id, job.job_id)
    try:
        if key is None:
            raise NotFoundError("none was made")  # noqa: TRY301 - the same outcome as the rest
        record = ctx.keystore.get(KmsKeyRecord, kms_key_name(row.kms_id, key.key))
        vouch = ctx.keystore.get(KmsRecord, row.kms_id.hex()).vouch
    except NotFoundError as error:
        raise UnlockError(
            f"job {job.name} has no key at KMS {row.name}, or the keystore lost it",
            hint=f"'strongroom job edit {job.name} --encrypt {encryption}' asks for one",
            kms=row.name,
        ) from error
    recipient = KmsRecipient(
        kind=stanza_kind(row.kind, local=encryption.local_half),
        key=key.key,
        public=RsaPublicKey(record.public),
        oaep=OaepHash(record.oaep),
        hint=row.name,
        vouch=vouch,
        local=_local_public(ctx) if encryption.local_half else None,
    )
    kms_rows.remember_recipient(ctx.database, recipient.id, row.kms_id, key.key)
    return recipient


def kms_key_name(kms_id: bytes, key: str) -> str:
    """Return under what name the keystore has the public half of a key at a KMS."""
    return f"{kms_id.hex()}/{key}"


def _local_public(ctx: Context) -> hpke.PublicKey:
    """Return the public part of the local half that the active recovery kit carries."""
    row = recovery_keys.active(ctx.database)
    if row is None:
        raise InvalidInputError(
            "a local half needs a recovery kit that carries it: losing this machine would "
            "otherwise lose the backups",
            hint="'strongroom recovery create FILE' makes one",
        )
    return hpke.PrivateKey.from_seed(recovery_record(ctx, row).local_half).public


def wanted(ctx: Context, job: Job) -> WantedEncryption:
    """Return what the job asks for, as `model.transition` compares it."""
    return wanted_by(recipients(ctx, job))


def wanted_by(recipients: Iterable[Recipient]) -> WantedEncryption:
    """Return what a job with these recipients asks for."""
    ids = frozenset(recipient.id for recipient in recipients)
    return WantedEncryption(bool(ids), ids)


def keeps_secret(ctx: Context, job: Job) -> bool:
    """Tell whether the keystore may keep what opens the job's data.

    Not if its password is write-only, nor if a KMS is what opens it.
    """
    if not isinstance(job.encryption, PasswordEncryption):
        return not isinstance(job.encryption, KmsEncryption)
    return not passwords.get(ctx.database, job.encryption.name).write_only


def needs_old_password(ctx: Context, job: Job) -> bool:
    """Tell whether linking the job's chain to a new key takes a password that has to be given.

    Of a guarded job it has to be, though it may be kept.
    """
    if not isinstance(job.encryption, PasswordEncryption):
        return False
    return job.secret_to_read or passwords.get(ctx.database, job.encryption.name).write_only


# --- what this machine opens ----------------------------------------------------------------


class StoredSecrets:
    """Unlocks with whatever is at hand: seeds in the keystore, and every KMS of the catalog.

    Those of write-only passwords the keystore has not. A stanza names its recipient, so only
    the one secret that fits is ever tried; a KMS is asked only where a stanza is for it.
    """

    def __init__(self, ctx: Context) -> None:
        self._seeds: dict[bytes, SeedUnlocker] = {}
        for name in ctx.keystore.names(PasswordRecord):
            record = ctx.keystore.get(PasswordRecord, name)
            if record.seed is not None:
                self._seeds[hpke.PublicKey(record.public).id] = SeedUnlocker(record.seed)
        self._ctx = ctx
        self._rows = kms_rows.all_rows(ctx.database)

    @cached_property
    def _kms_unlockers(self) -> list[KmsUnlocker]:
        return [kms_unlocker(self._ctx, row) for row in self._rows]

    @property
    def has_kms(self) -> bool:
        """Whether there is a KMS that could be asked."""
        return bool(self._rows)

    def describe(self) -> str:
        return "what the keystore holds"

    def unwrap(self, stanza: Stanza, info: bytes) -> Seed:
        seed = self._seeds.get(stanza.recipient_id)
        if seed is not None:
            return seed.unwrap(stanza, info)
        for unlocker in self._kms_for(stanza):
            with suppress(NotAddressedError):
                return unlocker.unwrap(stanza, info)
        raise NotAddressedError("the keystore holds no secret for this stanza")

    def vouches(self, stanza: Stanza, identity: SigningPublicKey) -> bool:
        seed = self._seeds.get(stanza.recipient_id)
        if seed is not None:
            return seed.vouches(stanza, identity)
        return any(unlocker.vouches(stanza, identity) for unlocker in self._kms_for(stanza))

    def holds(self, stanza: Stanza) -> bool:
        """Tell whether the keystore itself has the seed for a stanza."""
        return stanza.recipient_id in self._seeds

    def _kms_for(self, stanza: Stanza) -> list[KmsUnlocker]:
        """Return the KMS whose key a stanza names, or else every one that it could be for."""
        if not stanza.kind.startswith(KMS_PREFIX):
            return []
        unlockers = self._kms_unlockers
        known = [one for one in unlockers if one.knows(stanza)]
        return known or unlockers


def kms_unlocker(
    ctx: Context, row: kms_rows.KmsRow, local_halves: Iterable[Seed] = ()
) -> KmsUnlocker:
    """Return what unwraps with a KMS of the catalog.

    Args:
        ctx: Surroundings.
        row: The KMS.
        local_halves: Local halves besides those that the keystore has.
    """
    from strongroom.kms.recipients import KmsUnlocker

    kept = [
        ctx.keystore.get(RecoveryRecord, name).local_half
        for name in ctx.keystore.names(RecoveryRecord)
    ]
    return KmsUnlocker(
        row.name,
        lambda: ctx.kms(row.kms_id, row.endpoints),
        row.kind,
        known=kms_rows.recipients_of(ctx.database, row.kms_id),
        local_halves=[*local_halves, *kept],
    )


def stored_unlockers(ctx: Context, job: Job) -> list[Unlocker]:
    """Return what the keystore has to open the job's chains with; nothing for a plain job."""
    return [StoredSecrets(ctx)] if job.encrypted else []


def link_made(ctx: Context, job: Job) -> None:
    """Forget seeds of earlier versions of the job's password that no chain needs any longer.

    A version is needed while the newest key of some chain is sealed for it: a chain that was
    detached before the change, or one whose link is still to be made.
    """
    if not isinstance(job.encryption, PasswordEncryption):
        return
    row = passwords.get(ctx.database, job.encryption.name)
    for version in passwords.versions(ctx.database, row.password_id):
        if version.version == row.version:
            continue
        sealed = chains.opened_by(ctx.database, version.key_id)
        if any(version.key_id in missing_links.needed(ctx.database, one) for one in sealed):
            continue
        forget_seed(ctx, row.password_id, version.version)


def forget_seed(ctx: Context, password_id: bytes, version: int) -> None:
    """Drop the secret of one version of a password; its public half stays."""
    name = password_record_name(password_id, version)
    try:
        record = ctx.keystore.get(PasswordRecord, name)
    except NotFoundError:
        return
    if record.seed is not None:
        ctx.keystore.put(name, msgspec.structs.replace(record, seed=None))


def chain_record(ctx: Context, chain_id: bytes) -> ChainRecord | None:
    """Return what the keystore keeps of a chain, if it does."""
    try:
        return ctx.keystore.get(ChainRecord, chain_id.hex())
    except NotFoundError:
        return None


def keep_chain_key(ctx: Context, record: ChainRecord, newer: ChainKey, *, secret: bool) -> None:
    """Keep a chain's new key in the place of the one before; its private half if `secret`."""
    kept = msgspec.structs.replace(
        record,
        chain_key_public=newer.public.raw,
        chain_key_seed=newer.seed if secret else None,
    )
    ctx.keystore.put(record.chain_id.hex(), kept)


def kept_chain_keys(ctx: Context, chain: Chain) -> dict[bytes, ChainKey]:
    """Return the chain key that the keystore was told to keep, and all that it leads to."""
    record = chain_record(ctx, chain.chain_id)
    if record is None or record.chain_key_seed is None:
        return {}
    return chain.wrapped.opened_from(ChainKey(record.chain_key_seed))


def stored_keyring(
    ctx: Context, chain: Chain, believed: Trust, secrets: StoredSecrets | None = None
) -> Keyring:
    """Return the keys of a chain that this machine has by itself.

    With a stored secret that is all of them. Of a write-only chain it is the metakeys: names
    and sizes can be read, and no content. What a KMS opens is the same until content is read:
    only then the KMS is asked, once.

    Raises:
        NoRecipientMatchedError: it has none at all.
        UnvouchedError: it is not to be believed who signs the chain.
    """
    metakeys = ctx.keystore.metakeys(chain.chain_id)
    secrets = secrets or StoredSecrets(ctx)
    believed_here = believed.knows(chain.identity)
    if metakeys and believed_here and secrets.has_kms and not _opens_offline(chain, secrets):
        openers = openers_of(chain.wrapped.envelopes())

        def later() -> Keyring:
            keyring = chain.wrapped.unlock(secrets, believed)
            audit.record(ctx, "keys.unwrapped", by="kms", chains=[chain.chain_id.hex()])
            return keyring

        return Keyring(chain.origin_id, {}, metakeys, openers=openers, later=later)
    try:
        keyring = chain.wrapped.unlock(secrets, believed)
    except NoRecipientMatchedError:
        chain_keys = kept_chain_keys(ctx, chain)
        if not metakeys and not chain_keys:
            raise
        believed.refuse_unpinned(chain)
        # Metakeys vouch for nobody: whoever replaced the journal could replay what they open.
        if not believed_here:
            raise UnvouchedError(
                f"chain {chain.name} is signed by {chain.identity.fingerprint}, and it is this "
                "machine that should have signed it",
                fingerprint=chain.identity.fingerprint,
            ) from None
        openers = openers_of(chain.wrapped.envelopes())
        return Keyring(chain.origin_id, chain_keys, metakeys, openers=openers)
    return Keyring(
        chain.origin_id,
        keyring.chain_keys,
        metakeys,
        keyring.closed,
        keyring.refused,
        keyring.openers,
    )


def _opens_offline(chain: Chain, secrets: StoredSecrets) -> bool:
    """Tell whether the chain's present key opens, or stays closed, without asking a KMS."""
    envelope = chain.wrapped.envelopes().get(chain.present_key_id)
    if envelope is None:
        return True
    kinds = [stanza.kind for stanza in envelope.stanzas if not secrets.holds(stanza)]
    held = len(kinds) < len(envelope.stanzas)
    return held or not any(kind.startswith(KMS_PREFIX) for kind in kinds)
