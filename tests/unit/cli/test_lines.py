"""A command line: what is accepted, what is said, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from strongroom.cli import asking
from strongroom.cli import main as entry
from strongroom.cli.door import Door
from strongroom.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRONGROOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STRONGROOM_KEY_FILE", str(tmp_path / "key"))


def _process(
    *words: str, code: str | None = None, **options: object
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code] if code else [sys.executable, "-m", "strongroom"]
    settings: dict[str, object] = {"stdin": subprocess.DEVNULL, "capture_output": True}
    return subprocess.run(  # type: ignore[call-overload]
        [*command, *words], text=True, check=False, **{**settings, **options}
    )


# --- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["--json", "job", "list"],
        ["job", "--json", "list"],
        ["job", "list", "--json"],
        ["job", "list", "--json", "--progress", "none"],
    ],
)
def test_json_is_accepted_anywhere(
    words: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == {"jobs": []}


def test_json_behind_the_double_dash_is_a_word_like_any_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["job", "show", "--", "--json"]) == 10
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["jbo"], "there is no command 'jbo'", "did you mean 'strongroom job'?"),
        (["job", "rnu", "x"], "there is no command 'rnu'", "did you mean 'strongroom job run'?"),
        (["job", "list", "--jsn"], "no such option '--jsn'", "did you mean --json?"),
        (["job", "show"], "missing argument 'NAME'", "'strongroom job show --help' shows"),
        (["job", "run"], "name one job, or say --all", "'strongroom job run --help' shows"),
        (["job", "run", "a", "--all"], "name one job, or say --all", "--help"),
        (["job", "run", "--all", "--full"], "--full is for one job", "--help"),
        (["job", "run", "--all", "--break-lock"], "--break-lock is for one job", "--help"),
        (["job", "run", "a", "--old-password-file"], "requires an argument", "job run --help"),
        (["point", "list", "--signer", "ei43-xxrt"], "'ei43-xxrt' is no fingerprint", "--help"),
        (["repository", "trust", "a", ""], "'' is no fingerprint", "--help"),
        (["repository", "scrub"], "name one repository", "--help"),
        (["repository", "scrub", "a", "--repository", "b"], "name one repository", "--help"),
        (["status", "--max-age", "soon"], "'soon' is no span of time", "--help"),
        (["job", "create", "a"], "job a has no place to write to", "say --repository NAME"),
        (
            ["job", "create", "a", "--repository", "r", "--source", "files:/x"],
            "how job a is encrypted has to be said",
            "none: backups that anybody can read",
        ),
        (
            ["restore", "p", "--to", "-", "--json"],
            "--to - and --json both write to standard output",
            "leave one of them out",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_line_that_cannot_be_right_ends_with_2_and_says_why(
    words: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert message in lines[0]
    assert lines[0].startswith("strongroom: ")
    assert not lines[0].endswith(".")
    assert lines[1].startswith("strongroom: hint: ")
    assert hint in lines[1]
    assert len(lines) == 2


@pytest.mark.parametrize(
    "words", [["jbo"], ["job", "show"], ["job", "show", "x"], ["job"], ["job", "run", "--bad"]]
)
def test_with_json_an_error_is_one_document_too(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    status = main([*words, "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"error"}
    assert answer["error"]["exit_status"] == status
    assert {"code", "message", "hint"} <= set(answer["error"])


def test_with_progress_json_standard_error_is_json_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["job", "show", "x", "--progress", "json"]) == 10
    (event,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert event["event"] == "error"
    assert event["code"] == "not-found"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from strongroom import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"strongroom {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_STRONGROOM_COMPLETE" in capsys.readouterr().out


def test_completion_completes() -> None:
    environment = {
        **os.environ,
        "_STRONGROOM_COMPLETE": "bash_complete",
        "COMP_WORDS": "strongroom job re",
        "COMP_CWORD": "2",
    }
    done = _process(env=environment)
    assert "remove" in done.stdout


def test_a_bug_shows_a_traceback_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Door, *__: object) -> None:
        raise ZeroDivisionError("so it goes")

    monkeypatch.setattr(Door, "show", broken)
    assert main(["--version", "--json"]) == 1
    said = capsys.readouterr()
    assert "Traceback" in said.err
    assert "strongroom: this is a bug: ZeroDivisionError: so it goes" in said.err
    assert json.loads(said.out)["error"]["code"] == "bug"


# --- newcomers --------------------------------------------------------------------------------


def test_without_a_command_a_newcomer_gets_four_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    commands = [line.strip() for line in said.splitlines() if line.startswith("  strongroom ")]
    assert [command.split()[1:3] for command in commands] == [
        ["repository", "add"],
        ["password", "add"],
        ["job", "create"],
        ["job", "run"],
    ]
    assert all(len(line) <= 80 for line in said.splitlines())
    assert not (tmp_path / "home").exists()


def test_the_newcomers_commands_are_commands() -> None:
    import shlex

    import click

    from strongroom.cli.welcome import newcomer

    for line in newcomer().next:
        noun, verb, *rest = shlex.split(line)[1:]
        group = entry.cli.get_command(click.Context(entry.cli), noun)
        assert isinstance(group, click.Group)
        command = group.get_command(click.Context(group), verb)
        assert command is not None
        command.make_context(verb, rest, resilient_parsing=False, obj=Door())


@pytest.mark.parametrize(
    "words",
    [
        ["job", "list"],
        ["job", "show", "x"],
        ["job", "run", "x"],
        ["job", "run", "--all"],
        ["password", "list"],
        ["password", "verify", "x"],
        ["repository", "list"],
        ["repository", "remove", "x"],
        ["recovery", "show"],
        ["status"],
        ["point", "hold", "abcd"],
        ["--version"],
        ["job", "--help"],
    ],
    ids=" ".join,
)
def test_asking_for_what_is_not_there_makes_no_home(words: list[str], tmp_path: Path) -> None:
    main(words)
    assert [*tmp_path.iterdir()] == []


# --- terminals --------------------------------------------------------------------------------


def test_without_a_terminal_nothing_asks_for_a_secret() -> None:
    done = _process("password", "add", "p", timeout=60)
    assert done.returncode == 2
    assert "strongroom: hint: use --password-file" in done.stderr
    assert done.stdout == ""


def test_without_a_terminal_nothing_asks_for_agreement(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from strongroom.errors import ConfirmationNeededError

    def action(agreed: bool) -> str:
        if not agreed:
            raise ConfirmationNeededError("much would go", hint="say --yes")
        return "gone"

    monkeypatch.setattr(asking, "can_ask", lambda: False)
    with pytest.raises(ConfirmationNeededError):
        Door().confirmed(action, yes=False)
    with pytest.raises(ConfirmationNeededError):
        Door().confirm("go on?")
    assert Door().confirmed(action, yes=True) == "gone"


_ON_A_TERMINAL = """
import os, pty, sys
answer, words = sys.argv[1], sys.argv[2:]
child, end = pty.fork()
if child == 0:
    os.execv(sys.executable, [sys.executable, *words])
