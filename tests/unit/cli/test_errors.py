"""Every error has one exit status, and every code one error."""

from __future__ import annotations

from collections import Counter

import pytest

from strongroom import errors
from strongroom.cli.errors import EXIT_CODES, MEANINGS, error_fields, exit_code, exit_code_of


def _below(root: type[errors.StrongroomError]) -> list[type[errors.StrongroomError]]:
    found = [kind for kind in root.__subclasses__() if kind.__module__ == errors.__name__]
    return [*found, *(deeper for kind in found for deeper in _below(kind))]


MEMBERS = _below(errors.StrongroomError)


@pytest.mark.parametrize("kind", MEMBERS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_family_with_an_exit_status(kind: type[errors.StrongroomError]) -> None:
    assert exit_code_of(kind) != 1
    assert exit_code_of(kind) in MEANINGS


def test_no_two_errors_share_a_code() -> None:
    kinds: list[type[errors.StrongroomError]] = [errors.StrongroomError, *MEMBERS]
    codes = Counter(kind.code for kind in kinds)
    assert [code for code, count in codes.items() if count > 1] == []


def test_no_two_families_share_an_exit_status() -> None:
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidInputError("x"), 2),
        (errors.NotARepositoryError("x"), 10),
        (errors.LockedError("x"), 11),
        (errors.KeystoreLockedError("x"), 12),
        (errors.StorageUnavailableError("x"), 13),
        (errors.StorageFullError("x"), 14),
        (errors.TargetExistsError("x"), 15),
        (errors.SessionFailedError("x"), 16),
        (errors.UnvouchedError("x"), 20),
        (errors.UnsupportedVersionError("x"), 21),
        (errors.CancelledError("x"), 130),
        (errors.StrongroomError("x"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_the_nearest_family_decides(error: errors.StrongroomError, status: int) -> None:
    assert exit_code(error) == status


def test_a_member_below_a_member_takes_the_nearest_family() -> None:
    class StrangerError(errors.NotARepositoryError):
        code = "stranger"

    assert exit_code(StrangerError("x")) == 10


def test_fields_never_hide_code_message_and_hint() -> None:
    error = errors.InUseError("in use", hint="wait", users=["job a"])
    error.fields["code"] = "something-else"
    assert error_fields(error) == {
        "users": ["job a"],
        "code": "in-use",
        "message": "in use",
        "hint": "wait",
        "exit_status": 15,
    }
