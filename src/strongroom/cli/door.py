"""One command line: what it said of output and home, and how its commands answer.

Every command gets a `Door`. It makes the context of the control plane, shows one result, and
wraps long work in progress and cancellation.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from strongroom.cli import asking, signals
from strongroom.cli.output import as_json, plain, screen_width
from strongroom.cli.speaker import Speaker
from strongroom.errors import (
    ConfirmationNeededError,
    NotFoundError,
    RefusedError,
    StrongroomError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from strongroom.control.context import Context
    from strongroom.control.secrets import SecretSource
    from strongroom.engine.cancellation import Cancellation
    from strongroom.engine.progress import Progress

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SecretPlace:
    """Where the options of one secret say that it is."""

    file: Path | None = None
    environment: str | None = None
    command: str | None = None

    @property
    def named(self) -> bool:
        return any(part is not None for part in (self.file, self.environment, self.command))


@dataclass(slots=True)
class Door:
    """What holds for the whole command line."""

    json: bool = False
    """One JSON document on standard output, whatever happens."""
    progress: str = "auto"
    home: Path | None = None
    debug: bool = False
    speaker: Speaker = field(default_factory=Speaker)
    answered: bool = False
    """A result stands on standard output already."""
    exit_status: int = 0
    _variables: dict[str, str] = field(default_factory=dict, repr=False)
    """Variables that hold secrets, taken out of the environment."""

    # --- towards the control plane ------------------------------------------------------------

    def context(self, place: SecretPlace | None = None) -> Context:
        """Return the surroundings of this command; use them in a `with`."""
        from strongroom import app

        environment = dict(os.environ)
        if self.debug:
            environment["STRONGROOM_LOG"] = "debug"
        return app.build(
            home=self.home,
            environment=environment,
            secrets=self.secret(place),
            report=self.speaker.say,
            warn=self.speaker.warn,
            command=_command_path(),
        )

    def home_context(self, place: SecretPlace | None = None) -> Context:
        """Return the same for a command that makes sense only where something was set up.

        Asking for a job that cannot be there shall not make a home.

        Raises:
            NotFoundError: nothing is set up here.
        """
        context = self.context(place)
        if not context.has_catalog:
            context.close()
            raise NotFoundError(
                f"nothing is set up in {context.settings.home}",
                hint="'strongroom' alone says how to begin; --home names another folder",
            )
        return context

    def withhold(self, variable: str) -> None:
        """Take a variable that holds a secret out of the environment.

        Scripts, source commands and password commands inherit the environment, and have no
        business with the secret.
        """
        if variable in os.environ:
            self._variables[variable] = os.environ.pop(variable)

    def secret(self, place: SecretPlace | None = None) -> SecretSource:
        """Return how a secret is to be got: as the options say, or by asking."""
        from strongroom.control.secrets import SecretSource

        place = place or SecretPlace()
        return SecretSource(
            file=place.file,
            environment=place.environment,
            command=place.command,
            prompt=asking.secret_prompt(self.speaker),
            warn=self.speaker.warn,
            variables=self._variables,
        )

    def named_secret(self, place: SecretPlace) -> SecretSource | None:
        """Return the same if the operator named a place; None if not."""
        return self.secret(place) if place.named else None

    @contextlib.contextmanager
    def work(self) -> Iterator[tuple[Progress, Cancellation]]:
        """Give out progress and cancellation for something long."""
        with signals.interruptible(self.speaker.say) as cancel:
            if self.progress == "none":
                from strongroom.engine.progress import NullProgress

                yield NullProgress(), cancel
                return
            from strongroom.cli.progress import ShownProgress, display_for
            from strongroom.clock import SystemClock

            display = display_for(self.progress, self.speaker, screen_width())
            with ShownProgress(display, SystemClock()) as progress:
                yield progress, cancel

    # --- towards the person -------------------------------------------------------------------

    def confirm(self, question: str, option: str = "--yes") -> None:
        """Ask whether to go on.

        Raises:
            ConfirmationNeededError: there is nobody to ask, and `option` was not given.
            CancelledError: the answer was no.
        """
        asking.confirm(self.speaker, question, option)

    def confirmed(self, action: Callable[[bool], T], yes: bool, option: str = "--yes") -> T:
        """Return what `action` does, after a question where it asks for confirmation.

        Args:
            action: Does it; its argument says whether the person has agreed.
            yes: They have agreed on the command line.
            option: What agrees on the command line, for those whom nobody can ask.

        Raises:
            ConfirmationNeededError: there is nobody to ask.
            CancelledError: the answer was no.
        """
        try:
            return action(yes)
        except ConfirmationNeededError as error:
            if asking.can_ask():
                self.speaker.say(str(error))
            listed = error.fields.get("would_remove")
            for item in listed if isinstance(listed, list | tuple) else ():
                self.speaker.plain(f"  {item}")
            if not asking.can_ask():
                raise
            self.confirm("go on?", option)
            return action(True)

    def show(self, document: object, lines: Iterable[str]) -> None:
        """Answer: `document` with `--json`, else `lines`."""
        if self.json:
            self.answered = True
            write([as_json(document)])
        else:
            write(lines)

    def stream(self, name: str, items: Iterable[T], line: Callable[[T], str]) -> None:
        """Answer with many items, without holding all of them.

        JSON stays one whole document when the items end in an error: it stands beside them.
        """
        if not self.json:
            write(map(line, items))
            return
        from strongroom.cli.errors import error_fields
        from strongroom.cli.output import as_json_line

        self.answered = True

        def parts() -> Iterator[str]:
            separator = f'{{"{name}": ['
            try:
                for item in items:
                    yield separator + as_json_line(item)
                    separator = ","
            except StrongroomError as error:
                opening = separator if separator != "," else ""
                yield f'{opening}], "error": {as_json_line(error_fields(error))}}}'
                raise
            yield (separator if separator != "," else "") + "]}"

        write(parts())

    def show_with_error(
        self, document: object, lines: Iterable[str], error: StrongroomError
    ) -> None:
        """Answer with a result that is also a failure: JSON carries both in one document."""
        from strongroom.cli.errors import error_fields, exit_code

        fields = error_fields(error)
        answer = plain(document)
        self.show({**(answer if isinstance(answer, dict) else {}), "error": fields}, lines)
        self.speaker.fail(fields)
        self.exit_status = exit_code(error)

    def tell_warnings(self, warnings: Iterable[str]) -> None:
        for warning in warnings:
            self.speaker.warn(warning)


def _command_path() -> str:
    """Return noun and verb of what runs; nothing where it is no command line that runs."""
    import click

    context = click.get_current_context(silent=True)
    return "" if context is None else context.command_path.partition(" ")[2]


def write(lines: Iterable[str]) -> None:
    """Write lines to standard output.

    Raises:
        RefusedError: it takes no more: a full disk, say.
        BrokenPipeError: its reader went away.
    """
    stream = sys.stdout
    if stream is None:
        raise RefusedError("standard output is closed")
    try:
        for line in lines:
            stream.write(line + "\n")
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RefusedError(f"cannot write to standard output: {error.strerror}") from error
