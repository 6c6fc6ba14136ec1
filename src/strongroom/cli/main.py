"""From words to a command, and from whatever happened to an exit status.

Every way out of a command line passes `main`: a result, an error of ours, a mistyped word, a
stop, a reader that went away, a bug. Only the last one shows a traceback.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

import click

from strongroom.cli import signals
from strongroom.cli.door import Door, write
from strongroom.cli.errors import (
    BROKEN_PIPE,
    BUG,
    INTERRUPTED,
    USAGE,
    code_fields,
    error_fields,
    exit_code,
)
from strongroom.cli.output import as_json
from strongroom.cli.words import Root, pass_door
from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TextIO

PROGRAM: Final = "strongroom"
COMPLETE_VARIABLE: Final = "_STRONGROOM_COMPLETE"
_COMMANDS: Final = "strongroom.cli.commands"

NOUNS: Final[Mapping[str, tuple[str, str]]] = {
    "repository": (
        f"{_COMMANDS}.repository:repository",
        "Where backups are kept: add, look at, check, tidy up.",
    ),
    "guard": (
        f"{_COMMANDS}.guard:guard",
        "For root: keep the objects of a folder from being removed.",
    ),
    "credential": (
        f"{_COMMANDS}.credential:credential",
        "What buckets know us by, kept sealed; repositories name one.",
    ),
    "password": (f"{_COMMANDS}.password:password", "What backups are sealed for."),
    "kms": (f"{_COMMANDS}.kms:kms", "Key services that backups are sealed for, and their keys."),
    "keys": (f"{_COMMANDS}.keys:keys", "Every secret: what it opens, alone or not, how old it is."),
    "job": (f"{_COMMANDS}.job:job", "What is backed up, where to, kept how long; and running it."),
    "chain": (
        f"{_COMMANDS}.chain:chain",
        "Chains of restore points: their state, and unlocking them.",
    ),
    "point": (f"{_COMMANDS}.point:point", "Restore points: list, look into, compare, check."),
    "restore": (
        f"{_COMMANDS}.restore:restore",
        "Bring back restore point P, or part of it, to PATH.",
    ),
    "recovery": (
        f"{_COMMANDS}.recovery:recovery",
        "The key that opens everything when a password is lost.",
    ),
    "config": (
        f"{_COMMANDS}.config:config",
        "The configuration: backed up always sealed, brought back on another machine.",
    ),
    "session": (f"{_COMMANDS}.session:session", "Sessions: what ran, and how it ended."),
    "status": (f"{_COMMANDS}.status:status", "Say what ran, what is overdue, what failed."),
    "report": (f"{_COMMANDS}.report:report", "Say who can open what, and what is wrong with that."),
    "audit": (
        f"{_COMMANDS}.audit:audit",
        "Who used keys and changed settings, and whether that is whole.",
    ),
    "clock": (
        f"{_COMMANDS}.clock:clock",
        "The clock that removals go by: confirming it after a jump.",
    ),
    "completion": (
        f"{_COMMANDS}.completion:completion",
        "Print the script that completes words in SHELL.",
    ),
}


@click.group(PROGRAM, cls=Root, lazy=NOUNS, invoke_without_command=True, no_args_is_help=False)
@click.option("--version", is_flag=True, help="Show the version.")
@pass_door
def cli(door: Door, version: bool) -> None:
    """Encrypted backup jobs: sealed at the source, restored from one secret.

    Without a command it says what to do next.

    Exit status:
      0    done
      1    a bug: a traceback is shown
      2    the request cannot be right
      3    done, with warnings; or something needs attention
      10   there is no such job, point, password, KMS, repository or path
      11   another session holds it: try later
      12   no key at hand opens it
      13   storage, source or KMS did not answer
      14   it answered no: rights, quota, a full disk
      15   taken, in use, or changed meanwhile
      16   the session failed: a script, a command or every source
      20   what is stored is not what was written
      21   written by a newer release
      130  stopped on request
    """
    if version:
        from strongroom import __version__

        door.show({"version": __version__}, [f"{PROGRAM} {__version__}"])
    elif click.get_current_context().invoked_subcommand is None:
        from strongroom.cli.welcome import welcome

        welcome(door)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    # A name that the terminal's encoding lacks is shown as an escape, never as a traceback.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    door = Door(json="--json" in words[: words.index("--")] if "--" in words else "--json" in words)
    try:
        with signals.raising():
            return _run(words, door)
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        # In the instant between two handlers; there is nothing left to say.
        return INTERRUPTED


def _run(words: list[str], door: Door) -> int:
    try:
        return _dispatch(words, door)
    except BrokenPipeError:
        raise
    except StrongroomError as error:
        return _failed(door, error_fields(error), exit_code(error))
    except click.UsageError as error:
        return _failed(door, _usage_fields(error), USAGE)
    except click.ClickException as error:
        fields = code_fields("invalid-input", _plain_words(error.format_message()), None, USAGE)
        return _failed(door, fields, USAGE)
    except (KeyboardInterrupt, click.Abort):
        fields = code_fields("cancelled", "stopped on request", None, INTERRUPTED)
        return _failed(door, fields, INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the one place where a bug becomes words
        return _bug(door, error)


def _dispatch(words: list[str], door: Door) -> int:
    instruction = os.environ.get(COMPLETE_VARIABLE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, PROGRAM, COMPLETE_VARIABLE, instruction)
    try:
        # Not click's own `main`: it ends the process by itself when a reader goes away.
        with cli.make_context(PROGRAM, words, obj=door) as ctx:
            cli.invoke(ctx)
    except click.exceptions.NoArgsIsHelpError as error:
        # A noun alone is a question, and the answer is its help.
        if door.json:
            raise
        write([error.format_message()])
        return USAGE
    except click.exceptions.Exit as left:
        return left.exit_code
    return door.exit_status


def _failed(door: Door, fields: dict[str, object], status: int) -> int:
    """Say what went wrong; with `--json` also on standard output, unless a result stands there."""
    door.speaker.fail(fields)
    if door.json and not door.answered:
        try:
            write([as_json({"error": fields})])
        except StrongroomError:
            return status
    return status


def _usage_fields(error: click.UsageError) -> dict[str, object]:
    command = error.ctx.command_path if error.ctx is not None else PROGRAM
    hint = f"'{command} --help' shows how it is used"
    near = getattr(error, "near", None) or _possibilities(error)
    message = _plain_words(error.message if near else error.format_message())
    return code_fields("usage", message, near or hint, USAGE)


def _possibilities(error: click.UsageError) -> str | None:
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        return f"did you mean {' or '.join(sorted(error.possibilities))}?"
    return None


def _plain_words(text: str) -> str:
    """Return click's sentence in our manner: lower case, no full stop, one line."""
    line = " ".join(text.split()).removesuffix(".")
    return line if line[:2].isupper() else line[:1].lower() + line[1:]


def _bug(door: Door, error: Exception) -> int:
    import traceback

    door.speaker.plain("".join(traceback.format_exception(error)))
    message = f"this is a bug: {type(error).__name__}: {error}"
    hint = "please report it with the lines above; they hold no secret"
    return _failed(door, code_fields("bug", message, hint, BUG), BUG)


def _drop_output() -> None:
    """Send what is still buffered nowhere, so that leaving does not fail once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            _replace(stream, nowhere)
    os.close(nowhere)


def _replace(stream: TextIO, descriptor: int) -> None:
    try:
        os.dup2(descriptor, stream.fileno())
    except (OSError, ValueError, AttributeError):
        return
