"""Composition root: settings become the context that every command is handed.

Nothing is opened here that a command may not need; what is opened is closed by the context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom import logs, settings
from strongroom.clock import SystemClock
from strongroom.control.context import Context, quiet
from strongroom.control.process import harden

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from strongroom.clock import Clock
    from strongroom.control.secrets import SecretSource


def build(
    *,
    home: Path | None = None,
    environment: Mapping[str, str] | None = None,
    secrets: SecretSource | None = None,
    report: Callable[[str], None] = quiet,
    warn: Callable[[str], None] = quiet,
    clock: Clock | None = None,
    command: str = "",
) -> Context:
    """Return the context of one command; use it with `with`.

    The process is hardened first, so that no key is ever in a memory that others may read.
    Records go to the home's log file if there is a home: reading a repository makes none.

    Args:
        home: What `--home` said.
        environment: The process's own by default.
        secrets: How the command's secret is to be got.
        report: Tells the operator of notices.
        warn: Tells the operator what needs a look.
        clock: The time.
        command: Noun and verb of what runs, for the audit log.

    Raises:
        InvalidInputError: a setting is wrong.
    """
    harden()
    chosen = settings.load(environment, home)
    if chosen.syslog is not None:
        from strongroom.control.syslog import SyslogTarget

        SyslogTarget.parse(chosen.syslog)  # a mistake is told before anything is done
    context = Context(
        chosen,
        clock if clock is not None else SystemClock(),
        secrets=secrets,
        report=report,
        warn=warn,
        command=command,
    )
    if chosen.home.is_dir():
        handler = logs.to_file(chosen.log_file, chosen.log_level)
        context.on_close(lambda: logs.stop(handler))
    # Last, so that it is called first, while everything is open and the log is written.
    context.on_close(lambda: _after_command(context))
    return context


def _after_command(context: Context) -> None:
    if context.catalog_is_open:
        # Not at the top: `--help` and what reads no catalog need none of it.
        from strongroom.control import config_backup

        config_backup.after_command(context)
