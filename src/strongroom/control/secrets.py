"""Where a secret comes from: a file, a variable, a command or a prompt; never an argument.

Arguments stand in the process list for everyone to read. A secret that was read is a
`Password` from then on, which cannot be printed, logged or pickled.
"""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from strongroom.crypto.keys import Password
from strongroom.errors import InvalidInputError, SecretNeededError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

LONGEST_SECRET: Final = 64 << 10
_COMMAND_SECONDS: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSource:
    """How one secret is to be got; at most one of file, environment and command is set.

    With none of them set the operator is asked through `prompt`, if there is one.
    """

    file: Path | None = None
    environment: str | None = None
    """Name of a variable."""
    command: str | None = None
    """Run by the shell; the first line it prints is the secret."""
    prompt: Callable[[str], str] | None = None
    """Asks without echo. None where there is no terminal."""
    warn: Callable[[str], None] = field(default=lambda _: None)
    variables: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.file, self.environment, self.command)) > 1:
            raise InvalidInputError("a secret comes from one place", hint="name only one of them")

    @property
    def named(self) -> bool:
        """Whether the operator named a place, so that nobody needs to be asked."""
        return any(given is not None for given in (self.file, self.environment, self.command))

    @property
    def can_ask(self) -> bool:
        return self.named or self.prompt is not None

    @property
    def origin(self) -> str:
        """Where it comes from, in words."""
        if self.file is not None:
            return f"file {self.file}"
        if self.environment is not None:
            return f"variable {self.environment}"
        return "the prompt" if self.command is None else "the password command"

    def get(self, what: str, *, hint: str = "", new: bool = False) -> Password:
        """Return the secret.

        Args:
            what: What it is for, for the prompt: `password of nightly`.
            hint: The password's public hint, shown with the prompt.
            new: It is being chosen, so a prompt asks twice.

        Raises:
            SecretNeededError: no place was named and there is no terminal to ask on.
            InvalidInputError: the place has no secret, or what was typed twice differs.
        """
        if self.file is not None:
            return _checked(self._from_file(self.file), self.origin)
        if self.environment is not None:
            value = self.variables.get(self.environment)
            if value is None:
                raise InvalidInputError(
                    f"there is no variable {self.environment}",
                    hint="is it exported? sudo and systemd pass on only those they are told of",
                )
            return _checked(value.encode(errors="surrogateescape"), self.origin)
        if self.command is not None:
            return _checked(self._from_command(self.command), self.origin)
        if self.prompt is None:
            raise SecretNeededError(f"the {what} is needed and there is no terminal to ask on")
        return self._ask(self.prompt, what, hint, new)

    def ask_for(self, what: str, *, hint: str = "") -> Password | None:
        """Return a secret that the operator may not have; None where they leave it empty.

        Nobody is asked where a place was named, or where there is no terminal.
        """
        if self.named or self.prompt is None:
            return None
        shown = f"{what} (hint: {hint})" if hint else what
        answer = self.prompt(f"{shown}; empty to go on without it")
        return _checked(answer.encode(errors="surrogateescape"), self.origin) if answer else None

    def _ask(self, prompt: Callable[[str], str], what: str, hint: str, new: bool) -> Password:
        shown = f"{what} (hint: {hint})" if hint else what
        first = prompt(shown)
        if new and prompt(f"{what}, again") != first:
            raise InvalidInputError("the two entries differ", hint="nothing was changed; try again")
        return _checked(first.encode(errors="surrogateescape"), self.origin)

    def _from_file(self, path: Path) -> bytes:
        try:
            with path.open("rb") as stream:
                status = os.fstat(stream.fileno())
                data = stream.read(LONGEST_SECRET + 1)
        except OSError as error:
            raise InvalidInputError(
                f"cannot read the password file {path}: {error.strerror}"
            ) from error
        if stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_IRGRP | stat.S_IROTH):
            self.warn(f"password file {path} can be read by others: chmod 600 {path}")
        return data

    def _from_command(self, command: str) -> bytes:
        try:
            done = subprocess.run(  # noqa: S602 - the operator's own command line
                command,
                shell=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                check=False,
                timeout=_COMMAND_SECONDS,
            )
        except subprocess.TimeoutExpired:
            # No `from`: the library's error carries what the command printed so far.
            raise InvalidInputError(
                f"the password command did not end within {_COMMAND_SECONDS} s"
            ) from None
        if done.returncode != 0:
            raise InvalidInputError(
                f"the password command failed with status {done.returncode}",
                hint="what it says on standard error is shown above",
            )
        return done.stdout


def _checked(data: bytes, origin: str) -> Password:
    if len(data) > LONGEST_SECRET:
        raise InvalidInputError(f"{origin} holds more than {LONGEST_SECRET >> 10} KiB: no password")
    line = data.partition(b"\n")[0].removesuffix(b"\r")
    if data.rstrip(b"\r\n") != line:
        raise InvalidInputError(f"{origin} holds more than one line", hint="a password is one line")
    if not line:
        raise InvalidInputError(f"{origin} holds no secret: it is empty")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        # Not chained: the library's error carries all of it.
        raise InvalidInputError(f"{origin} holds no UTF-8 text") from None
    return Password.from_text(text)
