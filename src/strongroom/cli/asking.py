"""Questions to the person, on standard error, only where a person sits.

Both standard input and standard error have to be terminals; otherwise nothing asks, and the
command fails with the name of the option that answers the question.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from strongroom.cli import signals
from strongroom.cli.output import is_terminal, printable
from strongroom.errors import CancelledError, ConfirmationNeededError, SecretNeededError

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.cli.speaker import Speaker


def can_ask() -> bool:
    """Tell whether a person sits at both ends."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def secret_prompt(speaker: Speaker) -> Callable[[str], str] | None:
    """Return what asks for a secret without showing it; None where there is no terminal."""
    if not can_ask():
        return None

    def ask(what: str) -> str:
        import getpass
        import warnings

        with speaker.quiet_bottom(), signals.raising(), warnings.catch_warnings():
            # getpass falls back to showing what is typed, with a warning; never here.
            warnings.simplefilter("error", getpass.GetPassWarning)
            try:
                return getpass.getpass(f"strongroom: {printable(what)}: ", stream=sys.stderr)
            except getpass.GetPassWarning as error:
                raise SecretNeededError(
                    "this terminal would show the secret while it is typed"
                ) from error
            except EOFError as error:
                raise CancelledError(f"no {what} was entered") from error

    return ask


def line(speaker: Speaker, question: str) -> str:
    """Return what the person answers to a question that is no secret; empty without a terminal."""
    if not can_ask():
        return ""
    with speaker.quiet_bottom(), signals.raising():
        sys.stderr.write(f"strongroom: {printable(question)} ")
        sys.stderr.flush()
        answer = sys.stdin.readline()
    if not answer:
        sys.stderr.write("\n")
    return answer.strip()


def confirm(speaker: Speaker, question: str, option: str) -> None:
    """Go on if the person agrees.

    Raises:
        ConfirmationNeededError: there is no terminal to ask on.
        CancelledError: the answer was no.
    """
    if not can_ask():
        raise ConfirmationNeededError(
            f"{question} there is no terminal to ask on", hint=f"say {option} if that is meant"
        )
    if line(speaker, f"{question} [y/N]").lower() not in ("y", "yes"):
        raise CancelledError("nothing was changed")