seen = b""
while True:
    try:
        got = os.read(end, 1024)
    except OSError:
        break
    if not got:
        break
    seen += got
    if answer and seen.endswith((b": ", b"] ")):
        os.write(end, answer.encode() + b"\\n")
sys.stdout.write(seen.decode(errors="replace"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize(("answer", "said"), [("y", "GONE"), ("n", "nothing was changed")])
def test_on_a_terminal_the_plan_is_shown_and_agreement_asked(answer: str, said: str) -> None:
    program = (
        "from strongroom.cli.door import Door\n"
        "from strongroom.errors import *\n"
        "def act(agreed):\n"
        "    if not agreed:\n"
        "        raise ConfirmationNeededError('2 points go', would_remove=['aa11', 'bb22'])\n"
        "    return 'GONE'\n"
        "try:\n    print(Door().confirmed(act, False))\n"
        "except CancelledError as error:\n    print(error)\n"
    )
    done = _process(answer, "-c", program, code=_ON_A_TERMINAL, timeout=60)
    assert "2 points go" in done.stdout
    assert "bb22" in done.stdout
    assert said in done.stdout


def test_on_a_terminal_a_secret_is_asked_for_twice_and_not_shown() -> None:
    done = _process(
        "Mauve-otters-juggle-7-lanterns",
        *("-m", "strongroom", "password", "add", "p", "--hint", "a horse"),
        code=_ON_A_TERMINAL,
        timeout=120,
    )
    assert done.returncode == 0
    assert done.stdout.count("new password p") == 2
    assert "otters" not in done.stdout


# --- stopping ---------------------------------------------------------------------------------

_WORK = """
import signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)  # the tests may run under nohup, or behind an &
from strongroom.cli.door import Door
from strongroom.cli.main import _run, main
from strongroom.cli import main as entry, welcome
def work(door):
    import time
    with door.work() as (progress, cancel):
        progress.begin("waiting")
        print("ready", file=sys.stderr, flush=True)
        for _ in range(3000):
            time.sleep(0.01)
            if len(sys.argv) < 2:
                cancel.check()
welcome.welcome = work
sys.exit(main([]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_the_work_to_stop(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WORK], stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr is not None
        assert child.stderr.readline() == "ready\n"
        child.send_signal(number)
        said = child.stderr.read()
    assert child.returncode == 130
    assert "strongroom: stopping at the next safe place" in said
    assert "Traceback" not in said


def test_the_second_signal_ends_it_at_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WORK, "deaf"], stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr is not None
        assert child.stderr.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        assert "again to stop at once" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        child.wait(timeout=20)
        assert child.stderr.read().endswith("\nstopped at once\n")
    assert child.returncode == 130


def test_a_reader_that_went_away_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "strongroom", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        child.stdout.close()
        assert child.stderr is not None
        said = child.stderr.read()
    assert said == ""
    assert child.returncode == 141


def test_a_full_disk_behind_standard_output_is_said() -> None:
    with Path("/dev/full").open("w") as full:
        done = _process("--version", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 14
    assert "cannot write to standard output: No space left on device" in done.stderr


# --- start-up ---------------------------------------------------------------------------------

_HEAVY = ("sqlalchemy", "alembic", "cryptography", "rich", "msgspec", "blake3", "zstandard")


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["jbo"],
        ["job", "--help"],
        ["job", "run", "--help"],
        ["job", "run", "--wrong"],
        ["point", "list", "--help"],
        ["restore", "--help"],
        ["completion", "bash"],
        [],
    ],
    ids=" ".join,
)
def test_help_and_a_wrong_word_import_nothing_heavy(words: list[str]) -> None:
    program = (
        "import sys\n"
        "from strongroom.cli.main import main\n"
        "main(sys.argv[1:])\n"
        f"print('HEAVY', [name for name in {_HEAVY} if name in sys.modules])\n"
    )
    assert "HEAVY []" in _process(*words, code=program).stdout
