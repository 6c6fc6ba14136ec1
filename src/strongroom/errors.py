"""Every error Strongroom raises, in families by what the caller can do about it.

An error carries a stable `code` for scripts, a message that names what was being done to
what, an optional `hint` that says what to do next, and `fields` that a door can show.
Errors know no exit codes and no HTTP: each door owns its table, and finds a member's
family by walking its classes upwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from datetime import datetime


class StrongroomError(Exception):
    """The root of all errors that are not bugs."""

    code: ClassVar[str] = "error"
    hint: str | None = None

    def __init__(self, message: str, *, hint: str | None = None, **fields: object) -> None:
        super().__init__(message)
        self.fields: dict[str, object] = fields
        if hint is not None:
            self.hint = hint


E = TypeVar("E", bound=StrongroomError)


def with_words(error: E, words: str, hint: str | None = None, **fields: object) -> E:
    """Return the same error with more to say: what it concerns, what is left behind."""
    merged: dict[str, Any] = error.fields | fields
    return type(error)(f"{error}{words}", hint=hint or error.hint, **merged)


# --- the request cannot be right -----------------------------------------------------------


class InvalidInputError(StrongroomError):
    """The request cannot be right; the same words will never succeed."""

    code = "invalid-input"


class WeakPasswordError(InvalidInputError):
    """A password breaks a rule of the strength policy, which the message names."""

    code = "weak-password"


class SecretNeededError(InvalidInputError):
    """A secret is needed and there is no terminal to ask on."""

    code = "secret-needed"
    hint = "use --password-file, --password-env or --password-command"


class ConfirmationNeededError(InvalidInputError):
    """Something that removes or weakens was asked for without its confirmation."""

    code = "confirmation-needed"


# --- there is no such thing -----------------------------------------------------------------


class NotFoundError(StrongroomError):
    """There is no such job, point, password, repository or path."""

    code = "not-found"


class NotARepositoryError(NotFoundError):
    """The place lacks the marker of a repository; perhaps the disk is not mounted."""

    code = "not-a-repository"
    hint = "is the disk mounted? 'strongroom repository add' creates a repository"


# --- taken, or changed meanwhile ------------------------------------------------------------


class ConflictError(StrongroomError):
    """The thing is taken, or somebody changed it meanwhile."""

    code = "conflict"


class ObjectExistsError(ConflictError):
    """An object is written once, and this one is there already."""

    code = "object-exists"


class InUseError(ConflictError):
    """What is to be removed is still needed; `fields["users"]` lists by what."""

    code = "in-use"


class TargetExistsError(ConflictError):
    """A restore would replace what is at the target."""

    code = "target-exists"
    hint = "choose an empty target, or --overwrite if-different or always"


class FencedError(ConflictError):
    """This session was declared dead, or its base was condemned; it may not publish."""

    code = "fenced"
    hint = "run the job again: it takes over the complete packs this session left"


# --- somebody else holds it -----------------------------------------------------------------


class LockedError(StrongroomError):
    """Another session holds it; later it will be free."""

    code = "locked"


class AttemptsLockedError(LockedError):
    """A password was given wrongly too often; `fields["until"]` says how long to wait."""

    code = "attempts-locked"


# --- no key opens it ------------------------------------------------------------------------


class UnlockError(StrongroomError):
    """No key at hand opens this."""

    code = "unlock"


class NotAddressedError(UnlockError):
    """This stanza is someone else's; the caller tries the next."""

    code = "not-addressed"


class NoRecipientMatchedError(UnlockError):
    """Every stanza was tried, and none is for the secret at hand."""

    code = "no-recipient-matched"


class SecretRequiredError(UnlockError):
    """The job is read only with a secret that is given, and none was."""

    code = "secret-required"
    hint = (
        "give its password with --password-file, --password-env or --password-command, name its "
        "KMS with --kms, or its recovery kit with --recovery-key"
    )


class KeystoreLockedError(UnlockError):
    """The server's keystore does not open with the key file of this machine."""

    code = "keystore-locked"


# --- it did not answer ----------------------------------------------------------------------


class UnavailableError(StrongroomError):
    """It did not answer; the only family that is retried."""

    code = "unavailable"


class StorageUnavailableError(UnavailableError):
    """The storage did not answer."""

    code = "storage-unavailable"


class KmsUnavailableError(UnavailableError):
    """The KMS did not answer."""

    code = "kms-unavailable"


class SourceUnavailableError(UnavailableError):
    """The source could not be read at all."""

    code = "source-unavailable"


# --- it answered no -------------------------------------------------------------------------


