"""What is special to KMIP: certificates that end, and private halves that are handed out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import SameProcess
from tests.support import private_halves
from tests.support.kmip_server import NO_EXPORT
from tests.support.kms_under_test import KmipUnderTest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KmipUnderTest]:
    with KmipUnderTest.running(tmp_path_factory.mktemp("kmip")) as running:
        yield running


@pytest.fixture
def here(tmp_path: Path) -> SameProcess:
    machine = SameProcess(tmp_path / "here")
    machine.run("repository", "add", "main", tmp_path / "repository")
    return machine


def job(machine: SameProcess, name: str) -> None:
    machine.run(
        *("job", "create", name, "--repository", "main", "--encrypt", "kms:corp"),
        *("--source", "command:echo content"),
    )


def run(machine: SameProcess, name: str) -> str:
    (point,) = machine.json("job", "run", name)["points"]
    return str(point)


def key_of(machine: SameProcess, name: str) -> dict[str, Any]:
    """Return the newest key of a job."""
    keys = machine.json("kms", "show", "corp")["kms"]["keys"]
    found: dict[str, Any] = max(
        (key for key in keys if key["job"] == name), key=lambda key: key["version"]
    )
    return found


def test_a_certificate_that_ends_soon_is_warned_of_and_replaced_without_touching_jobs(
    here: SameProcess, server: KmipUnderTest
) -> None:
    issue = server.server.authority.issue
    soon = server.shown("soon", issue("strongroom", days=20))
    ends = re.compile(r"client certificate of KMS corp .* ends in (19|20) days")
    assert ends.search(here.run("kms", "add", "corp", server.url, *soon).stderr)
    job(here, "nightly")
    assert ends.search(here.run("job", "run", "nightly", status=3).stderr)
    assert ends.search(here.run("kms", "show", "corp", status=3).stderr)
    before = here.json("job", "show", "nightly"), here.json("point", "list", "nightly")

    here.run("kms", "edit", "corp", *server.shown("fresh", issue("strongroom", days=60)))

    here.run("kms", "show", "corp")
    assert (here.json("job", "show", "nightly"), here.json("point", "list", "nightly")) == before
    assert here.run("restore", "nightly@latest", "--to", "-").stdout == "content\n"
    run(here, "nightly")


def test_where_a_server_decrypts_no_longer_the_private_half_is_taken_for_one_use_or_nothing_opens(
    here: SameProcess, server: KmipUnderTest, tmp_path: Path
) -> None:
    here.run("kms", "add", "corp", server.url, *server.credentials)
    for name in ("nightly", "kept-in"):
        job(here, name)
    server.rotate(key_of(here, "kept-in")["name"], NO_EXPORT)
    here.run("kms", "sync", "corp")
    point, kept_in = run(here, "nightly"), run(here, "kept-in")
    server.cease_to_decrypt()
    server.operations()

    said = here.run("restore", point, "--to", "-")
    assert said.stdout == "content\n"
    assert "hands out the private key" in said.stderr
    assert "kms.private-key-handed-out" in (here.home / "strongroom.log").read_text()
    assert server.operations() == ["Decrypt", "GetAttributes", "Get"]
    run(here, "nightly")
    assert server.operations() == ["GetAttributes"]

    refused = ("restore", kept_in, "--to", tmp_path / "restored", "--json")
    error = here.json(*refused, status=14)["error"]
    assert key_of(here, "kept-in")["key"] in error["message"]
    assert not (tmp_path / "restored").exists()

    said = here.run("kms", "rotate", "corp", "--job", "nightly", status=3)
    assert "kept-in" in said.stderr, "it is said, and keeps nothing else from being rotated"
    newer = run(here, "nightly")
    for one in (point, newer):
        assert here.run("restore", one, "--to", "-").stdout == "content\n"
    server.break_next_call()
    here.run("restore", newer, "--to", "-", status=13)
    server.start()
    server.disable(key_of(here, "nightly")["key"])
    assert "disabled" in here.run("restore", newer, "--to", "-", status=14).stderr

    (here.folder / "said").write_bytes(b"".join(here.said))
    for private in server.private_halves():
        assert private_halves.found(private_halves.traces(private), tmp_path) == []
