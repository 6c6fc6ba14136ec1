"""No secret leaves: every command is run, and all it writes, says, sends and starts is searched.

Searched for are the secrets as they were given, and every key and private half that the commands
held or derived on their way.
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import textwrap
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.certificates import Authority
from tests.support.secret_search import SecretSearch
from tests.support.softhsm import LABEL, SoftHsm
from tests.support.watched_line import LEAVES, Observation, WatchedMachine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST = "Mauve-otters-juggle-7-lanterns"
SECOND = "Quiet-harbours-sell-9-violins"
THIRD = "Ochre-herons-polish-4-trombones"
TYPED = "Amber-walrus-paints-3-ceilings"
WRONG = "Nobody-ever-chose-7-this-one"
PIN = "Plum-badger-52"
TOKEN = "hvs.CAESIJ7marked-token-of-nobody"
SECRET_ID = "6f1c2a90-marked-secret-id-0c1d"
ACCESS_KEY = "wJalrMarkedSecretAccessKey/K7MDENG+bPxRfiCY"
CONTENT = "the-marked-content-of-a-file"
NAME = "the-marked-name-of-a-file"
OUTPUT = "the-marked-output-of-a-command"


class _Echo(BaseHTTPRequestHandler):
    """A gateway before a KMS that refuses, and repeats in its answer what it was sent."""

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        words = f"{self.requestline} {dict(self.headers)} {sent}"
        answer = json.dumps({"errors": [words], "__type": "Refused", "message": words}).encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_LIST = do_DELETE = do_POST

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def echo() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


_WITHOUT_SECRETS = frozenset(
    {"guard run", "guard confirm-clock", "repository protect", "repository unhide"}
)
"""What sets locks, or looks after them, on objects as they lie: the story tells how it fails."""


@dataclass
class Story:
    """Some machines, from the first command to the last."""

    seen: Observation
    here: WatchedMachine
    away: WatchedMachine
    token: SoftHsm
    gateway: int

    def __post_init__(self) -> None:
        known = {"first": FIRST, "second": SECOND, "third": THIRD, "wrong": WRONG, "pin": PIN}
        known |= {"token": TOKEN, "secret id": SECRET_ID, "access key": ACCESS_KEY}
        known |= {
            "weak": "sea-lions",
            "wrong pin": PIN + "-wrong",
            "token with a space": " " + TOKEN,
        }
        self.files = {name: self.seen.secret(name, text) for name, text in known.items()}
        self.seen.secrets[TYPED.encode()] = "typed"
        self.tree = self.seen.folder / "srv"
        self.tree.mkdir()
        (self.tree / NAME).write_text(CONTENT * 50)

    def at(self, name: str) -> Path:
        return self.seen.folder / name

    @property
    def kit(self) -> Path:
        return self.at("secrets") / "kit"

    def run(self, *words: object, **options: Any) -> str:
        return self.here.run(*words, **options).out

    def look(self, *words: object, **options: Any) -> Any:
        """Run what changes nothing, for people and for programs; return the document."""
        self.here.run(*words, **options)
        return json.loads(self.here.run("--json", *words, **options).out)

    def password(self, name: str, option: str = "password") -> tuple[object, object]:
        return (f"--{option}-file", self.files[name])

    def command(self, name: str, option: str = "password") -> tuple[str, str]:
        """Name a command that says a secret, and lives long enough to be seen."""
        seen = self.at("variables") / f"{option}-command"
        seen.parent.mkdir(exist_ok=True)
        return (f"--{option}-command", f"env >{seen}; sleep 0.02; cat {self.files[name]}")

    def script(self, name: str) -> str:
        seen = self.at("variables") / name
        seen.parent.mkdir(exist_ok=True)
        return f"env >{seen}; sleep 0.02"

    # --- the chapters -----------------------------------------------------------------------------

    def secrets_are_made(self) -> None:
        run, look = self.run, self.look
        look()
        run("repository", "add", "main", self.at("repository"))
        look("repository", "edit", "main", "--limit", "1GB/s")
        look("repository", "list")
        run("password", "add", "mine", "--password-env", "MINE", "--hint", "sea", MINE=FIRST)
        run("password", "add", "typed", "--hint", "", typed=[TYPED, TYPED])
        run("password", "add", "weak", *self.command("weak"), status=2)
        run("password", "add", "both", *self.password("first"), *self.command("first"), status=2)
        look("password", "list")
        run("password", "verify", "mine", *self.password("wrong"), status=12)
        run("password", "verify", "mine", *self.command("first"), fresh=True)
        run("password", "verify", "typed", typed=[TYPED])
        run("password", "verify", "typed", typed=[WRONG], status=12)
        run("recovery", "create", self.kit, "--page", self.at("secrets") / "kit.html")
        shares = self.at("secrets") / "shares"
        run("recovery", "create", "--shares", "2-of-3", shares)
        for share in shares.iterdir():
            words = share.read_text().partition("\nwords\n")[2].split()
            self.seen.secrets[" ".join(w for w in words if w.isalpha()).encode()] = "share"
        kept = look("recovery", "list")["keys"]
        run("recovery", "activate", kept[0]["key_id"])
        run("recovery", "deactivate", kept[0]["key_id"], "--yes-weaken")
        run("recovery", "import", *list(shares.iterdir())[:2])
        run("recovery", "import", self.kit)
        look("recovery", "show")

    def key_services_are_known(self) -> None:
        run, look = self.run, self.look
        token = f"pkcs11:token={LABEL}?module-path={self.token.module}"
        run("kms", "add", "token", token, *self.password("pin", "secret"))
        run("kms", "add", "spare", token, *self.command("pin", "secret"))
        look("kms", "list")
        run("kms", "edit", "spare", "--secret-env", "PIN", PIN=PIN)
        run("kms", "edit", "spare", *self.password("wrong pin", "secret"), status=14)
        run("kms", "remove", "spare")
        gateway = f"127.0.0.1:{self.gateway}"
        aws = f"aws://eu-central-1?endpoint=http://{gateway}"
        bao, nobody = f"transit+http://{gateway}/transit", "transit+http://127.0.0.1:1/transit"
        for url, *options in (
            (bao, *self.password("token", "secret")),
            (bao, "--account", "role", *self.password("secret id", "secret")),
            (aws, "--account", "AKIAEXAMPLE", *self.password("access key", "secret")),
        ):
            run("kms", "add", "refused", url, *options, status=14)
        run("kms", "add", "nobody", nobody, *self.password("token", "secret"), status=13)
        mistyped = self.password("token with a space", "secret")
        run("kms", "add", "nobody", nobody, *mistyped, status=2)
        ours = Authority().issue("strongroom")
        key = self.seen.secret("client key", ours.key.decode())
        self.at("certificate").write_bytes(ours.certificate)
        shown = ("--client-certificate", self.at("certificate"), "--client-key", key)
        signed = ("--ca", self.at("certificate"))
        run("kms", "add", "nobody", "kmip://127.0.0.1:1", *shown, *signed, status=13)
        crossed = ("--client-certificate", key, "--client-key", self.at("certificate"))
        run("kms", "add", "nobody", "kmip://127.0.0.1:1", *crossed, *signed, status=2)
        run("kms", "add", "said", f"transit+https://me:{TOKEN}@localhost/transit", status=2)

    def places_elsewhere_are_known(self) -> None:
        run, look = self.run, self.look
        run("credential", "add", "spare", *self.command("access key", "secret"))
        run("credential", "edit", "spare", "--access-key", "AKIAEXAMPLE")
        run("credential", "edit", "spare", *self.password("access key", "secret"))
        look("credential", "list")
        bucket = f"s3://bucket/x?endpoint=http://127.0.0.1:{self.gateway}"
        # A process of its own: the library hangs in a fork of one that has used it before.
        run("repository", "add", "bucket", bucket, "--credential", "spare", status=14, fresh=True)
        run("repository", "add", "said", f"s3://me:{ACCESS_KEY}@bucket/x", status=2)
        run("repository", "add", "said", f"s3://bucket/x?secret_key={ACCESS_KEY}", status=2)
        run("credential", "remove", "spare")
        look("repository", "check", "main")

    def jobs_run(self) -> None:
        run, look = self.run, self.look
        dump = f"{self.script('source')}; echo {OUTPUT[:3]}''{OUTPUT[3:]}"
        run(
            *("job", "create", "office", "--repository", "main", "--encrypt", "password:mine"),
            *("--source", f"files:{self.tree}", "--source", f"command:{dump}"),
            *("--pre-script", self.script("pre"), "--post-script", self.script("post")),
        )
        run(
            *("job", "create", "vault", "--repository", "main", "--encrypt", "kms:token"),
            *("--source", f"files:{self.tree}", "--with-local-half"),
        )
        run("job", "edit", "office", "--on-failure", self.script("failure"))
        run("config", "set", "--repository", "main", "--encrypt", "password:mine")
        run("job", "run", "office", "--old-password-env", "MINE", MINE=FIRST)
        run("job", "run", "office", "--full", fresh=True)
        run("job", "run", "--all", "--progress", "json")
        look("job", "list")
        look("job", "show", "vault")
        look("job", "retention", "office", "--keep-last", "1")
        for words in ("kms show", "kms test", "kms sync"):
            look(*words.split(), "token")
        run("kms", "rotate", "token")
        run("job", "run", "vault")

    def a_password_changes(self) -> None:
        run = self.run
        run("password", "edit", "mine", *self.command("second"))
        (self.tree / "more").write_text(CONTENT)
        run("job", "run", "office")
        run("password", "edit", "mine", "--write-only")
        edit = ("password", "edit", "mine", *self.password("third"))
        run(*edit, *self.password("wrong", "old-password"), status=12)
        run(*edit, *self.command("second", "old-password"))
        run("job", "run", "office", fresh=True)
        run("job", "rewrap", "office", "--yes", *self.command("second", "old-password"), status=3)
        run("job", "rewrap", "office", "--yes", *self.password("first", "old-password"), status=12)
        run("job", "rewrap", "office", "--yes", *self.password("third", "old-password"))
        run("job", "edit", "office", "--encrypt", "none", status=2)
        run("password", "remove", "mine", status=15)
        run("password", "remove", "typed")
        run(
            *("password", "edit", "mine", "--keep-secret", "--yes-weaken"),
            *self.password("third", "old-password"),
        )
        run("job", "reencrypt", "office", "--dry-run", fresh=True)
        run("job", "reencrypt", "office", "--yes")

    def points_are_looked_at(self) -> None:
        run, look = self.run, self.look
        listed = look("point", "list", "office")["points"]
        points = [point["id"] for point in listed if point["source"].startswith("files:")]
        (first, *_, last), there = points, ("--repository", self.at("repository"))
        for words in ("point show", "point files"):
            look(*words.split(), last)
        look("point", "diff", first, last)
        run("point", "verify", last, fresh=True)
        run("point", "export", last, "--to", self.at("exported.strongroom"))
        run("point", "hold", first)
        run("point", "release", first)
        run("point", "remove", first, "--yes")
        run("restore", last, "--to", self.at("out"), "--verify")
        run("restore", last, "--to", self.at("by-password"), *there, *self.command("third"))
        run("restore", last, "--to", self.at("by-kit"), *there, "--recovery-key", self.kit)
        run("restore", last, "--to", self.at("no"), *there, *self.password("wrong"), status=12)
        kms = look("point", "list", "vault")["points"][-1]["id"]
        run("restore", kms, "--to", self.at("by-kms"), fresh=True)
        run("restore", kms, "--to", self.at("half"), "--kms", "token")
        chains = look("chain", "list")["chains"]
        look("chain", "show", chains[0]["chain_id"])
        run("recovery", "test", self.kit)
        look("repository", "show", "main")
        for words in ("scrub", "repair", "verify", "rescan"):
            run("repository", words, "main")
        run("repository", "prune", "main", "--yes")
        run("repository", "compact", "main")
        run("repository", "edit", "main", "--vault")
        for words in ("protect", "unhide"):
            run("repository", words, "main", status=2)
        run("repository", "edit", "main", "--no-vault", "--yes-weaken")
        run("guard", "run", self.at("nowhere"), "--days", "1", "--once", status=13)
        run("guard", "confirm-clock", self.at("nowhere"), status=13)
        listed = look("keys", "list")["keys"]
        look("keys", "show", listed[0]["key_id"])

    def copies_are_made(self) -> None:
        run, look = self.run, self.look
        run("repository", "add", "offsite", self.at("copy"))
        run("job", "copy", "create", "away", "--from", "office", "--to", "offsite")
        run("job", "copy", "run", "away")
        look("job", "copy", "list")
        look("job", "copy", "show", "away")
        look("repository", "copy", "main", "offsite", "--with-config")
        run("job", "copy", "remove", "away")
        sealed = ("--encrypt", "password:mine")
        run("job", "copy", "create", "own", "--from", "office", "--to", "offsite", *sealed)
        run("job", "copy", "run", "own", *self.password("third"))
        run("job", "copy", "rewrap", "own", "--yes")
        run("job", "copy", "remove", "own")
        run("repository", "remove", "offsite")

    def the_holder_of_the_kit_is_asked(self) -> None:
        run = self.run
        run("password", "edit", "mine", "--write-only")
        point = json.loads(run("--json", "point", "list", "office"))["points"][-1]["id"]
        request, response = self.at("request"), self.at("response")
        run("recovery", "request", point, "--out", request)
        self.away.run("recovery", "answer", request, self.kit, "--yes", "--out", response)
        run("recovery", "accept", response)
        run("restore", point, "--to", self.at("by-response"))
        self.look("recovery", "requests")
        run("recovery", "forget", point)

    def another_machine_goes_on(self) -> None:
        away, there = self.away, ("--repository", "main")
        away.run("repository", "add", "main", self.at("repository"))
        away.run("repository", "rescan", "main")
        chains = json.loads(away.run("--json", "chain", "list").out)["chains"]
        by_password = [chain for chain in chains if "password" in str(chain["recipients"])]
        newest = [chain for chain in by_password if chain["points"]][-1]
        chain = newest["chain_id"]
        away.run("chain", "unlock", chain, *self.password("wrong"), status=12)
        away.run("chain", "unlock", chain, *self.password("third"), "--keep-secret")
        away.run("repository", "trust", "main", newest["signer"], "--yes")
        away.run("password", "add", "ours", *self.password("first"))
        away.run(
            *("job", "create", "office", *there, "--chain", chain, "--encrypt", "password:ours"),
            *self.command("third", "old-password"),
        )
        away.run("job", "run", "office")

    def the_configuration_comes_back(self) -> None:
        run, look = self.run, self.look
        run("config", "backup")
        look("config", "show")
        look("config", "list", "main")
        where = ("config", "restore", self.at("repository"), "--replace", "--yes")
        run(*where, *self.password("wrong"), status=12)
        run(*where, *self.password("third"))
        run(*where, "--recovery-key", self.kit)
        look("audit", "list", "--limit", "1000")
        look("audit", "show", "1")
        look("audit", "verify")
        old = self.at("secrets") / "key-of-before"
        shutil.move(self.here.environment["STRONGROOM_KEY_FILE"], old)
        run("config", "reprotect", "--old-key-file", self.files["first"], status=12)
        run("config", "reprotect", "--old-key-file", old)

    def things_go_wrong(self) -> None:
        run = self.run
        damaged = self.at("damaged")
        shutil.copytree(self.at("repository"), damaged)
        for pack in damaged.rglob("packs/*/*"):
            pack.chmod(0o600)
            pack.write_bytes(pack.read_bytes()[:100] + bytes(pack.stat().st_size - 100))
        listed = json.loads(run("--json", "point", "list", "office"))["points"]
        office = [point["id"] for point in listed if point["source"].startswith("files:")][-1]
        to, third = ("--to", self.at("no")), self.password("third")
        run("restore", office, *to, "--repository", damaged, *third, status=20)
        run("job", "run", "office", status=12, STRONGROOM_KEY_FILE=str(self.tree))
        run("job", "edit", "office", "--pre-script", "env; false", "--source", "command:exit 3")
        run("job", "run", "office", status=16)
        run("restore", "vault@latest", "--to", self.at("no"), status=13, SOFTHSM2_CONF="/none")
        lacking = self.at("secrets") / "lacking"
        lacking.write_text(self.kit.read_text().replace("check   ", "check   x"))
        run("recovery", "test", lacking, status=2)
        share, *_ = (self.at("secrets") / "shares").iterdir()
        lacking.write_text(share.read_text()[:-12])
        run("recovery", "import", lacking, status=2)
        for bug, *words in (
            ("hpke.seal", "password", "add", "another", *self.password("first")),
            ("aead.seal_value", "job", "run", "vault", "--full"),
            ("hpke.open_sealed", "restore", office, *to, "--recovery-key", self.kit),
            ("recipients.derive_seed", "restore", office, *to, *third),
            ("rsa.PublicKey.encrypt", "job", "run", "vault", "--full"),
        ):
            run(*words, status=1, broken=f"strongroom.crypto.{bug}")

    def things_come_to_their_end(self) -> None:
        run, look = self.run, self.look
        sessions = look("session", "list")["sessions"]
        look("session", "show", sessions[0]["id"])
        look("status", status=3)
        look("clock", "confirm")
        look("report")
        run("report", "--html")
        run("completion", "bash")
        run("job", "detach", "office")
        run("job", "remove", "office", "--yes")
        run("repository", "add", "second", self.at("second"))
        run("repository", "remove", "second")
        run("job", "run", "--help")
        for words in ("job run", "kms show", "password edit", "restore", "repository show"):
            asked = {
                "COMP_WORDS": f"strongroom {words} ",
                "COMP_CWORD": str(len(words.split()) + 1),
            }
            run(_STRONGROOM_COMPLETE="bash_complete", **asked)


def _told(folder: Path, hsm: Path) -> Story:
    with SoftHsm.made(hsm, PIN) as token, echo() as gateway, Observation.begun(folder) as seen:
        variables = {"SOFTHSM2_CONF": str(token.configuration)}
        machines = [WatchedMachine(folder / name, seen, variables) for name in ("here", "away")]
        story = Story(seen, *machines, token, gateway)
        story.secrets_are_made()
        story.key_services_are_known()
        story.places_elsewhere_are_known()
        story.jobs_run()
        story.a_password_changes()
        story.points_are_looked_at()
        story.copies_are_made()
        story.the_holder_of_the_kit_is_asked()
        story.another_machine_goes_on()
        story.the_configuration_comes_back()
        story.things_go_wrong()
        story.things_come_to_their_end()
    return story


def _check_that_every_command_did_its_work(story: Story) -> None:
    well = {command for command, statuses in story.seen.ended.items() if statuses & {0, 3}}
    assert LEAVES - well == _WITHOUT_SECRETS


def _check_that_secrets_of_every_kind_were_held(story: Story) -> None:
    kinds = {*story.seen.secrets.values()}
    assert kinds >= {
        *("first", "Seed", "SessionKey", "MetaKey", "DedupKey", "PackedSecrets", "chunker seed"),
        *("KeystoreKey", "AuditKey", "WrappingKey", "SecretBytes", "share", "client key", "typed"),
        *(f"derived: strongroom/1/{what}" for what in ("hpke", "pack", "sign/ed25519")),
    }
    assert len(story.seen.secrets) > 200


def _check_that_all_there_is_was_searched(story: Story) -> None:
    """Whatever the commands wrote, started and sent is among what was looked through."""
    everything, watch = story.seen.everything(), story.seen.watch
    assert b"session.finished" in everything["here/home.before-restore-1/strongroom.log"]
    assert everything["syslog"].count(b"strongroom@32473") > 50
    for started in (b"-m\0strongroom", b"sleep\x000.02", b"bash\0-c"):
        assert any(started in one for one in watch.arguments), started
    whats = ("pre", "source", "post", "failure", "password-command", "old-password-command")
    for what in (*whats, "secret-command"):
        assert b"STRONGROOM_HOME=" in everything[f"variables/{what}"]
    assert {name.partition("/")[0] for name in everything} >= {"here", "away", "repository"}


def _check_that_nothing_protected_is_readable(story: Story) -> None:
    """A home knows the jobs, so their names and sources stand there; contents do not."""
    everything = story.seen.everything()
    marks = {"here/home/": (CONTENT, NAME), "away/home/": (CONTENT, NAME)}
    marks["repository/"] = (CONTENT, NAME, OUTPUT, "office", str(story.tree))
    for folder, unseen in marks.items():
        files = {name: data for name, data in everything.items() if name.startswith(folder)}
        assert len(files) > 10
        for mark in unseen:
            assert [name for name, data in files.items() if mark.encode() in data] == []
            assert [name for name in files if mark in name] == []


def _check_that_files_are_their_owners_alone(story: Story) -> None:
    home = story.here.home
    paths = [home, home / "strongroom.log", home / "keystore", *(home / "keystore").rglob("*")]
    for path in (*paths, Path(story.here.environment["STRONGROOM_KEY_FILE"])):
        assert path.stat().st_mode & 0o077 == 0, path


def test_no_secret_is_written_said_sent_or_shown_to_other_processes(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """One test and not one for each claim: the story would be told in every worker."""
    story = _told(tmp_path_factory.mktemp("hygiene"), tmp_path_factory.mktemp("token"))
    _check_that_every_command_did_its_work(story)
    _check_that_secrets_of_every_kind_were_held(story)
    _check_that_all_there_is_was_searched(story)
    _check_that_nothing_protected_is_readable(story)
    _check_that_files_are_their_owners_alone(story)
    assert story.seen.leaks() == {}


# --- the search itself ---------------------------------------------------------------------------

KEY = bytes(range(131, 163))
WORDS = b"academic acid acne acquire acrobat activity actress adapt adequate adjust"


def _by_file(seen: Observation, secret: str) -> None:
    (seen.folder / "here" / "log").write_text(f"a line with {secret} in it")


def _by_name(seen: Observation, secret: str) -> None:
    (seen.folder / "here" / secret).touch()


def _by_temporary_file(seen: Observation, secret: str) -> None:
    path = seen.folder / "temporary" / "file"
    path.write_text(secret)
    time.sleep(0.2)
    path.unlink()


def _by_argument(seen: Observation, secret: str) -> None:
    subprocess.run(["sh", "-c", "sleep 0.2; true", secret], check=True)


def _by_variable_of_a_grandchild(seen: Observation, secret: str) -> None:
    subprocess.run(["sh", "-c", f"IT={secret} sleep 0.2; true"], check=True)


def _by_syslog(seen: Observation, secret: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(secret.encode(), ("127.0.0.1", seen.port))


def _by_traceback(seen: Observation, secret: str) -> None:
    machine = WatchedMachine(seen.folder / "away", seen)
    bug = {"broken": "strongroom.control.repositories.list_all", "words_of_bug": secret}
    machine.run("repository", "add", "main", seen.folder / "repository")
    machine.run("repository", "list", status=1, **bug)


def _by_environment_handed_on(seen: Observation, secret: str) -> None:
    machine = WatchedMachine(seen.folder / "away", seen, {"LEFT_IN": secret})
    reading = f"env >{seen.folder}/variables; echo short"
    machine.run("password", "add", "mine", "--password-command", reading, status=2)


@pytest.mark.parametrize(
    "plant",
    [
        *(_by_file, _by_name, _by_temporary_file, _by_argument, _by_variable_of_a_grandchild),
        *(_by_syslog, _by_traceback, _by_environment_handed_on),
    ],
)
def test_a_secret_that_is_planted_is_found(plant: Callable[..., None], tmp_path: Path) -> None:
    secret = "planted-where-it-must-not-be"
    with Observation.begun(tmp_path) as seen:
        (tmp_path / "here").mkdir()
        seen.secrets[secret.encode()] = "planted"
        plant(seen, secret)
    assert {kind for kinds in seen.leaks().values() for kind in kinds} == {"planted"}


@pytest.mark.parametrize(
    "written",
    [
        KEY,
        KEY.hex().encode(),
        KEY.hex("-").upper().encode(),
        base64.b64encode(KEY),
        base64.urlsafe_b64encode(b"1" + KEY + b"2"),
        base64.b64encode(b"12" + KEY),
        repr(KEY).encode(),
        json.dumps(KEY.decode("latin-1")).encode(),
        "-".join(textwrap.wrap(base64.b32encode(KEY).decode().lower(), 4)).encode(),
        b"\n".join(b"%4d  %s" % (n, word) for n, word in enumerate(WORDS.split(), start=1)),
    ],
)
def test_a_secret_is_found_however_it_is_written(written: bytes) -> None:
    search = SecretSearch({KEY: "key", WORDS: "words"})
    assert len(search.found_in(b"before it " + written + b" behind it")) == 1
    assert search.found_in(b"before it " + written[: len(written) // 4] + b" behind it") == set()
