"""What is written down of key use and changes: who did what, when, and how it ended.

`record` writes to the audit log, to syslog where one is set, and to `logs`. A change that cannot
be written down is refused, which is why changes record inside their transaction. Sessions and
restores with a secret at hand go on with a warning: a backup is worth more than its log, and a
restore has to work on a bad day. Without a home there is no log and nothing is written.

The file's form and what detects what: `control.audit_log`; RFC 5424: `control.syslog`.
"""

from __future__ import annotations

import json
import logging
import os
import pwd
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from strongroom import logs
from strongroom.catalog import jobs, passwords, repositories
from strongroom.clock import rfc3339
from strongroom.control.audit_log import AuditHead, AuditLog
from strongroom.control.views.audit import AuditRecord, AuditVerified
from strongroom.errors import (
    AuditAlteredError,
    AuditUnwritableError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    StrongroomError,
    UnlockError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from strongroom.control.context import Context
    from strongroom.model.job import Job
    from strongroom.repository.chain import Chain

_MOST_ITEMS: Final = 100
"""Of a list: a thousand points make a line no longer than this many."""


class Severity(StrEnum):
    """How much a record matters."""

    INFO = "info"
    NOTICE = "notice"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Outcome(StrEnum):
    """How what is recorded ended."""

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"


_LEVELS: Final = {
    Severity.INFO: logging.INFO,
    Severity.NOTICE: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
    Severity.CRITICAL: logging.CRITICAL,
}


def record(
    ctx: Context,
    event: str,
    *,
    severity: Severity = Severity.NOTICE,
    outcome: Outcome = Outcome.OK,
    needed: bool = True,
    **fields: object,
) -> None:
    """Write down that something happened.

    Args:
        ctx: Surroundings.
        event: Stable, with dots: `password.added`.
        severity: How much it matters.
        outcome: How it ended.
        needed: It must not happen unseen; if not, a warning says that it was not written.
        fields: What there is to know; see `logs` about their types.

    Raises:
        AuditUnwritableError: it is needed and cannot be written.
    """
    logs.event(event, level=_LEVELS[severity], outcome=outcome.value, **fields)
    if not ctx.has_catalog:
        return
    if not needed and not ctx.settings.keystore_file.exists():
        return  # reading makes no keystore, and without one there is no log
    line = {
        "at": rfc3339(ctx.clock.now()),
        "event": event,
        "severity": severity.value,
        "outcome": outcome.value,
        "who": _who(),
        "command": ctx.command,
        "fields": {name: _short(value) for name, value in fields.items()},
    }
    try:
        number = AuditLog(ctx.settings.home, ctx.keystore).append(line)
    except (OSError, StrongroomError) as error:
        if needed and isinstance(error, UnlockError):
            raise
        unwritable = _unwritable(ctx.settings.home, error)
        if needed:
            raise unwritable from error
        ctx.warn(f"{unwritable}; {event} is not in it")
        number = 0
    _copy(ctx, number, line)


def _copy(ctx: Context, number: int, line: Mapping[str, object]) -> None:
    """Send a record to syslog too; one that does not answer is left alone from then on."""
    if ctx.settings.syslog is None or ctx.syslog_failed:
        return
    from strongroom.control.syslog import SyslogTarget, message_of

    try:
        SyslogTarget.parse(ctx.settings.syslog).send(message_of(number, line))
    except OSError as error:
        ctx.syslog_failed = True
        reason = error.strerror or error
        ctx.warn(f"syslog at {ctx.settings.syslog} does not take audit records: {reason}")


def require(ctx: Context) -> None:
    """Go on if a record can be written: for changes that cannot be taken back by then.

    Raises:
        AuditUnwritableError: it cannot.
    """
    if not ctx.has_catalog:
        return
    home = ctx.settings.home
    try:
        AuditLog(home, ctx.keystore).check()
    except OSError as error:
        raise _unwritable(home, error) from error


def weakened(ctx: Context, what: Sequence[str], **fields: object) -> None:
    """Write down that something protects less from now on.

    Raises:
        AuditUnwritableError: it cannot be written.
    """
    if what:
        record(
            ctx,
            "weakened",
            severity=Severity.CRITICAL,
            outcome=Outcome.OK,
            needed=True,
            what=list(what),
            **fields,
        )


def wrapped(
    ctx: Context,
    job: Job,
    chain: Chain,
    chain_key_id: bytes,
    recipient_ids: Iterable[bytes],
    *,
    needed: bool = True,
) -> None:
    """Write down that a chain key was sealed for these recipients."""
    record(
        ctx,
        "keys.wrapped",
        needed=needed,
        job=job.name,
        encrypt=str(job.encryption),
        chain=chain.chain_id.hex(),
        chain_key=chain_key_id.hex(),
        recipients=sorted(one.hex() for one in recipient_ids),
    )


def failure(
    ctx: Context, event: str, error: StrongroomError, *, needed: bool = True, **fields: object
) -> None:
    """Write down that something failed or was refused, with the error's code."""
    record(
        ctx,
        event,
        severity=Severity.WARNING,
        outcome=Outcome.FAILED,
        needed=needed,
        code=error.code,
        **fields,
    )


def _unwritable(home: Path, error: OSError | StrongroomError) -> AuditUnwritableError:
    reason = error.strerror if isinstance(error, OSError) else error
    return AuditUnwritableError(f"the audit log in {home} cannot be written: {reason}")


def _short(value: object) -> object:
    shown = logs.redacted(value)
    if isinstance(shown, list) and len(shown) > _MOST_ITEMS:
        return [*shown[:_MOST_ITEMS], f"and {len(shown) - _MOST_ITEMS} more"]
    return shown


def _who() -> dict[str, object]:
    """Return who runs this, as the system knows it and as `sudo` says."""
    uid = os.getuid()
    who: dict[str, object] = {"uid": uid, "pid": os.getpid()}
    with suppress(KeyError):
        who["user"] = pwd.getpwuid(uid).pw_name
    if sudo := os.environ.get("SUDO_USER"):
        who["sudo_user"] = sudo
    with suppress(OSError):
        who["tty"] = os.ttyname(0)
    return who


# --- reading it -----------------------------------------------------------------------------


def list_records(
    ctx: Context, *, since: timedelta | None = None, event: str = "", limit: int = 50
) -> tuple[AuditRecord, ...]:
    """Return the newest records, oldest first; whether they hold is for `verify` to say.

    Args:
        ctx: Surroundings.
        since: How far back.
        event: How the event's name begins.
        limit: How many at most.
    """
    begin = rfc3339(ctx.clock.now() - since) if since is not None else ""
    found = [one for one in _records(ctx) if one.at >= begin and one.event.startswith(event)]
    return tuple(found[-limit:])


def show(ctx: Context, number: int) -> AuditRecord:
    """Return one record.

    Raises:
        NotFoundError: there is no such line.
    """
    for one in _records(ctx):
        if one.number == number:
            return one
    raise NotFoundError(f"the audit log has no line {number}")


def _records(ctx: Context) -> Iterator[AuditRecord]:
    for number, line in enumerate(AuditLog(ctx.settings.home, ctx.keystore).lines(), 1):
        try:
            document = json.loads(line)
            yield AuditRecord(
                number=document["number"],
                at=document["at"],
                event=document["event"],
                severity=document["severity"],
                outcome=document["outcome"],
                who=document["who"],
                command=document["command"],
                fields=document["fields"],
            )
        except (ValueError, KeyError, TypeError) as error:
            ctx.warn(f"line {number} of the audit log is none ({type(error).__name__})")


def verify(ctx: Context, noted: str | None = None) -> AuditVerified:
    """Check that every line is there and as it was written.

    Args:
        ctx: Surroundings.
        noted: A head written down before, as `NUMBER:TAG`: the log has to lead through it.

    Raises:
        AuditAlteredError: it is not.
        InvalidInputError: `noted` is no head.
    """
    known = _head_of(noted) if noted is not None else None
    try:
        head = _verified(ctx, known)
    except AuditAlteredError as error:
        failure(ctx, "audit.verified", error, needed=False, line=error.fields["line"])
        raise
    record(ctx, "audit.verified", severity=Severity.INFO, needed=False, lines=head.number)
    return AuditVerified(lines=head.number, head=f"{head.number}:{head.tag.hex()}")


def _verified(ctx: Context, noted: AuditHead | None) -> AuditHead:
    try:
        head = AuditLog(ctx.settings.home, ctx.keystore).verify(noted)
    except OSError as error:
        raise RefusedError(f"cannot read the audit log: {error.strerror}") from error
    if head.number == 0 and _was_used(ctx):
        raise AuditAlteredError("the audit log is gone, and so is what is known of it", line=1)
    return head


def _was_used(ctx: Context) -> bool:
    """Tell whether something was set up here: every such change leaves a record."""
    return any(
        rows(ctx.database) for rows in (repositories.all_rows, passwords.all_rows, jobs.all_jobs)
    )


def _head_of(text: str) -> AuditHead:
    number, _, tag = text.partition(":")
    try:
        return AuditHead(int(number), bytes.fromhex(tag))
    except ValueError:
        raise InvalidInputError(
            f"{text!r} is no head of an audit log", hint="write NUMBER:TAG as 'audit verify' does"
        ) from None