class RefusedError(StrongroomError):
    """It answered no: rights, quota, immutability, policy."""

    code = "refused"


class StorageFullError(RefusedError):
    """The storage has no room left."""

    code = "storage-full"
    hint = "free space in the repository's storage or lower retention, then run the job again"


class ObjectLockedError(RefusedError):
    """The object is locked: nobody can remove it before its date."""

    code = "object-locked"

    def __init__(
        self, message: str, *, until: datetime, hint: str | None = None, **fields: object
    ) -> None:
        super().__init__(message, hint=hint, until=until.isoformat(), **fields)
        self.until = until


class PointLockedError(RefusedError):
    """A vault keeps the point; `fields["until"]` says until when."""

    code = "point-locked"


class EncryptionRequiredError(RefusedError):
    """The repository is a vault, which takes nothing that is not encrypted."""

    code = "encryption-required"


class PromiseBrokenError(RefusedError):
    """A place does not do what a storage has to; `fields["promises"]` names what."""

    code = "promise-broken"
    hint = (
        "choose another place, or another server in front of it; 'strongroom repository check' "
        "shows every promise"
    )


class ClockJumpedError(RefusedError):
    """The clock jumped by more than 24 hours: nothing is removed until somebody confirms it."""

    code = "clock-jumped"
    hint = "is the time right? 'strongroom clock confirm' says that it is"


class AuditUnwritableError(RefusedError):
    """The audit log cannot be written, and what was asked for must not happen unseen."""

    code = "audit-unwritable"
    hint = (
        "free space in the home's file system, and run it as the user who owns the home; a restore "
        "with a password or a recovery kit needs no log"
    )


# --- the session failed ---------------------------------------------------------------------


class SessionFailedError(StrongroomError):
    """A script, a source command or every source failed; no point was made."""

    code = "session-failed"


# --- not what was written -------------------------------------------------------------------


class IntegrityError(StrongroomError):
    """What is stored is not what was written; never caught to go on as if it were."""

    code = "integrity"


class MalformedError(IntegrityError):
    """Bytes break the rules of the format before any key is involved."""

    code = "malformed"
    hint = "run 'strongroom repository scrub' to learn which points are concerned"


class BlockDamagedError(IntegrityError):
    """A stored block does not open in the place it was written for."""

    code = "block-damaged"
    hint = "run 'strongroom point verify'; 'restore --salvage' restores everything else"


class PointDamagedError(IntegrityError):
    """A restore point's own object, index or tables do not check."""

    code = "point-damaged"
    hint = "other points may be whole: 'strongroom point list', then 'point verify'"


class EnvelopeDamagedError(IntegrityError):
    """No intact copy of a chain key's envelope, or it was altered."""

    code = "envelope-damaged"


class ObjectMissingError(IntegrityError):
    """An object that a signed entry refers to is not there."""

    code = "object-missing"


class ObjectCutError(IntegrityError):
    """An object ends before what is wanted of it."""

    code = "object-cut"
    hint = "run 'strongroom repository scrub' to learn which points are concerned"


class PointWithheldError(IntegrityError):
    """A point that the newest signed entry promises is not there."""

    code = "point-withheld"


class RolledBackError(IntegrityError):
    """The storage shows an older state than one already seen."""

    code = "rolled-back"


class ForkedError(IntegrityError):
    """Two different histories carry the same number."""

    code = "forked"


class ForgedError(IntegrityError):
    """A signature does not hold, or nobody at hand vouches for the signer."""

    code = "forged"


class AuditAlteredError(IntegrityError):
    """The audit log is not what was written; `fields["line"]` is the first that does not hold."""

    code = "audit-altered"
    hint = "compare with the lines that syslog received; what follows that line proves nothing"


class UnvouchedError(ForgedError):
    """The signer is unknown: no secret at hand vouches for it and none was pinned."""

    code = "unvouched"
    hint = (
        "compare the fingerprint with your recovery kit, then pass --signer FINGERPRINT, or accept "
        "it once with 'strongroom repository trust'"
    )


class DowngradedError(IntegrityError):
    """A plain point or chain where a sealed one is expected."""

    code = "downgraded"
    hint = "pass --allow-unencrypted if an unencrypted point is what you mean to read"


# --- others ---------------------------------------------------------------------------------


class UnsupportedVersionError(StrongroomError):
    """Written by a newer release, or with algorithms this one does not know."""

    code = "unsupported-version"
    hint = "read it with the newest release of strongroom"


class CancelledError(StrongroomError):
    """The operator asked to stop."""

    code = "cancelled"
