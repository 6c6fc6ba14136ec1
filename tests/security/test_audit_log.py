"""The audit log in the hands of somebody who can write to the home and has not the key file."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from strongroom.control import audit, jobs
from strongroom.control.jobs import JobChanges
from strongroom.errors import AuditAlteredError
from tests.support.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> Installation:
    (tmp_path / "tree").mkdir()
    made = Installation.create(tmp_path)
    made.job()
    shutil.copy(log_of(made), tmp_path / "copy")
    jobs.edit(made.ctx, "nightly", JobChanges(encrypt="none"), yes_weaken=True)
    return made


def log_of(server: Installation) -> Path:
    return server.ctx.settings.home / "audit.log"


def forget_the_weakening(file: Path) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(line for line in lines if b'"weakened"' not in line))


def renumber_without_it(file: Path) -> None:
    documents = [json.loads(line) for line in file.read_bytes().splitlines()]
    kept = [one for one in documents if one["event"] != "weakened"]
    for number, one in enumerate(kept, 1):
        one["number"] = number
    file.write_text("".join(json.dumps(one) + "\n" for one in kept))


def blame_another(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'"uid": ', b'"uid": 9'))


def put_the_copy_back(file: Path) -> None:
    shutil.copy(file.parent.parent / "copy", file)


def add_a_line(file: Path) -> None:
    line = json.loads(file.read_bytes().splitlines()[-1])
    line["number"] += 1
    line["previous"] = line["tag"]
    with file.open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def remove_it(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize(
    "edit",
    [
        forget_the_weakening,
        renumber_without_it,
        blame_another,
        put_the_copy_back,
        add_a_line,
        remove_it,
    ],
)
def test_who_has_not_the_keystore_can_neither_edit_the_log_nor_write_to_it(
    server: Installation, edit: Callable[[Path], None]
) -> None:
    audit.verify(server.ctx)
    edit(log_of(server))
    with pytest.raises(AuditAlteredError):
        audit.verify(server.ctx)
    # That it was looked for heals nothing.
    with pytest.raises(AuditAlteredError):
        audit.verify(server.ctx)


def test_no_secret_is_in_the_log(server: Installation) -> None:
    from tests.support.installation import PASSWORD

    text = log_of(server).read_text()
    secret = next(
        line.split()[1] for line in server.kit.read_text().splitlines() if line.startswith("secret")
    )
    assert PASSWORD not in text
    assert secret not in text
