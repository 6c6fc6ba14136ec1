"""`strongroom recovery …`: the key that opens everything when a password is lost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from strongroom.cli.options import (
    FILE,
    PLACE,
    SPAN,
    content_of,
    point_names,
    repository_names,
    repository_option,
    signer_option,
)
from strongroom.cli.output import Column, pairs, table, when
from strongroom.cli.output import yes as yes_or_no
from strongroom.cli.words import Group, pass_door
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from datetime import timedelta

    from strongroom.cli.door import Door
    from strongroom.control.views.recovery import (
        ChainProof,
        OpenRequests,
        RecoveryKeyView,
        RecoveryQuestion,
        RecoveryResult,
    )


_NEW_KIT_HINT: Final = (
    "a job is sealed for a new kit from its next session on: 'strongroom job run --all', then "
    "test again"
)
_AWAY_HINT: Final = "is its disk mounted? then test again"
_SHARING: Final = re.compile(r"(\d{1,2})-(?:of-)?(\d{1,2})", re.IGNORECASE)


CARRIED: Final = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
_out_option = click.option(
    "--out", type=FILE, metavar="FILE", help="Write it to FILE, which must not exist."
)


class SharingType(click.ParamType[Any]):
    """How a key is split: `3-of-5`."""

    name = "sharing"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click hands over what it parsed
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401
        match = _SHARING.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no sharing: write 3-of-5", param, ctx)
        return int(match[1]), int(match[2])


@click.group("recovery", cls=Group)
def recovery() -> None:
    r"""The key that opens everything when a password is lost.

    KIT is the file of a recovery kit, as a text or a page, or that of one share; of a key that was
    split, name as many shares as are needed.

    \b
    Exit status:
      0   done
      2   the request cannot be right
    """


# --- keys -------------------------------------------------------------------------------------


@recovery.command("create")
@click.argument("file", type=PLACE, required=False)
@click.option("--page", type=PLACE, metavar="PAGE", help="Write it to PAGE, to be printed (HTML).")
@click.option(
    "--shares",
    "sharing",
    type=SharingType(),
    metavar="K-of-N",
    help="Split it into N shares of which any K open what it opens.",
)
@pass_door
def create(
    door: Door, file: Path | None, page: Path | None, sharing: tuple[int, int] | None
) -> None:
    r"""Make a recovery key and write its kit to FILE, which must not exist.

    The kit opens every encrypted backup made from then on. It is kept nowhere else: print it, or
    move it off this machine. With --shares FILE and PAGE are folders, for one file a share.

    \b
    Exit status:
      0   the kit is written
      2   neither FILE nor PAGE is named, or the key cannot be split so
      14  FILE cannot be written
      15  there is a FILE already
    """
    from strongroom.control import recovery as control

    with door.context() as ctx:
        split = None if sharing is None else control.Sharing(*sharing)
        result = control.create(ctx, file, page=page, sharing=split)
    what = "the recovery kit" if sharing is None else "a share"
    _show(door, result, [f"wrote {what} to {path}" for path in result.paths])


@recovery.command("list")
@pass_door
def list_(door: Door) -> None:
    r"""List recovery keys, oldest first, and what depends on each.

    \b
    Exit status:
      0   they were listed, be it none
      10  nothing is set up here
    """
    from strongroom.control import recovery as control

    with door.home_context() as ctx:
        views = control.list_all(ctx)
    columns = [
        Column("KEY"),
        Column("ACTIVE"),
        Column("MADE"),
        Column("TESTED"),
        Column("CHAINS", right=True),
        Column("POINTS", right=True),
        Column("JOBS", flexible=True),
    ]
    rows = [
        (
            view.key_id[:12],
            yes_or_no(view.active),
            when(view.created_at),
            _tested(view),
            str(view.chains),
            str(view.points),
            ", ".join(view.jobs) or "-",
        )
        for view in views
    ]
    door.show({"keys": views}, table(columns, rows) if rows else [])
    if not views:
        door.speaker.say("there is no recovery key")


@recovery.command("show")
@click.argument("which", metavar="[KEY]", required=False)
@pass_door
def show(door: Door, which: str | None) -> None:
    r"""Show a recovery key's public side: its id, its age, when it was tested.

    KEY is the beginning of a key's id; without it the active one is shown.

    \b
    Exit status:
      0   it was shown
      2   several keys begin like this
      10  there is no such recovery key
    """
    from strongroom.control import recovery as control

    with door.home_context() as ctx:
        view = control.show(ctx, which)
    door.show({"key": view}, _lines(view))


@recovery.command("activate")
@click.argument("which", metavar="KEY")
@pass_door
def activate(door: Door, which: str) -> None:
    r"""Go back to an older recovery KEY: jobs are sealed for it from then on.

    \b
    Exit status:
      0   it is active
      2   several keys begin like this
      10  there is no such recovery key
      12  the keystore does not have it: import its kit
    """
    from strongroom.control import recovery as control

    with door.home_context() as ctx:
        result = control.activate(ctx, which)
    _show(door, result)


@recovery.command("deactivate")
@click.argument("which", metavar="KEY")
@click.option("--yes-weaken", is_flag=True, help="Agree to what protects less; do not ask.")
@pass_door
def deactivate(door: Door, which: str, yes_weaken: bool) -> None:
    r"""Seal nothing more for the recovery KEY, nor for another.

    What was sealed for it still opens with its kit.

    \b
    Exit status:
      0    no recovery key is active
      2    it was not confirmed
      10   the key is not the active one
      130  the answer was no
    """
    from strongroom.control import recovery as control

    def act(agreed: bool) -> RecoveryResult:
        return control.deactivate(ctx, which, yes_weaken=agreed)

    with door.home_context() as ctx:
        result = door.confirmed(act, yes_weaken, "--yes-weaken")
    _show(door, result)


@recovery.command("import")
@click.argument("files", metavar="KIT...", type=FILE, nargs=-1, required=True)
@pass_door
def import_(door: Door, files: tuple[Path, ...]) -> None:
    r"""Protect the jobs here by a KIT that was made elsewhere.

    Its public half is kept here, and nothing else of it.

    \b
    Exit status:
      0   it is active
      2   KIT holds no recovery kit, or too few shares
    """
    from strongroom.control import recovery as control

    with door.context() as ctx:
        result = control.import_kit(ctx, files)
    _show(door, result)


def _show(door: Door, result: RecoveryResult, lines: list[str] | None = None) -> None:
    door.show(result, [*(lines or []), *_lines(result.key)])
    for notice in result.notices:
        door.speaker.say(notice)


# --- drill ------------------------------------------------------------------------------------


@recovery.command("test")
@click.argument("files", metavar="KIT...", type=FILE, nargs=-1, required=True)
@click.option(
    "--repository",
    "wheres",
    multiple=True,
    metavar="R",
    shell_complete=repository_names,
    help="Test there: a repository's name or its location; several times.",
)
@pass_door
def test(door: Door, files: tuple[Path, ...], wheres: tuple[str, ...]) -> None:
    r"""Prove that KIT opens the newest point of every encrypted chain.

    Blocks chosen at random are read and opened as well. 'recovery list' shows when this was last
    done, and whether all of it opened.

    \b
    Exit status:
      0   it opens all of them
      2   KIT holds no recovery kit, or too few shares
      10  there is no such repository
      12  there is a chain that it does not open, or none, or a repository is away
      13  the storage did not answer
      20  a chain is damaged or not to be believed
    """
    from strongroom.control import recovery_drill
    from strongroom.errors import NoRecipientMatchedError

    with door.context() as ctx:
        result = recovery_drill.prove(ctx, files, wheres)
    columns = [
        Column("REPOSITORY", flexible=True),
        Column("CHAIN"),
        Column("NEWEST POINT"),
        Column("OPENS"),
        Column("BLOCKS", right=True),
    ]
    rows = [
        (
            proof.repository,
            (proof.chain or "-")[:12],
            (proof.point or "-")[:12],
            yes_or_no(proof.opened),
            str(proof.blocks) if proof.opened else "-",
        )
        for proof in result.chains
    ]
    lines = table(columns, rows) if rows else []
    if result.ok:
        door.show(result, lines)
        return
    chains = [proof for proof in result.chains if proof.chain]
    closed = sum(not proof.opened for proof in chains)
    absent = len(result.chains) - len(chains)
    problems = []
    if closed:
        problems.append(f"the kit does not open {closed} of {counted(len(chains), 'chain')}")
    if absent:
        problems.append(f"{counted(absent, 'repository', 'repositories')} did not open")
    error = NoRecipientMatchedError(
        " and ".join(problems) or "there is no encrypted chain to prove the kit on",
        hint=_AWAY_HINT if absent and not closed else _NEW_KIT_HINT,
        key=result.key_id,
    )
    for proof in result.chains:
        if proof.problem is not None:
            door.speaker.warn(f"{_subject(proof)}: {proof.problem}")
    door.show_with_error(result, lines, error)


def _subject(proof: ChainProof) -> str:
    return f"chain {proof.chain[:12]}" if proof.chain else f"repository {proof.repository}"


def _tested(view: RecoveryKeyView) -> str:
    if view.tested_ok is None:
        return when(view.tested_at)
    return f"{when(view.tested_at)}, {'passed' if view.tested_ok else 'failed'}"


def _lines(view: RecoveryKeyView) -> list[str]:
    return pairs(
        [
            ("key", view.key_id),
            ("active", yes_or_no(view.active)),
            ("signer", view.signer),
            ("created", when(view.created_at)),
            ("tested", _tested(view)),
            ("jobs", view.jobs),
            ("chains", str(view.chains)),
            ("points", str(view.points)),
        ]
    )


# --- request and response ---------------------------------------------------------------------


@recovery.command("request")
@click.argument("which", metavar="P", shell_complete=point_names)
@repository_option
@signer_option
@_out_option
@pass_door
def request(
    door: Door, which: str, repository: str | None, signers: tuple[str, ...], out: Path | None
) -> None:
    r"""Ask the holder of a recovery kit to open restore point P.

    The request is a text without secrets. Carry it to the holder, who turns it into a response
    with 'recovery answer'; 'recovery accept' then opens the point here. The kit stays with them.

    \b
    Exit status:
      0   the request is made
      2   P is not encrypted
      10  there is no such point
      12  the point is not sealed for a recovery key
      14  FILE cannot be written
      15  there is a FILE already
      20  the chain is damaged or not to be believed
    """
    from strongroom.control import recovery_request

    with door.context() as ctx:
        result = recovery_request.request(ctx, which, where=repository, signers=signers)
    _hand_out(door, result, result.text, out)
    door.speaker.say(
        f"this asks for the keys of {counted(result.sessions, 'session')}, for point "
        f"{result.point[:12]}, in the name of {result.signer}"
    )


@recovery.command("answer")
@click.argument("asked", metavar="REQUEST", type=CARRIED)
@click.argument("files", metavar="KIT...", type=FILE, nargs=-1, required=True)
@signer_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@_out_option
@pass_door
def answer(
    door: Door,
    asked: Path,
    files: tuple[Path, ...],
    signers: tuple[str, ...],
    yes: bool,
    out: Path | None,
) -> None:
    r"""Answer the REQUEST of a server with KIT, away from that server.

    REQUEST is a file, or - for standard input. It has to be made by the signer that KIT names, or
    by one named with --signer. The response opens one point, on that server alone.

    \b
    Exit status:
      0    the response is made
      2    REQUEST or KIT is mistyped or none, or it was not confirmed
      12   KIT does not open what is asked for
      14   FILE cannot be written
      15   there is a FILE already
      20   the request was altered, or is somebody else's
      130  the answer was no
    """
    from strongroom.control import recovery_answer
    from strongroom.control.views.recovery import RecoveryAnswered

    question = recovery_answer.consider(_carried(asked), files, signers)
    for line in _question(question.view):
        door.speaker.say(line)
    if not yes:
        door.confirm("is this asked by whom you know, and shall it be opened?")
    text = recovery_answer.answer(question)
    _hand_out(door, RecoveryAnswered(question=question.view, text=text), text, out)


def _question(view: RecoveryQuestion) -> list[str]:
    return pairs(
        [
            ("who asks", f"{view.machine}, {view.signer}"),
            ("asked", when(view.made_at)),
            ("point", f"{view.point}, of {when(view.taken_at)}"),
            ("chain", view.chain),
            ("opens", f"the keys of {counted(view.sessions, 'session')}"),
            ("with key", view.key_id),
        ]
    )


@recovery.command("accept")
@click.argument("response", metavar="RESPONSE", type=CARRIED)
@click.option("--keep", type=SPAN, metavar="T", help="Leave the point open so long: 24h, say 2h.")
@signer_option
@pass_door
def accept(door: Door, response: Path, keep: timedelta | None, signers: tuple[str, ...]) -> None:
    r"""Open the point that was asked for with the holder's RESPONSE.

    RESPONSE is a file, or - for standard input. Until the time is up 'point files', 'point
    verify' and 'restore' need no secret for this point; no other point is opened.

    \b
    Exit status:
      0   the point is open
      2   RESPONSE is mistyped or none
      10  no request waits here for it, or the point is gone
      20  the response was altered, or the chain is not to be believed
    """
    from strongroom.control import recovery_request

    text = _carried(response)
    with door.home_context() as ctx:
        opened = recovery_request.accept(
            ctx, text, keep=keep or recovery_request.KEEP, signers=signers
        )
    door.show({"point": opened}, [f"point {opened.point} is open until {when(opened.expires_at)}"])


@recovery.command("requests")
@pass_door
def requests(door: Door) -> None:
    r"""List requests that wait for a response, and points that responses opened.

    \b
    Exit status:
      0   they were listed, be it none
      10  nothing is set up here
    """
    from strongroom.control import recovery_request

    with door.home_context() as ctx:
        found = recovery_request.waiting(ctx)
    door.show(found, _waiting(found))
    if not found.requests and not found.points:
        door.speaker.say("no request waits, and no point is open")


@recovery.command("forget")
@click.argument("which", metavar="POINT")
@pass_door
def forget(door: Door, which: str) -> None:
    r"""Close POINT again, and drop requests for it.

    \b
    Exit status:
      0   nothing of it is kept any longer
      2   several points begin like this
      10  it is neither open nor asked for
    """
    from strongroom.control import recovery_request

    with door.home_context() as ctx:
        found = recovery_request.forget(ctx, which)
    door.show(found, _waiting(found))


def _waiting(found: OpenRequests) -> list[str]:
    rows = [(one.point, "asked", when(one.made_at)) for one in found.requests]
    rows += [(one.point, "open until", when(one.expires_at)) for one in found.points]
    return table([Column("POINT"), Column("STATE"), Column("TIME")], rows) if rows else []


def _carried(file: Path) -> str:
    """Return the text that was carried here, from a file or standard input.

    Raises:
        InvalidInputError: it cannot be read, or is too long.
    """
    from strongroom.format.armour import LARGEST

    return content_of(file, LARGEST).decode(errors="replace")


def _hand_out(door: Door, document: object, text: str, out: Path | None) -> None:
    if out is None:
        door.show(document, text.splitlines())
        return
    from strongroom.control.recovery_files import write_all

    write_all({out: text})
    door.show(document, [f"wrote {out}"])
