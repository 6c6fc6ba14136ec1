"""Jobs that are sealed for a key at a real KMS, from the first key to the last.

One story for every kind of server, told on the command line: `Life` has its chapters, and each of
them leaves the server as it found it, but for what it is about.
"""

from __future__ import annotations

import io
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import SameProcess
from tests.support import private_halves
from tests.support.kms_under_test import EVERY_SERVER, TokenUnderTest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.kms_under_test import ServerUnderTest


@pytest.fixture(params=EVERY_SERVER, ids=lambda one: one.__name__.removesuffix("UnderTest"))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerUnderTest]:
    with request.param.running(tmp_path_factory.mktemp("server")) as running:
        yield running


def test_the_life_of_jobs_whose_keys_are_at_a_kms(server: ServerUnderTest, tmp_path: Path) -> None:
    life = Life(server, tmp_path)
    life.each_job_gets_a_key_of_its_own()
    life.what_was_sealed_comes_back_and_nothing_else_is_asked_for()
    life.a_machine_that_has_nothing_but_credentials_restores()
    life.while_the_server_is_away_backups_go_on_and_restores_wait()
    life.who_is_not_known_opens_nothing()
    life.a_server_may_stop_in_the_middle()
    life.another_endpoint_stands_in()
    life.a_rotation_by_the_administrator_is_followed()
    life.a_disabled_key_opens_nothing()
    life.a_server_that_points_need_is_not_forgotten()
    life.a_destroyed_key_is_reported_with_what_is_lost()
    life.no_secret_of_the_server_was_ever_kept()


