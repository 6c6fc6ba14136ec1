"""Every command of the README and of docs/operations is run, and does what the page says.

A page's ```console blocks are one session of bash, from top to bottom: commands behind `$ `,
their further lines behind `> `, and between them what they print. Each page has a sandbox of its
own: a home folder, and in it a copy of the documents as working folder. What stands above
a block may change what is expected of its last command:

    <!-- exit status 20 -->

Lines that a page shows have to be among what the command prints, in their order. Numbers, ids
and times may differ, and `…` stands for anything. Blocks of other kinds (```sh) are for people:
they need root, another machine or much time, and say so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import strongroom
from tests.support.fork_server import fork_server
from tests.support.openbao_server import ROOT_TOKEN, openbao
from tests.support.s3_server import ACCESS_KEY, SECRET_KEY, S3Server

ROOT = Path(__file__).parents[2]
KEYS = "docs/keys.md"
BUCKETS = "docs/operations/object-storage.md"
GUIDES = [
    # What those of a KMS print are policies of its server: tests/contract runs under them. What
    # that of SFTP prints is for somebody else's server.
    *sorted(
        str(page.relative_to(ROOT))
        for page in ROOT.glob("docs/operations/*.md")
        if not page.name.startswith(("kms-", "sftp")) and str(page.relative_to(ROOT)) != BUCKETS
    ),
    "docs/development/first-hour.md",
]
PAGES = ["README.md", *GUIDES]

_BLOCK = re.compile(r"(?:<!-- exit status (\d+) -->\n)?```console\n(.*?)```", re.DOTALL)
_END = "end of command"


@dataclass
class Command:
    """One command of a page, and what the page says of it."""

    text: str
    expected_status: int = 0
    shown: list[str] = field(default_factory=list)


def commands_of(page: str) -> list[Command]:
    commands: list[Command] = []
    for status, block in _BLOCK.findall((ROOT / page).read_text()):
        begun = len(commands)
        for line in block.splitlines():
            if line.startswith("$ "):
                commands.append(Command(line[2:]))
            elif line.startswith("> "):
                commands[-1].text += "\n" + line[2:]
            elif line.strip():
                commands[-1].shown.append(line)
        assert len(commands) > begun, f"a console block of {page} has no command"
        commands[-1].expected_status = int(status or 0)
    return commands


def pattern_of(shown: str) -> re.Pattern[str]:
    """Return what a printed line has to look like to be the shown one."""
    parts = []
    for word in shown.split():
        whole = re.escape(word).replace("…", ".*")
        if re.search(r"\d", word):
            whole = r"\S+"
        elif word.rstrip(",") in ("B", "KiB", "MiB", "GiB"):
            whole = "(B|KiB|MiB|GiB),?"
        parts.append(whole)
    return re.compile(r"\s*" + r"\s+".join(parts) + r"\s*")


def appear_in(shown: list[str], printed: str) -> str | None:
    """Return the first shown line that does not follow in what was printed."""
    lines = iter(printed.splitlines())
    for line in shown:
        pattern = pattern_of(line)
        if not any(pattern.fullmatch(one) for one in lines):
            return line
    return None


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    """A home with a working folder that looks like a fresh clone after `make install`."""
    clone = tmp_path / "home" / "strongroom"
    clone.mkdir(parents=True)
    for name in ("docs", "packaging"):
        shutil.copytree(ROOT / name, clone / name)
    for name in ("README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone / name)
    program = clone / ".venv" / "bin" / "strongroom"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m strongroom "$@"\n')
    program.chmod(0o755)
    return clone


@pytest.fixture
def quick_program(sandbox: Path) -> Iterator[None]:
    """Let the sandbox's program run in forks; what starts Python is the README."""
    with (
        tempfile.TemporaryDirectory() as folder,
        fork_server(Path(folder), sandbox / ".venv" / "bin" / "strongroom"),
    ):
        yield


def environment_of(clone: Path) -> dict[str, str]:
    path = [str(clone / ".venv" / "bin"), *os.environ["PATH"].split(os.pathsep)]
    return {
        "HOME": str(clone.parent),
        "PATH": os.pathsep.join([*path, "/usr/sbin", "/sbin"]),
        "PYTHONPATH": str(Path(strongroom.__file__).parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        "USER": "operator",
    }


def test_every_command_of_the_readme_does_what_it_says(sandbox: Path):
    check_page("README.md", sandbox, environment_of(sandbox))


@pytest.mark.parametrize("page", GUIDES)
def test_every_command_of_the_page_does_what_the_page_says(
    page: str, sandbox: Path, quick_program: None
):
    check_page(page, sandbox, environment_of(sandbox))


def test_every_command_of_the_page_on_keys_does_what_it_says(
    sandbox: Path, tmp_path: Path, quick_program: None
):
    with openbao(tmp_path) as server:
        token = sandbox.parent / "kms.token"
        token.touch(0o600)
        token.write_text(ROOT_TOKEN)
        check_page(KEYS, sandbox, {**environment_of(sandbox), "KMS_URL": server.address})


def test_every_command_of_the_page_on_buckets_does_what_it_says(sandbox: Path, s3: S3Server):
    given = {"S3_URL": s3.endpoint, "ACCESS_KEY": ACCESS_KEY, "SECRET_KEY": SECRET_KEY}
    check_page(BUCKETS, sandbox, {**environment_of(sandbox), **given})


def check_page(page: str, sandbox: Path, environment: dict[str, str]) -> None:
    commands = commands_of(page)
    assert commands, f"{page} has no console block"
    script = "".join(
        # Standard input is nobody: a command that asks has to fail, not to wait.
        f'{{ {command.text}\n}} </dev/null\necho "{_END} {number} $?"\n'
        for number, command in enumerate(commands)
    )
    done = subprocess.run(
        ["/bin/bash", "-c", script],
        cwd=sandbox,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    rest = done.stdout
    for number, command in enumerate(commands):
        found = re.search(rf"^{_END} {number} (\d+)$", rest, re.MULTILINE)
        assert found is not None, f"{page} ended in the middle of: {command.text}\n{rest}"
        printed, rest = rest[: found.start()], rest[found.end() + 1 :]
        said = f"{page}: {command.text}\n{printed}"
        assert int(found[1]) == command.expected_status, said
        missing = appear_in(command.shown, printed)
        assert missing is None, f"not printed: {missing}\n{said}"


def test_a_shown_line_may_differ_in_its_numbers_and_not_in_its_words():
    assert appear_in(["stored 2.9 MiB, 3 files"], "stored 812.4 KiB, 17 files") is None
    assert appear_in(["home: success, full (first), 0.1 s"], "home: failed, full (first), 1 s")
    assert appear_in(["b", "a"], "a\nb") == "a"
    assert appear_in(["point …"], "  point 7fbd") is None


def test_every_unit_that_a_page_names_is_in_packaging():
    named = set()
    for page in PAGES:
        text = (ROOT / page).read_text()
        named |= set(re.findall(r"packaging/[\w./-]+", text))
    assert named
    missing = [name for name in named if not (ROOT / name.rstrip("./")).exists()]
    assert not missing


def test_the_documents_link_to_what_is_there():
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken
