"""What an error means to a shell: its exit status, its lines, its JSON.

Errors know no exit codes; this table is the command line's own. A member counts as the
nearest family above it. Two statuses stand beside the table: 1 is a bug, and shows a
traceback; 3 is a session, restore or status that ended with something to look at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from strongroom import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

SUCCESS: Final = 0
BUG: Final = 1
USAGE: Final = 2
WARNINGS: Final = 3
INTEGRITY: Final = 20
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
"""What a shell reports of any command whose reader went away: 128 + SIGPIPE."""

EXIT_CODES: Final[Mapping[type[errors.StrongroomError], int]] = {
    errors.InvalidInputError: USAGE,
    errors.NotFoundError: 10,
    errors.LockedError: 11,
    errors.UnlockError: 12,
    errors.UnavailableError: 13,
    errors.RefusedError: 14,
    errors.ConflictError: 15,
    errors.SessionFailedError: 16,
    errors.IntegrityError: INTEGRITY,
    errors.UnsupportedVersionError: 21,
    errors.CancelledError: INTERRUPTED,
}

MEANINGS: Final[Mapping[int, str]] = {
    SUCCESS: "done",
    BUG: "a bug: a traceback is shown",
    USAGE: "the request cannot be right",
    WARNINGS: "done, with warnings; or something needs attention",
    10: "there is no such thing",
    11: "another session holds it",
    12: "no key at hand opens it",
    13: "it did not answer",
    14: "it answered no: rights, quota, a full disk",
    15: "taken, in use, or changed meanwhile",
    16: "the session failed: a script, a command or every source",
    INTEGRITY: "what is stored is not what was written",
    21: "written by a newer release",
    INTERRUPTED: "stopped on request",
    BROKEN_PIPE: "the reader of standard output went away",
}


def exit_code(error: errors.StrongroomError) -> int:
    """Return the code of the nearest family above `error`."""
    return exit_code_of(type(error))


def exit_code_of(kind: type[errors.StrongroomError]) -> int:
    """Return the code of the nearest family above `kind`; a member of none is a bug."""
    return next((EXIT_CODES[above] for above in kind.__mro__ if above in EXIT_CODES), BUG)


def error_fields(error: errors.StrongroomError) -> dict[str, object]:
    """Return what JSON says of `error`; its own fields never hide the three fixed ones."""
    return {
        **error.fields,
        "code": error.code,
        "message": str(error),
        "hint": error.hint,
        "exit_status": exit_code(error),
    }


def code_fields(code: str, message: str, hint: str | None, status: int) -> dict[str, object]:
    """Return the same for what is no `StrongroomError`: a usage error, a bug."""
    return {"code": code, "message": message, "hint": hint, "exit_status": status}
