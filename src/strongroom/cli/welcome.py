"""`strongroom` without a command: where things stand, and the next thing to type.

A newcomer gets the four commands to a first backup; who is halfway through them gets the next
one; who has jobs gets their state.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.cli.output import wrapped

if TYPE_CHECKING:
    from strongroom.cli.door import Door
    from strongroom.control.context import Context

_REPOSITORY = "strongroom repository add {name} /mnt/backup/strongroom"
_PASSWORD = "strongroom password add {name}"  # noqa: S105 - a command, and no secret in it
_JOB = "strongroom job create {name} --repository {repository} --source files:/home {encrypt}"
_RUN = "strongroom job run {name}"


@dataclass(slots=True)
class Advice:
    """What to say."""

    said: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)
    """Commands, in the order in which to type them."""


def welcome(door: Door) -> None:
    """Say what to do next."""
    from strongroom import settings

    chosen = settings.load(home=door.home)
    if not chosen.home_exists:
        advice = newcomer()
    else:
        with door.context() as ctx:
            advice = _halfway(ctx) or _at_home(ctx)
    document = {"home": str(chosen.home), "said": advice.said, "next": advice.next}
    door.show(document, _lines(advice))


def newcomer() -> Advice:
    """Return the four commands to a first backup."""
    return Advice(
        [
            "Strongroom makes encrypted backups. Nothing is set up here yet;",
            "four commands lead to the first backup:",
        ],
        [
            _REPOSITORY.format(name="main"),
            _PASSWORD.format(name="mine"),
            _JOB.format(name="home", repository="main", encrypt="--encrypt password:mine"),
            _RUN.format(name="home"),
        ],
    )


def _halfway(ctx: Context) -> Advice | None:
    """Return what is still missing before the first backup; None where it was made."""
    from strongroom.control import jobs, passwords, repositories

    said: list[str] = []
    following: list[str] = []
    stores, secrets, orders = (
        repositories.list_all(ctx),
        passwords.list_all(ctx),
        jobs.list_all(ctx),
    )
    store = stores[0].name if stores else "main"
    secret = secrets[0].name if secrets else "mine"
    order = orders[0].name if orders else "home"
    if not stores:
        said.append("There is no repository yet.")
        following.append(_REPOSITORY.format(name=store))
    if not orders:
        if not secrets:
            said.append("There is no password yet.")
            following.append(_PASSWORD.format(name=secret))
        said.append("There is no job yet.")
        following.append(
            _JOB.format(name=order, repository=store, encrypt=f"--encrypt password:{secret}")
        )
    if not any(job.last_run_at for job in orders):
        said += [] if not orders else [f"Job {order} has not run yet."]
        following.append(_RUN.format(name=order))
        return Advice(said, following)
    return None


def _at_home(ctx: Context) -> Advice:
    from strongroom.cli.commands.status import job_line
    from strongroom.control import status

    report = status.report(ctx)
    said = [job_line(job) for job in report.jobs]
    said += [f"Note: {notice}." for notice in report.notices]
    failing = [job.job for job in report.jobs if not job.ok]
    following = [_RUN.format(name=shlex.quote(name)) for name in failing]
    name = report.jobs[0].job if report.jobs else ""
    following += ["strongroom status", "strongroom point list"]
    if name:
        following.append(f"strongroom restore {shlex.quote(name)}@latest --to /tmp/restored")
    return Advice(said, following)


def _lines(advice: Advice) -> list[str]:
    lines = [part for said in advice.said for line in said.split("\n") for part in _fit(line)]
    lines += ["", *(f"  {command}" for command in map(_folded, advice.next)), ""]
    return [*lines, "All commands: strongroom --help"]


def _fit(line: str) -> list[str]:
    return wrapped(line, " " * (len(line) - len(line.lstrip())))


def _folded(command: str) -> str:
    """Break a command that is wider than the screen before an option, so that it can be copied."""
    if len(command) <= 76:
        return command
    head, mark, tail = command.rpartition(" --")
    return f"{head} \\\n      {mark.strip()}{tail}"