def test_a_local_half_and_the_kms_are_both_needed(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    kit, restored = tmp_path / "kit", tmp_path / "restored"
    here, elsewhere = (SameProcess(tmp_path / name) for name in ("here", "elsewhere"))
    with TokenUnderTest.running(tmp_path / "server") as server:
        here.run("repository", "add", "main", tmp_path / "repository")
        here.run("recovery", "create", kit)
        for machine in (here, elsewhere):
            machine.run("kms", "add", "corp", server.url, *server.credentials)
        here.run(
            *("job", "create", "nightly", "--repository", "main", "--source", "command:echo one"),
            *("--encrypt", "kms:corp", "--with-local-half"),
        )
        (point,) = here.json("job", "run", "nightly")["points"]
        words = ("restore", point, "--to", restored)
        there = (*words, "--repository", tmp_path / "repository", "--kms", "corp")

        assert "local half" in elsewhere.json(*there, status=12)["error"]["message"]
        server.stop()
        here.run(*words, status=13)
        elsewhere.run(*there, "--recovery-key", kit, status=13)
        assert not restored.exists()
        server.start()
        for machine, both in ((here, words), (elsewhere, (*there, "--recovery-key", kit))):
            machine.run(*both)
            assert restored.read_text() == "one\n"
            restored.unlink()


@dataclass
class Life:
    server: ServerUnderTest
    folder: Path
    points: dict[str, str] = field(default_factory=dict)
    """Points of `nightly`, by what they hold."""

    def __post_init__(self) -> None:
        self.here = SameProcess(self.folder / "here")
        self.elsewhere = SameProcess(self.folder / "elsewhere")
        self.repository = self.folder / "repository"
        self.content = self.folder / "content"
        self.content.touch()
        self.hook = self.folder / "hook"
        self.hook.touch()
        self.restored = self.folder / "restored"

    # --- chapters -----------------------------------------------------------------------------

    def each_job_gets_a_key_of_its_own(self) -> None:
        self.here.run("repository", "add", "main", self.repository)
        self.here.run("kms", "add", "corp", self.server.url, *self.server.credentials)
        for job in ("nightly", "weekly"):
            self.here.run(
                *("job", "create", job, "--repository", "main", "--encrypt", "kms:corp"),
                *("--source", f"command:. {self.hook}; cat {self.content}"),
            )
        names = {key["job"]: key["name"] for key in self.kms()["keys"]}
        assert set(names) == {"nightly", "weekly"}
        for job, name in names.items():
            assert name.startswith(f"strongroom-{job}-")
            assert name in self.server.names(), "the administrator sees it under its name"

    def what_was_sealed_comes_back_and_nothing_else_is_asked_for(self) -> None:
        self.run("one")
        self.asked()
        self.restore("one")
        assert self.asked() == self.server.restoring
        self.run("two")
        assert self.asked() == self.server.looking

    def a_machine_that_has_nothing_but_credentials_restores(self) -> None:
        self.elsewhere.run("kms", "add", "theirs", self.server.url, *self.server.credentials)
        self.restore("one", self.elsewhere, "--repository", self.repository)

    def while_the_server_is_away_backups_go_on_and_restores_wait(self) -> None:
        with self.stopped():
            assert warned(self.run("three", status=3), "corp is away")
            said = self.refused("three", 13)
            assert "corp" in said
            assert self.key()["key"] in said
            self.here.run("kms", "edit", "corp", "--strict")
            self.run("nothing", status=13)
            self.here.run("kms", "edit", "corp", "--no-strict")

    def who_is_not_known_opens_nothing(self) -> None:
        wrong = self.server.wrong_credentials
        self.here.run("kms", "add", "strange", self.server.url, *wrong, status=14)
        assert [one["name"] for one in self.here.json("kms", "list")["kms"]] == ["corp"]
        self.here.run("kms", "edit", "corp", *wrong, status=14)
        self.restore("three")  # what it knows us by has not changed
        with self.stopped():
            said = self.here.json("kms", "edit", "corp", *wrong)
        assert warned(said, "could not be tried out")
        assert warned(self.run("four", status=3), "corp answers no")
        self.refused("four", 14)
        self.here.run("kms", "edit", "corp", *self.server.credentials)

    def a_server_may_stop_in_the_middle(self) -> None:
        with self.within_the_source(self.server.stop):
            self.run("five")
        self.server.start()
        output = Output(self.server.stop)
        self.here.run("restore", self.points["five"], "--to", "-", stdout=output)
        assert output.getvalue() == b"five"
        self.server.start()
        if self.server.spare_url is not None:
            self.server.break_next_call()
            self.refused("five", 13)
            self.server.start()
            self.server.break_next_call()
            assert warned(self.run("six", status=3), "corp is away")
            self.server.start()

    def another_endpoint_stands_in(self) -> None:
        """The first is dead from the beginning, and the second dies when it is asked."""
        urls = [self.server.dead_url, self.server.url]
        if self.server.spare_url is not None:
            urls.append(self.server.spare_url)
        self.endpoints(*urls)
        with self.breaking():
            assert self.run("seven")["warnings"] == []
        with self.breaking():
            self.restore("seven")
        tried = self.here.json("kms", "test", "corp", status=14)["endpoints"]
        assert [one["ok"] for one in tried] == [False, *[True] * (len(urls) - 1)]
        self.endpoints(self.server.url)

    def a_rotation_by_the_administrator_is_followed(self) -> None:
        before = self.key()
        self.server.rotate(before["name"])
        assert self.here.json("kms", "sync", "corp")["rotated"] == [before["name"]]
        assert self.key()["key"] != before["key"]
        self.restore("one")  # with the old one: nothing is sealed for the new one yet
        assert self.run("eight")["kind"] == "incremental"
        assert (self.key(-2)["points"], self.key()["points"]) == (0, len(self.points))

    def a_disabled_key_opens_nothing(self) -> None:
        old, present = (self.key(number)["key"] for number in (-2, -1))
        self.server.disable(old)
        for which in ("one", "eight"):
            self.restore(which)  # the new one opens what the old one did
        self.server.disable(present)
        told = self.here.json("kms", "sync", "corp", status=3)
        assert warned(told, present, "is disabled", *self.shown_points())
        self.refused("eight", 14)
        tried = self.here.json("kms", "test", "corp", status=14)["keys"]
        assert [one["key"] for one in tried if not one["opened"]] == [present]
        if self.server.can_enable:
            self.server.enable(old)
            self.restore("one")  # what the new one does not open, the old one does
            self.server.enable(present)
            self.restore("eight")

    def a_server_that_points_need_is_not_forgotten(self) -> None:
        error = self.here.json("kms", "remove", "corp", status=15)["error"]
        (chain,) = {row["chain"] for row in self.here.json("point", "list", "nightly")["points"]}
        assert any(f"chain {chain[:12]}" in user for user in error["users"])

    def a_destroyed_key_is_reported_with_what_is_lost(self) -> None:
        lost = next(key for key in self.kms()["keys"] if key["points"])["key"]
        self.server.destroy(lost)
        told = self.here.json("kms", "sync", "corp", status=3)
        assert warned(told, lost, *self.shown_points())
        self.refused("eight", 14)
        self.here.run("kms", "rotate", "corp", "--job", "nightly", status=3)
        assert warned(self.run("nine", status=3), lost)
        self.restore("nine")

    def no_secret_of_the_server_was_ever_kept(self) -> None:
        """Neither of its keys' private halves, nor of what it knows us by, outside the keystore."""
        for machine in (self.here, self.elsewhere):
            (machine.folder / "said").write_bytes(b"".join(machine.said))
        ours = {f"credential {number}": one for number, one in enumerate(self.server.secrets())}
        assert private_halves.found(ours, self.folder) == []
        halves = self.server.private_halves()
        assert halves
        for private in halves:
            assert private_halves.found(private_halves.traces(private), self.folder) == []

    # --- what chapters are made of ------------------------------------------------------------

    def run(self, content: str, status: int = 0) -> dict[str, Any]:
        """Run `nightly` on some content."""
        self.content.write_text(content)
        session: dict[str, Any] = self.here.json("job", "run", "nightly", status=status)
        if status in (0, 3):
            (self.points[content],) = session["points"]
        return session

    def restore(self, which: str, machine: SameProcess | None = None, *words: str | Path) -> None:
        machine = machine or self.here
        machine.run("restore", self.points[which], "--to", self.restored, *words)
        assert self.restored.read_text() == which
        self.restored.unlink()

    def refused(self, which: str, status: int) -> str:
        """Return what is said of a restore that has to fail and to leave nothing."""
        words = ("restore", self.points[which], "--to", self.restored)
        message: str = self.here.json(*words, status=status)["error"]["message"]
        assert not self.restored.exists()
        return message

    def shown_points(self) -> list[str]:
        """Return the points as messages name them."""
        return [point[:12] for point in self.points.values()]

    def kms(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.here.json("kms", "show", "corp")["kms"]
        return shown

    def key(self, number: int = -1) -> dict[str, Any]:
        """Return the newest key of `nightly`, or one before it."""
        keys = [key for key in self.kms()["keys"] if key["job"] == "nightly"]
        found: dict[str, Any] = sorted(keys, key=lambda key: key["version"])[number]
        return found

    def endpoints(self, *urls: str) -> None:
        self.here.run("kms", "edit", "corp", *(word for url in urls for word in ("--url", url)))

    def asked(self) -> tuple[str, ...] | None:
        return None if self.server.restoring is None else tuple(self.server.operations())

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.server.stop()
        yield
        self.server.start()

    @contextmanager
    def breaking(self) -> Iterator[None]:
        """Have the server that is asked first stop within the next call, where that can be."""
        if self.server.spare_url is not None:
            self.server.break_next_call()
        yield
        self.server.start()

    @contextmanager
    def within_the_source(self, action: Callable[[], object]) -> Iterator[None]:
        """Do something while the next session reads its source, which waits for it."""
        begun, go = self.folder / "begun", self.folder / "go"
        for path in (begun, go):
            os.mkfifo(path)

        def act() -> None:
            begun.read_text()  # returns when the source has come this far
            action()
            go.write_text("go")

        thread = threading.Thread(target=act, daemon=True)
        thread.start()
        self.hook.write_text(f"echo > {begun}; read answer < {go}")
        yield
        thread.join(60)
        assert not thread.is_alive()
        self.hook.write_text("")


def warned(said: dict[str, Any], *words: str) -> bool:
    """Tell whether one warning has all of these words."""
    return any(all(word in one for word in words) for one in said["warnings"])


class Output(io.BytesIO):
    """Where a restore writes to; the first of it sets something off."""

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__()
        self._action: Callable[[], object] | None = action

    def write(self, data: Any) -> int:
        action, self._action = self._action, None
        if action is not None:
            action()
        return super().write(data)
