"""Jobs that are sealed for a KMS, from its first key to its last; sessions really run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from strongroom.catalog import kms as rows
from strongroom.control import (
    audit,
    copy_jobs,
    jobs,
    kms,
    kms_keys,
    passwords,
    recovery,
    reencryption,
    repositories,
    sessions,
)
from strongroom.control.access import Access, open_reading
from strongroom.control.context import Context
from strongroom.control.jobs import JobChanges, JobRequest
from strongroom.control.kms import Given
from strongroom.control.secrets import SecretSource
from strongroom.crypto.kdf import MINIMUM
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.engine.restore import RestoreRequest, restore
from strongroom.errors import (
    InUseError,
    InvalidInputError,
    KmsUnavailableError,
    NotFoundError,
    RefusedError,
    SecretRequiredError,
    StrongroomError,
    UnlockError,
    UnvouchedError,
)
from strongroom.kms.base import KeyState
from strongroom.kms.failover import FailoverKms
from strongroom.repository.repository import Repository
from strongroom.settings import Settings
from strongroom.testing.local_kms import LocalKms, LocalKmsServer
from strongroom.testing.memory_storage import MemoryStorage
from strongroom.testing.turned_clock import TurnedClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.control.sessions import SessionResult
    from strongroom.engine.points import PointView
    from strongroom.kms.base import Kms, KmsKey, Surroundings
    from strongroom.storage.base import Storage

URL = "aws://north-1"
OTHER_URL = "aws://north-2"
PASSWORD = "Mauve-otters-juggle-7-lanterns"


@dataclass
class Works:
    """A KMS with two endpoints, a repository, and machines that use both."""

    folder: Path
    server: LocalKmsServer = field(default_factory=LocalKmsServer)
    storage: MemoryStorage = field(default_factory=MemoryStorage)
    away_storage: MemoryStorage = field(default_factory=MemoryStorage)
    """A second repository, /away."""
    clock: TurnedClock = field(default_factory=TurnedClock)
    machines: dict[str, Context] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.endpoints = {url: LocalKms(self.server, url, "aws") for url in (URL, OTHER_URL)}

    def machine(self, name: str = "server") -> Context:
        if name not in self.machines:

            def open_storage(location: str, create: bool) -> Storage:
                return self.away_storage if location.endswith("/away") else self.storage

            def open_kms(urls: Sequence[str], surroundings: Surroundings) -> Kms:
                return FailoverKms([self.endpoints[url] for url in urls])

            self.machines[name] = Context(
                Settings(self.folder / name, self.folder / f"{name}-key"),
                self.clock,
                warn=self.said.append,
                open_storage=open_storage,
                open_kms=open_kms,
                derivation=lambda: MINIMUM,
            )
        return self.machines[name]

    @property
    def ctx(self) -> Context:
        return self.machine()

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    def job(self, encrypt: str = "kms:corp", name: str = "nightly", **options: object):
        request = JobRequest(
            name=name,
            repository="main",
            encrypt=encrypt,
            sources=(f"files:{self.tree}",),
            keep_last=50,
            **options,  # type: ignore[arg-type]
        )
        return jobs.create(self.ctx, request)

    def run(self, name: str = "nightly", text: str | None = None) -> SessionResult:
        if text is not None:
            (self.tree / "file").write_text(text)
        return sessions.run(
            self.ctx, name, full=False, progress=NullProgress(), cancel=Cancellation()
        )

    def restored(self, which: str, machine: str = "server", **access: object) -> str:
        target = self.folder / f"restored-{len(list(self.folder.iterdir()))}"
        reading = open_reading(self.machine(machine), Access(**access))  # type: ignore[arg-type]
        restore(
            reading.select(which),
            RestoreRequest(target=target, strip=True),
            progress=NullProgress(),
            cancel=Cancellation(),
        )
        return (target / "file").read_text()

    def kms_key(self, name: str = "nightly") -> str:
        row = rows.get(self.ctx.database, "corp")
        job = jobs.jobs.get(self.ctx.database, name)
        key = rows.key_of_job(self.ctx.database, row.kms_id, job.job_id)
        assert key is not None
        return key.key

    def away(self, *urls: str) -> None:
        for url, endpoint in self.endpoints.items():
            endpoint.away = url in urls


@pytest.fixture
def works(tmp_path: Path) -> Iterator[Works]:
    works = Works(tmp_path)
    works.tree.mkdir()
    (works.tree / "file").write_text("first")
    repositories.add(works.ctx, "main", "/main")
    kms.add(works.ctx, "corp", (URL, OTHER_URL), Given())
    yield works
    for machine in works.machines.values():
        machine.close()


def secret(text: str = PASSWORD) -> SecretSource:
    return SecretSource(environment="SECRET", variables={"SECRET": text})


# --- round trips ------------------------------------------------------------------------------


def test_a_job_is_sealed_for_a_key_of_its_own_and_opens_with_one_call(works: Works) -> None:
    works.job()
    works.job(name="weekly")
    names = {held.name for held in works.server.held.values()}
    assert {name.rpartition("-")[0] for name in names} == {
        "strongroom-nightly",
        "strongroom-weekly",
    }
    point = works.run().points[0]
    works.server.calls.clear()
    assert works.restored(point) == "first"
    # Who made it is known here, so nobody is asked to vouch.
    assert works.server.calls == {"decrypt": 1}


def test_a_restore_of_the_newest_of_many_points_asks_once(works: Works) -> None:
    works.job()
    for text in ("one", "two", "three"):
        newest = works.run(text=text).points[0]
    works.server.calls.clear()
    assert works.restored(newest) == "three"
    assert works.server.calls["decrypt"] == 1
    assert works.server.calls["keys"] == 0


def test_a_server_restores_its_own_points_without_having_itself_vouched_for(works: Works) -> None:
    works.job()
    point = works.run().points[0]
    works.server.calls.clear()
    assert works.restored(point) == "first"
    assert works.server.calls == {"decrypt": 1}


def test_listing_points_and_their_sizes_asks_nobody(works: Works) -> None:
    works.job()
    works.run()
    works.away(URL, OTHER_URL)
    works.server.calls.clear()
    reading = open_reading(works.ctx, Access())
    assert [view.details is not None for view in reading.points] == [True]
    assert not works.server.calls


def test_what_a_kms_opens_is_written_down_when_it_does(works: Works) -> None:
    works.job()
    point = works.run().points[0]
    before = len(audit.list_records(works.ctx, event="keys.unwrapped"))
    works.restored(point)
    records = audit.list_records(works.ctx, event="keys.unwrapped")[before:]
    assert [record.fields["by"] for record in records] == ["keystore", "kms"]


def test_no_private_half_and_no_name_is_in_the_repository(works: Works) -> None:
    works.job()
    works.run()
    stored = b"".join(works.storage.get(info.key) for info in works.storage.list(""))
    for key, held in works.server.held.items():
        assert held.private not in stored
        assert key.encode() not in stored
        assert held.name.encode() not in stored


def test_nothing_kept_on_the_server_opens_the_data(works: Works) -> None:
    works.job()
    point = works.run().points[0]
    works.away(URL, OTHER_URL)
    with pytest.raises(KmsUnavailableError):
        works.restored(point)
    chain = works.ctx.keystore
    from strongroom.keystore import ChainRecord

    assert all(
        chain.get(ChainRecord, name).chain_key_seed is None for name in chain.names(ChainRecord)
    )


def test_a_bare_machine_with_the_kms_opens_everything_and_finds_the_key_by_itself(
    works: Works,
) -> None:
    works.job()
    point = works.run().points[0]
    kms.add(works.machine("bare"), "same", (URL,), Given())
    assert works.restored(point, "bare", where="/main", kms=("same",)) == "first"
    assert works.restored(point, "bare", where="/main") == "first"


def test_a_bare_machine_without_rights_at_the_kms_is_told_which_key_it_was(works: Works) -> None:
    works.job()
    point = works.run().points[0]
    kms.add(works.machine("bare"), "same", (URL,), Given())
    works.server.may = False
    with pytest.raises((RefusedError, UnlockError)):
        works.restored(point, "bare", where="/main", kms=("same",))


# --- vouching ---------------------------------------------------------------------------------


def test_who_restores_elsewhere_has_the_vouch_verified_and_makes_none(works: Works) -> None:
    works.job()
    point = works.run().points[0]
    bare = works.machine("bare")
    kms.add(bare, "same", (URL,), Given())
    works.server.calls.clear()
    assert works.restored(point, "bare", where="/main", kms=("same",)) == "first"
    assert works.server.calls["decrypt"] == 1
    assert works.server.calls["verify_mac"] == 1
    assert works.server.calls["mac"] == 0


def test_a_forged_chain_sealed_to_the_public_half_is_refused(works: Works) -> None:
    works.job()
    works.run()
    forged = _forge(works)
    kms.add(works.machine("bare"), "same", (URL,), Given())
    bare = works.machine("bare")
    reading = open_reading(bare, Access(where="/main", kms=("same",)))
    problems = dict(reading.problems)
    assert isinstance(problems[forged], UnvouchedError)
    with pytest.raises(UnvouchedError):
        reading.select("nightly@latest")


def test_a_kms_that_cannot_vouch_needs_the_signer_pinned(tmp_path: Path) -> None:
    works = Works(tmp_path, LocalKmsServer(can_vouch=False))
    works.tree.mkdir()
    (works.tree / "file").write_text("first")
    repositories.add(works.ctx, "main", "/main")
    added = kms.add(works.ctx, "corp", (URL,), Given())
    assert any("does not vouch" in notice for notice in added.notices)
    works.job()
    point = works.run().points[0]
    bare = works.machine("bare")
    kms.add(bare, "same", (URL,), Given())
    with pytest.raises(UnvouchedError):
        works.restored(point, "bare", where="/main", kms=("same",))
    fingerprint = works.ctx.identity.public.fingerprint
    assert (
        works.restored(point, "bare", where="/main", kms=("same",), signers=(fingerprint,))
        == "first"
    )
    for machine in works.machines.values():
        machine.close()


def _forge(works: Works) -> bytes:
    """Begin a chain as somebody who knows nothing but the public half; return its id."""
    from dataclasses import replace

    from strongroom.control import keys
    from strongroom.crypto import random
    from strongroom.crypto.signing import SigningKey
    from strongroom.repository.rekey import start_chain

    job = jobs.jobs.get(works.ctx.database, "nightly")
    (recipient,) = keys.recipients(works.ctx, job)
    stolen = next(
        stanza
        for chain_id in Repository.open(works.storage).chain_ids()
        for envelope in Repository.open(works.storage).chain(chain_id).wrapped.envelopes().values()
        for stanza in envelope.stanzas
    )
    stranger = SigningKey.from_seed(random.seed())
    # The vouch is copied from the real chain: it is for the real identity.
    forged = replace(recipient, vouch=stolen.vouch)  # type: ignore[type-var]
    chain, _ = start_chain(works.storage, job.job_id, [forged], stranger, works.clock, None)
    return chain.chain_id


# --- rotation ---------------------------------------------------------------------------------


def test_a_rotation_at_the_server_is_learned_and_the_next_session_is_an_increment(
    works: Works,
) -> None:
    works.job()
    old = works.run(text="old").points[0]
    before = works.kms_key()
    works.server.make(rows_name(works), 3072)
    result = kms_keys.sync(works.ctx, "corp")
    assert result.rotated == (rows_name(works),)
    assert works.kms_key() != before
    session = works.run(text="new")
    assert session.kind == "incremental"
    works.server.calls.clear()
    assert works.restored(old) == "old"
    assert works.restored(session.points[0]) == "new"
    # The old key is needed no longer on this way: the link leads to what it sealed.
    works.server.set_state(before, KeyState.DESTROYED)
    assert works.restored(old) == "old"


def test_re_encrypted_points_need_the_newest_key_alone(works: Works) -> None:
    works.job()
    point = works.run(text="old").points[0]
    before = works.kms_key()
    works.server.make(rows_name(works), 3072)
    kms_keys.sync(works.ctx, "corp")
    result = reencryption.reencrypt(
        works.ctx, "nightly", yes=True, progress=NullProgress(), cancel=Cancellation()
    )
    assert [one.state for one in result.chains] == ["reencrypted"]
    works.server.set_state(before, KeyState.DESTROYED)
    assert works.restored(point) == "old"
    session = works.run(text="new")
    assert session.kind == "incremental"
    assert works.restored(session.points[0]) == "new"


def rows_name(works: Works) -> str:
    row = rows.get(works.ctx.database, "corp")
    return rows.keys_of(works.ctx.database, row.kms_id)[0].name


def test_a_session_syncs_by_itself_when_the_last_time_is_a_day_ago(works: Works) -> None:
    works.job()
    works.run()
    before = works.kms_key()
    works.server.make(rows_name(works), 3072)
    works.clock.advance(timedelta(hours=23))
    works.run()
    assert works.kms_key() == before
    works.clock.advance(timedelta(hours=2))
    assert works.run().kind == "incremental"
    assert works.kms_key() != before


def test_rotation_can_be_asked_for(works: Works) -> None:
    works.job()
    works.job(name="weekly")
    before = works.kms_key(), works.kms_key("weekly")
    result = kms_keys.rotate(works.ctx, "corp", "nightly")
    assert len(result.rotated) == 1
    assert works.kms_key() != before[0]
    assert works.kms_key("weekly") == before[1]


def test_rotation_reaches_copies_and_their_next_run_follows(works: Works) -> None:
    repositories.add(works.ctx, "away", "/away")
    passwords.add(works.ctx, "mine", secret())
    works.job("password:mine")
    copy_jobs.create(
        works.ctx, "copy", "nightly", "away", after_run=True, encrypt="kms:corp", recovery=False
    )
    old = works.run(text="old").points[0]
    (before,) = works.server.held
    result = kms_keys.rotate(works.ctx, "corp", "copy")
    assert len(result.rotated) == 1
    (after,) = works.server.held.keys() - {before}
    assert works.run(text="new").state == "success"
    # The key in force, and the one from before through the link: with the new one alone.
    works.server.set_state(before, KeyState.DESTROYED)
    assert after != before
    assert works.restored("nightly@latest", where="away", kms=("corp",)) == "new"
    assert works.restored(old, where="away", kms=("corp",)) == "old"


@pytest.mark.parametrize("state", [KeyState.DISABLED, KeyState.CONDEMNED, KeyState.DESTROYED])
def test_a_key_that_opens_nothing_any_longer_is_reported_with_its_points(
    works: Works, state: KeyState
) -> None:
    works.job()
    point = works.run().points[0]
    works.server.set_state(works.kms_key(), state)
    result = kms_keys.sync(works.ctx, "corp")
    (warning,) = result.warnings
    assert point[:12] in warning
    assert "1 point" in warning
    with pytest.raises(RefusedError) as caught:
        works.restored(point)
    assert works.kms_key() in str(caught.value)


def test_nothing_is_sealed_for_a_key_that_is_destroyed(works: Works) -> None:
    works.job()
    works.run()
    works.server.set_state(works.kms_key(), KeyState.DESTROYED)
    with pytest.raises(RefusedError, match="destroyed") as caught:
        works.run()
    assert works.kms_key() in str(caught.value)
    kms_keys.rotate(works.ctx, "corp", "nightly")
    session = works.run(text="after")
    assert session.kind == "full"
    assert works.restored(session.points[0]) == "after"


def test_a_key_that_was_destroyed_with_its_name_is_followed_by_one_of_another_name(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    works.job()
    name, lost = rows_name(works), works.kms_key()
    works.server.set_state(lost, KeyState.DESTROYED)

    def gone(self: LocalKms, name: str, bits: int) -> KmsKey:
        raise NotFoundError(f"there is no key {name}")

    monkeypatch.setattr(LocalKms, "rotate", gone)
    assert kms_keys.rotate(works.ctx, "corp", "nightly").rotated == (f"{name}-2",)
    assert works.kms_key() != lost
    session = works.run(text="after")
    assert works.restored(session.points[0]) == "after"
    monkeypatch.undo()
    works.server.make(f"{name}-2", 3072)
    assert kms_keys.sync(works.ctx, "corp").rotated == (f"{name}-2",)


@pytest.mark.parametrize("state", [KeyState.DISABLED, KeyState.DESTROYED])
def test_what_was_sealed_for_an_older_key_opens_although_the_newest_opens_nothing(
    works: Works, state: KeyState
) -> None:
    works.job()
    old = works.run(text="old").points[0]
    kms_keys.rotate(works.ctx, "corp", "nightly")
    new = works.run(text="new").points[0]
    works.server.set_state(works.kms_key(), state)
    kms.add(works.machine("bare"), "same", (URL,), Given())
    for machine, access in (("server", {}), ("bare", {"where": "/main", "kms": ("same",)})):
        assert works.restored(old, machine, **access) == "old"
        # A machine that knows nothing of a key that is destroyed finds none for the point.
        with pytest.raises((RefusedError, UnlockError)):
            works.restored(new, machine, **access)
    kms_keys.rotate(works.ctx, "corp", "nightly")
    session = works.run(text="after")
    assert session.kind == "full"
    assert "no link to the present key" in session.warnings[-1]


def test_nothing_is_sealed_to_a_key_in_whose_place_there_is_another(works: Works) -> None:
    works.job()
    point, key = works.run().points[0], works.kms_key()
    other = works.server.held.pop(works.server.make("other", 3072).key)
    works.server.held[key].private = other.private
    works.server.held[key].public = other.public
    (warning,) = kms_keys.sync(works.ctx, "corp").warnings
    assert "is destroyed" in warning
    assert point[:12] in warning
    for _ in range(2):
        with pytest.raises(RefusedError, match="is destroyed"):
            works.run()
    kms_keys.rotate(works.ctx, "corp", "nightly")
    jobs.detach(works.ctx, "nightly")  # what it did not seal, it does not open: a chain's end
    assert works.restored(works.run(text="after").points[0]) == "after"


def test_a_key_that_is_refused_keeps_other_jobs_from_nothing(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    works.job()
    works.job(name="weekly")
    refused, newest_key = rows_name(works), LocalKms.newest_key

    def newest(self: LocalKms, name: str) -> KmsKey:
        if name == refused:
            raise RefusedError(f"no right to {name}")
        return newest_key(self, name)

    monkeypatch.setattr(LocalKms, "newest_key", newest)
    (said,) = works.run("nightly").warnings
    assert said.endswith(f"no right to {refused}")
    works.clock.advance(timedelta(days=2))
    assert works.run("weekly").warnings == ()
    kms.edit(works.ctx, "corp", strict=True)
    works.clock.advance(timedelta(days=2))
    with pytest.raises(RefusedError, match=refused):
        works.run("nightly")
    (other,) = {key.name for key in kms.show(works.ctx, "corp").kms.keys} - {refused}
    works.server.make(other, 3072)
    result = kms_keys.sync(works.ctx, "corp")
    assert (result.rotated, result.warnings) == ((other,), (f"no right to {refused}",))


def test_a_key_that_nobody_needs_any_longer_is_not_reported(works: Works) -> None:
    works.job()
    old = works.kms_key()
    kms_keys.rotate(works.ctx, "corp", "nightly")
    works.run()
    works.server.set_state(old, KeyState.DESTROYED)
    assert kms_keys.sync(works.ctx, "corp").warnings == ()
    assert works.run().state == "success"


# --- guarded jobs -----------------------------------------------------------------------------


def test_a_guarded_job_asks_the_kms_only_where_it_was_named(works: Works) -> None:
    works.job(secret_to_read=True)
    point = works.run(text="old").points[0]
    works.server.calls.clear()
    with pytest.raises(UnlockError):
        works.restored(point)
    with pytest.raises(SecretRequiredError):
        open_reading(works.ctx, Access(), which=[point])
    assert not works.server.calls
    assert works.restored(point, kms=("corp",)) == "old"
    kms_keys.rotate(works.ctx, "corp", "nightly")
    assert works.run(text="new").kind == "incremental"


def test_a_guarded_job_that_is_sealed_for_somebody_else_begins_a_new_chain(works: Works) -> None:
    works.job(secret_to_read=True)
    point = works.run(text="old").points[0]
    passwords.add(works.ctx, "mine", SecretSource(environment="P", variables={"P": PASSWORD}))
    result = jobs.edit(works.ctx, "nightly", JobChanges(encrypt="password:mine"))
    assert any("new chain" in notice for notice in result.notices)
    assert works.run().kind == "full"
    mine = SecretSource(environment="P", variables={"P": PASSWORD})
    with pytest.raises(UnlockError):
        works.restored(point, secrets=(mine,))


# --- outage -----------------------------------------------------------------------------------


def test_a_backup_goes_on_with_a_warning_while_the_kms_is_away(works: Works) -> None:
    works.job()
    works.run()
    works.away(URL, OTHER_URL)
    session = works.run(text="during")
    assert session.state == "warning"
    (warning,) = session.warnings
    assert "corp" in warning
    works.away()
    assert works.restored(session.points[0]) == "during"


def test_a_strict_kms_that_is_away_fails_the_session(works: Works) -> None:
    works.job()
    works.run()
    kms.edit(works.ctx, "corp", strict=True)
    works.away(URL, OTHER_URL)
    with pytest.raises(KmsUnavailableError):
        works.run(text="during")


def test_the_second_endpoint_serves_while_the_first_is_dead(works: Works) -> None:
    works.away(URL)
    works.job()
    session = works.run()
    assert session.state == "success"
    assert works.restored(session.points[0]) == "first"


def test_a_restore_while_all_are_away_names_the_kms_and_what_was_tried(works: Works) -> None:
    works.job()
    point = works.run().points[0]
    works.away(URL, OTHER_URL)
    with pytest.raises(KmsUnavailableError) as caught:
        works.restored(point)
    message = str(caught.value)
    assert URL in message
    assert OTHER_URL in message
    assert "corp" in message
    assert works.kms_key() in message


def test_a_kms_that_is_away_makes_no_job_without_a_key(works: Works) -> None:
    works.away(URL, OTHER_URL)
    with pytest.raises(KmsUnavailableError):
        works.job()
    assert jobs.list_all(works.ctx) == ()


# --- switching --------------------------------------------------------------------------------


def test_from_a_password_to_a_kms_and_back_in_one_chain(works: Works) -> None:
    passwords.add(works.ctx, "office", secret())
    works.job("password:office")
    points = [works.run(text="by password").points[0]]
    jobs.edit(works.ctx, "nightly", JobChanges(encrypt="kms:corp"))
    session = works.run(text="by kms")
    assert session.kind == "incremental"
    points.append(session.points[0])
    jobs.edit(works.ctx, "nightly", JobChanges(encrypt="password:office"))
    session = works.run(text="by password again")
    assert session.kind == "incremental"
    points.append(session.points[0])
    works.away(URL, OTHER_URL)
    found = [works.restored(point, "bare", where="/main", secrets=(secret(),)) for point in points]
    assert found == ["by password", "by kms", "by password again"]


def test_without_links_a_mixed_chain_needs_the_password_and_the_kms(works: Works) -> None:
    (works.tree / "kept").write_text("kept")  # newer points build on it
    passwords.add(works.ctx, "office", secret(), hint="drawer")
    works.job("password:office")
    points = [works.run(text="by password").points[0]]
    jobs.edit(works.ctx, "nightly", JobChanges(encrypt="kms:corp"))
    points.append(works.run(text="by kms").points[0])
    for info in [one for one in works.storage.list() if "/links/" in one.key]:
        works.storage.delete(info.key)
    bare = works.machine("bare")
    kms.add(bare, "same", (URL,), Given())

    reading = open_reading(bare, Access(where="/main", kms=("same",)))
    with pytest.raises(UnlockError, match=r"needs password \w{12} \(hint: drawer\)"):
        reading.check_whole(reading.select(points[1]))
    reading = open_reading(bare, Access(where="/main", secrets=(secret(),)))
    with pytest.raises(UnlockError, match=r"needs KMS key \w{12} \(corp\)"):
        reading.select(points[1])
    both = {"where": "/main", "secrets": (secret(),), "kms": ("same",)}
    found = [works.restored(point, "bare", **both) for point in points]
    assert found == ["by password", "by kms"]
    works.away(URL)
    reading = open_reading(bare, Access(**both))  # type: ignore[arg-type]
    assert [view.details is not None for view in reading.points] == [True, False]
    assert any("KMS same" in warning for warning in reading.warnings)


def test_while_its_kms_is_away_a_job_goes_on_under_a_password_and_the_link_follows(
    works: Works,
) -> None:
    (works.tree / "kept").write_text("kept")
    works.job()
    points = [works.run(text="by kms").points[0]]
    passwords.add(works.ctx, "office", secret())
    works.away(URL, OTHER_URL)
    changes = JobChanges(encrypt="password:office")
    done = jobs.edit(works.ctx, "nightly", changes, link_later=True)
    assert any("without a link" in notice for notice in done.notices)
    session = works.run(text="by password")
    assert session.kind == "incremental"
    points.append(session.points[0])
    alone = Access(where="/main", secrets=(secret(),))
    assert open_reading(works.machine("bare"), alone).needs(_newest(works, alone)) != []
    with pytest.raises(InUseError, match="2 points"):
        kms.remove(works.ctx, "corp")
    # What opens without the KMS opens, on the server too.
    assert _newest(works, Access(), "server").details is not None

    works.away()
    assert works.run(text="and on").kind == "incremental"
    works.away(URL, OTHER_URL)
    assert [
        works.restored(one, "bare", where="/main", secrets=alone.secrets) for one in points
    ] == [
        "by kms",
        "by password",
    ]
    kms.remove(works.ctx, "corp")


def _newest(works: Works, access: Access, machine: str = "bare") -> PointView:
    return open_reading(works.machine(machine), access).points[-1]


def test_the_newest_kms_key_opens_what_a_password_sealed_before(works: Works) -> None:
    passwords.add(works.ctx, "office", secret())
    works.job("password:office")
    old = works.run(text="by password").points[0]
    jobs.edit(works.ctx, "nightly", JobChanges(encrypt="kms:corp"))
    works.run(text="by kms")
    kms.add(works.machine("bare"), "same", (URL,), Given())
    assert works.restored(old, "bare", where="/main", kms=("same",)) == "by password"


def test_a_recovery_kit_joins_a_kms_job_with_an_increment(works: Works) -> None:
    assert any("KMS key" in warning for warning in works.job().warnings)
    works.run()
    recovery.create(works.ctx, works.folder / "kit")
    session = works.run(text="second")
    assert session.kind == "incremental"
    works.away(URL, OTHER_URL)
    kit = works.folder / "kit"
    assert (
        works.restored(session.points[0], "bare", where="/main", recovery_keys=(kit,)) == "second"
    )


# --- the local half ---------------------------------------------------------------------------


def test_a_local_half_needs_a_kit_that_carries_it(works: Works) -> None:
    with pytest.raises(InvalidInputError, match="recovery kit"):
        works.job(local_half=True)


def test_with_a_local_half_the_kms_alone_opens_nothing(works: Works) -> None:
    recovery.create(works.ctx, works.folder / "kit")
    works.job(local_half=True, recovery=False)
    point = works.run().points[0]
    assert works.restored(point) == "first"
    kms.add(works.machine("bare"), "same", (URL,), Given())
    with pytest.raises(UnlockError, match="local half"):
        works.restored(point, "bare", where="/main", kms=("same",))
    kit = works.folder / "kit"
    with pytest.raises(StrongroomError):
        works.restored(point, "bare", where="/main", recovery_keys=(kit,))
    both = works.restored(point, "bare", where="/main", kms=("same",), recovery_keys=(kit,))
    assert both == "first"


@pytest.mark.parametrize("kept", [False, True], ids=["named", "of the catalog"])
def test_a_point_that_stays_locked_beside_others_says_why(works: Works, kept: bool) -> None:
    recovery.create(works.ctx, works.folder / "kit")
    works.job()
    works.job(name="weekly", local_half=True, recovery=False)
    nightly, weekly = works.run().points[0], works.run("weekly").points[0]
    kms.add(works.machine("bare"), "same", (URL,), Given())
    access = {"where": "/main"} if kept else {"where": "/main", "kms": ("same",)}
    assert works.restored(nightly, "bare", **access) == "first"
    with pytest.raises(UnlockError, match="local half"):
        works.restored(weekly, "bare", **access)
    works.job(name="third")
    third = works.run("third").points[0]
    works.server.set_state(works.kms_key("third"), KeyState.DISABLED)
    with pytest.raises(RefusedError, match=works.kms_key("third")):
        works.restored(third, "bare", **access)


def test_a_new_kit_brings_a_new_local_half_and_the_old_points_stay_open(works: Works) -> None:
    recovery.create(works.ctx, works.folder / "kit")
    works.job(local_half=True)
    old = works.run(text="old").points[0]
    recovery.create(works.ctx, works.folder / "kit2")
    session = works.run(text="new")
    assert session.kind == "incremental"
    assert works.restored(old) == "old"
    assert works.restored(session.points[0]) == "new"


# --- the list of KMS --------------------------------------------------------------------------


def test_a_kms_that_is_needed_is_not_forgotten(works: Works) -> None:
    passwords.add(works.ctx, "office", secret())
    works.job()
    works.run()
    with pytest.raises(InUseError, match="job nightly"):
        kms.remove(works.ctx, "corp")
    jobs.remove(works.ctx, "nightly", yes=True)
    with pytest.raises(InUseError) as caught:
        kms.remove(works.ctx, "corp")
    assert "1 point" in str(caught.value)


def test_a_kms_that_nobody_needs_is_forgotten(works: Works) -> None:
    works.job()
    jobs.remove(works.ctx, "nightly", yes=True)
    kms.remove(works.ctx, "corp")
    assert kms.list_all(works.ctx) == ()
    with pytest.raises(NotFoundError):
        kms.show(works.ctx, "corp")


def test_a_kms_that_does_not_answer_is_not_added(works: Works) -> None:
    works.away(URL, OTHER_URL)
    with pytest.raises(KmsUnavailableError):
        kms.add(works.ctx, "other", (URL,), Given())
    assert [view.name for view in kms.list_all(works.ctx)] == ["corp"]


def test_a_test_tells_of_every_endpoint_and_every_key(works: Works) -> None:
    works.job()
    works.run()
    works.away(URL)
    result = kms.test(works.ctx, "corp")
    assert not result.ok
    assert [one.ok for one in result.endpoints] == [False, True]
    assert [one.opened for one in result.keys] == [True]
    works.away()
    works.server.set_state(works.kms_key(), KeyState.DISABLED)
    result = kms.test(works.ctx, "corp")
    assert [one.ok for one in result.endpoints] == [True, True]
    assert [one.opened for one in result.keys] == [False]


def test_a_url_with_a_secret_in_it_is_refused_and_not_repeated(works: Works) -> None:
    with pytest.raises(InvalidInputError) as caught:
        kms.add(works.ctx, "other", ("transit+https://me:hunter2@host/transit",), Given())
    assert "hunter2" not in str(caught.value)
