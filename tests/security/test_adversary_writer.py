"""The store is the enemy of the next session too: it publishes the truth, or nothing.

What the storage shows while a session runs is undone afterwards. What was published meanwhile has
to restore as the source was, and the signed history has to miss nothing that was promised.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING

import msgspec
import pytest

from strongroom.control import care, exports, passwords
from strongroom.control.access import Access
from strongroom.crypto import random
from strongroom.crypto.content import fingerprint
from strongroom.crypto.hpke import PublicKey
from strongroom.crypto.recipients import make_recovery_recipient
from strongroom.crypto.signing import SigningKey
from strongroom.engine.adoption import PackNotes
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.errors import (
    EnvelopeDamagedError,
    FencedError,
    ForgedError,
    IntegrityError,
    MalformedError,
    PointWithheldError,
    RefusedError,
    RolledBackError,
    StorageUnavailableError,
    StrongroomError,
)
from strongroom.format import header as headers
from strongroom.format import pack as packs
from strongroom.format.block import BlockClass
from strongroom.format.codec import MAX_SMALL, decode, encode
from strongroom.format.index import CLUSTER
from strongroom.format.journal import DeathBody, SessionBody
from strongroom.format.paging import TableRoot
from strongroom.repository import layout, rekey
from strongroom.repository.append import append_entry
from strongroom.repository.chain import Chain
from strongroom.repository.repository import Repository
from strongroom.testing.adversary_storage import AdversaryStorage
from strongroom.testing.faulty_storage import FaultyStorage
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.engine_job import AheadClock, look_at, source
from tests.support.installation import Installation, secret
from tests.support.jobs import Job, a_job, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from strongroom.engine.backup import NewPoint
    from strongroom.testing.memory_storage import Snapshot

pytestmark = pytest.mark.usefixtures("quick_derivation")

Forge = Callable[[packs.Directory, packs.Contents], packs.Contents]
SAME = {"same": b"same" * 400, "deep/er": b"deeper" * 2000}


def change(tree: Path) -> None:
    write_tree(tree, {**SAME, "own": random.token(3000)})


# --- what a session reads of the state before ----------------------------------------------------


def left_behind(storage: AdversaryStorage, folder: Path, *, sealed: bool) -> Job:
    """Return a job with two points and a dead session's packs, noted beside its cache."""
    job = a_job(storage, source("files", folder / "tree"), sealed=sealed, cache=folder / "cache")
    for _ in range(2):
        change(folder / "tree")
        job.run()
    faulty = FaultyStorage(storage)
    faulty.fail("put", 5 if sealed else 4, StorageUnavailableError("power cut"))
    job.storage = faulty
    write_tree(folder / "tree", {**SAME, "own": random.token(3000), "dying": random.token(9000)})
    with pytest.raises(StorageUnavailableError):
        job.run()
    job.storage = storage
    assert PackNotes(folder / "cache" / "packs").sessions()
    return job


def put_into(snapshot: Snapshot) -> AdversaryStorage:
    storage = MemoryStorage()
    for key, data in snapshot.items():
        storage.put(key, data)
    return AdversaryStorage(storage)


@pytest.mark.parametrize("forgets", [False, True], ids=["with its cache", "without a cache"])
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "plain"])
def test_whatever_a_session_is_shown_what_it_publishes_is_what_the_source_was(
    tmp_path: Path, sealed: bool, forgets: bool
) -> None:
    """Each object damaged, replaced or hidden while the session runs, and put back after it."""
    job = left_behind(AdversaryStorage(MemoryStorage()), tmp_path, sealed=sealed)
    before, honest = job.contents(), job.storage.snapshot()  # type: ignore[attr-defined]
    shutil.copytree(tmp_path / "cache", tmp_path / "kept")
    published = 0
    attacked = [key for key in honest if key.startswith("chains/")]
    for at, key in enumerate(attacked):
        same_kind = [one for one in attacked if one.split("/")[2] == key.split("/")[2]]
        storage, mine = put_into(honest), copy(job)
        mine.storage, mine.metakeys = storage, dict(job.metakeys)
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        shutil.copytree(tmp_path / "kept", tmp_path / "cache")
        if forgets:
            shutil.rmtree(tmp_path / "cache" / "content", ignore_errors=True)
        other = honest[same_kind[(same_kind.index(key) + 1) % len(same_kind)]]
        if at % 3 == 0:
            storage.flip(key, random.number(0, len(honest[key]) - 1))
        elif at % 3 == 1 and other != honest[key]:
            storage.replace(key, other)
        else:
            storage.hide(key)
        entries = set(mine.keys_of("journal"))
        with suppress(IntegrityError, FencedError):
            mine.run()
        storage.delete(key)
        storage.put(key, honest[key])

        after = mine.contents()
        if key.rsplit("/", 1)[0].endswith("journal") and len(set(mine.keys_of("journal"))) <= len(
            entries
        ):
            continue  # it took the hidden entry's number, and the true one is back in its place
        assert {point: after[point] for point in before} == before, key
        for point in after.keys() - before.keys():
            published += 1
            assert after[point] == look_at(tmp_path / "tree"), key
    assert published > len(attacked) // 3, "otherwise no session went through"


def test_a_cache_of_another_history_is_not_believed(tmp_path: Path) -> None:
    """Two lives of a server after a roll-back give out the same slots, for other blocks."""
    storage = AdversaryStorage(MemoryStorage())
    job = a_job(storage, source("files", tmp_path / "tree"), cache=tmp_path / "cache")
    change(tmp_path / "tree")
    job.run()
    then = storage.snapshot()
    first = {f"{n}": random.token(2000) for n in range(5)}
    write_tree(tmp_path / "tree", first)
    job.run()
    storage.replay(then)
    job.cache = None
    write_tree(tmp_path / "tree", {f"{n}": random.token(2000) for n in range(5)})
    job.run()
    job.cache = tmp_path / "cache"
    write_tree(tmp_path / "tree", first)
    job.run()

    assert job.restore(job.points()[-1]) == look_at(tmp_path / "tree")


# --- packs of a dead session in a plain chain, which nothing authenticates -----------------------


def forge_pack(data: bytes, forge: Forge, **head: int) -> bytes:
    """Return a plain pack with other contents, and a trailer that fits them."""
    header = packs.read_header(data, "it")
    size = len(data)
    length = packs.footer_trailer_length(data[-packs.FOOTER_LENGTH :], size, "it")
    begin = size - packs.FOOTER_LENGTH - length
    trailer = decode(packs.Trailer, data[begin : begin + length], "it")
    directory = decode(packs.Directory, trailer.directory, "it")
    contents = forge(directory, decode(packs.Contents, trailer.contents, "it"))
    directory = msgspec.structs.replace(directory, **head)
    first = min(directory.offsets)
    start = packs.header_bytes(
        msgspec.structs.replace(header, **head), aligned=first == packs.ALIGNED_HEADER
    )
    return start + data[first:begin] + packs.finish(start, encode(directory), encode(contents))


def _longer(_: packs.Directory, contents: packs.Contents) -> packs.Contents:
    """Say that the last piece of every block goes on behind its block."""
    last = {piece.place: piece for piece in sorted(contents.pieces, key=lambda one: one.offset)}
    pieces = [
        msgspec.structs.replace(piece, length=piece.length + 7)
        if piece == last[piece.place]
        else piece
        for piece in contents.pieces
    ]
    return msgspec.structs.replace(contents, pieces=pieces)


def _boastful(directory: packs.Directory, contents: packs.Contents) -> packs.Contents:
    """The same, with blocks that are said to be long enough."""
    longer = _longer(directory, contents)
    lengths = [length + 7 for length in contents.raw_lengths]
    return msgspec.structs.replace(longer, raw_lengths=lengths)


def _shifted(_: packs.Directory, contents: packs.Contents) -> packs.Contents:
    """Say that an area begins at its second cluster."""
    pieces = [
        msgspec.structs.replace(piece, offset=CLUSTER, length=piece.length - CLUSTER)
        for piece in contents.pieces
    ]
    return msgspec.structs.replace(contents, pieces=pieces)


def _unchanged(_: packs.Directory, contents: packs.Contents) -> packs.Contents:
    return contents


def forge_noted(job: Job, cache: Path, forge: Forge, **head: int) -> None:
    """Forge the packs of data that a dead session noted."""
    notes = PackNotes(cache / "packs")
    forged = 0
    for key in (
        layout.pack(job.chain_id, one) for dead in notes.sessions() for one in notes.packs(dead)
    ):
        data = job.storage.get(key)
        if packs.read_header(data, key).block_class == BlockClass.DATA:
            job.storage.delete(key)
            job.storage.put(key, forge_pack(data, forge, **head))
            forged += 1
    assert forged


@pytest.mark.parametrize(
    ("forge", "head"),
    [(_longer, {}), (_boastful, {}), (_unchanged, {"block_class": int(BlockClass.INDEX)})],
    ids=["longer", "boastful", "called pages"],
)
def test_a_dead_session_s_plain_packs_poison_no_later_point(
    tmp_path: Path, forge: Forge, head: dict[str, int]
) -> None:
    job = left_behind(AdversaryStorage(MemoryStorage()), tmp_path, sealed=False)
    forge_noted(job, tmp_path / "cache", forge, **head)

    job.run()

    assert job.restore(job.points()[-1]) == look_at(tmp_path / "tree")
    assert job.scrub().ok


def test_a_dead_session_s_plain_areas_are_found_where_they_are(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(random.token(1 << 20))
    faulty = FaultyStorage(MemoryStorage())
    job = a_job(faulty, source("image", image), sealed=False, cache=tmp_path / "cache")
    job.block_size = 256 << 10
    # Behind the lock and both packs, which are stored at once: the tables.
    faulty.fail("put", 4, StorageUnavailableError("power cut"))
    with pytest.raises(StorageUnavailableError):
        job.run()
    faulty.assert_all_hit()
    forge_noted(job, tmp_path / "cache", _shifted)

    job.run()

    assert job.restore(job.points()[-1]) == image.read_bytes()


def test_a_pack_that_is_too_long_is_not_read_to_be_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = AdversaryStorage(MemoryStorage())
    job = left_behind(storage, tmp_path, sealed=True)
    noted = [
        layout.pack(job.chain_id, pack_id)
        for one in PackNotes(tmp_path / "cache" / "packs").sessions()
        for pack_id in PackNotes(tmp_path / "cache" / "packs").packs(one)
    ]
    honest, read = storage.get, []

    def get(key: str, offset: int = 0, length: int | None = None) -> bytes:
        if key in noted and length is None:
            read.append(key)
        return honest(key, offset, length)

    monkeypatch.setattr(storage, "get", get)
    monkeypatch.setattr(
        storage, "size", lambda key: packs.MAX_PACK + 1 if key in noted else len(honest(key))
    )
    job.run()

    assert read == []
    assert job.restore(job.points()[-1]) == look_at(tmp_path / "tree")


# --- fences ------------------------------------------------------------------------------------


def run_and_meanwhile(job: Job, act: Callable[[bytes], object]) -> None:
    """Run a session; when all is stored and only its entry is missing, let `act` happen."""
    plan = job.plan()

    def meanwhile(_: Sequence[NewPoint]) -> frozenset[bytes]:
        act(plan.session_id)
        return frozenset()

    job.run(plan, give_up=meanwhile)


def test_a_session_declared_dead_or_overtaken_cannot_publish(tmp_path: Path) -> None:
    """The storage loses the lock that would have kept the two apart."""
    storage = AdversaryStorage(MemoryStorage())
    job = a_job(storage, source("files", tmp_path / "tree"))
    change(tmp_path / "tree")
    job.run()

    def overtake(_: bytes) -> None:
        storage.hide(layout.LOCKS)
        change(tmp_path / "tree")
        job.run()

    def declare_dead(session_id: bytes) -> None:
        append_entry(job.chain(), DeathBody(session_id, b""), job.signer, job.clock)

    for act in (overtake, declare_dead):
        with pytest.raises(FencedError):
            run_and_meanwhile(job, act)
        assert len(job.contents()) == 2, "the one that overtook, and none of the fenced"
    assert job.restore(job.points()[-1]) == look_at(tmp_path / "tree")


def test_what_the_storage_hides_of_a_death_lets_two_histories_be_seen(tmp_path: Path) -> None:
    """It can show the dead one an older journal; the entry it then makes room for is a fork."""
    storage = AdversaryStorage(MemoryStorage())
    job = a_job(storage, source("files", tmp_path / "tree"))
    change(tmp_path / "tree")
    job.run()
    plan = job.plan()
    heads = []

    def meanwhile(_: Sequence[NewPoint]) -> frozenset[bytes]:
        append_entry(job.chain(), DeathBody(plan.session_id, b""), job.signer, job.clock)
        heads.append(job.head())
        storage.hide(layout.entry(job.chain_id, 2))
        return frozenset()

    job.run(plan, give_up=meanwhile)

    with pytest.raises(IntegrityError, match="two histories"):
        job.chain().check_head(heads[0])


# --- several chains of one job -------------------------------------------------------------------


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A job that has gone on from one chain to another, with points in both."""
    made = Installation.create(tmp_path)
    made.job()
    for full in (False, False, True):
        change(made.tree)
        made.run(full=full)
    with made.ctx:
        yield made


def sessions_in(installation: Installation) -> set[str]:
    return {info.key for info in installation.storage.list("") if "/journal/" in info.key}


def newest_of(installation: Installation, chain_id: str) -> SessionBody:
    entry = Chain(installation.storage, bytes.fromhex(chain_id)).newest_session
    assert entry is not None
    assert isinstance(entry.body, SessionBody)
    return entry.body


def test_a_chain_that_is_hidden_from_a_session_stays_promised(
    installation: Installation, tmp_path: Path
) -> None:
    older, newer = installation.chain_ids()
    installation.storage.hide(f"headers/{older}")
    change(installation.tree)

    session = installation.run()

    assert any(older[:12] in warning for warning in session.warnings)
    assert [one.chain_id.hex() for one in newest_of(installation, newer).older] == [older]
    with pytest.raises(PointWithheldError) as caught:
        installation.bare().restore("nightly@latest", tmp_path / "target")
    assert caught.value.fields["chain"] == older
    installation.storage.resurrect(f"headers/{older}")
    assert len(installation.bare().reading().points) == 4
    assert installation.run().warnings == ()


def test_a_hidden_chain_is_named_by_a_server_that_has_lost_its_catalog_of_it(
    installation: Installation,
) -> None:
    """What the newest session says is enough."""
    older, newer = installation.chain_ids()
    installation.ctx.database.execute("DELETE FROM points")
    installation.storage.hide(f"headers/{older}")
    change(installation.tree)

    installation.run()

    assert [one.chain_id.hex() for one in newest_of(installation, newer).older] == [older]


def test_a_session_does_not_fall_back_to_an_older_chain_where_the_present_one_is_hidden(
    installation: Installation,
) -> None:
    """The older one may have been left because its password leaked."""
    older, newer = installation.chain_ids()
    installation.storage.hide(f"headers/{newer}")
    entries = sessions_in(installation)
    change(installation.tree)

    with pytest.raises(PointWithheldError) as caught:
        installation.run()
    assert caught.value.fields["chain"] == newer
    assert sessions_in(installation) == entries

    session = installation.run(full=True)
    assert session.reason == "active-full"
    (begun,) = {*installation.chain_ids()} - {older}
    assert {one.chain_id.hex() for one in newest_of(installation, begun).older} == {older, newer}


def archive_of_newest(installation: Installation, folder: Path) -> zipfile.ZipFile:
    """Return what the operator gave somebody: a point in a chain of its own, signed here."""
    newest = installation.here().reading().points[-1].id
    exports.export(
        installation.ctx,
        Access(),
        newest,
        folder / "point.zip",
        progress=NullProgress(),
        cancel=Cancellation(),
    )
    return zipfile.ZipFile(folder / "point.zip")


def plant(installation: Installation, archive: zipfile.ZipFile) -> str:
    """Put what an archive holds beside what is there; return the id of its chain."""
    for member in archive.namelist():
        if member != layout.MARKER:
            installation.storage.plant(member, archive.read(member))
    return next(one for one in archive.namelist() if one.startswith("headers/"))[8:]


def test_a_session_does_not_go_on_in_what_is_put_in_the_place_of_its_chain(
    installation: Installation, tmp_path: Path
) -> None:
    """Signed by this server, forgotten by its catalog, and behind what it has published."""
    _, newer = installation.chain_ids()
    with archive_of_newest(installation, tmp_path) as archive:
        plant(installation, archive)
    installation.storage.hide(f"headers/{newer}")
    entries = sessions_in(installation)
    change(installation.tree)

    with pytest.raises(PointWithheldError) as caught:
        installation.run()

    assert caught.value.fields["chain"] == newer
    assert sessions_in(installation) == entries


def test_a_session_goes_on_in_its_chain_where_an_archive_of_its_newest_point_is_beside_it(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = installation.chain_ids()
    with archive_of_newest(installation, tmp_path) as archive:
        planted = plant(installation, archive)
    listed = [bytes.fromhex(one) for one in (planted, older, newer)]
    monkeypatch.setattr(Repository, "chain_ids", lambda _: listed)
    change(installation.tree)

    session = installation.run()

    assert newest_of(installation, newer).session_id.hex() == session.session


def test_a_chain_that_comes_back_is_older_than_what_was_begun_without_it(
    installation: Installation, tmp_path: Path
) -> None:
    """Hidden once and shown again, it would pass its points off as the newest."""
    before = {*installation.chain_ids()}
    _, hidden = installation.chain_ids()
    installation.storage.hide(f"headers/{hidden}")
    change(installation.tree)
    session = installation.run(full=True)
    installation.storage.resurrect(f"headers/{hidden}")

    (begun,) = {*installation.chain_ids()} - before
    assert newest_of(installation, begun).counter > newest_of(installation, hidden).counter
    (latest,) = session.points
    reading = installation.bare().reading()
    assert reading.select("nightly@latest").id == latest
    change(installation.tree)
    session = installation.run()
    assert session.kind == "incremental"
    assert newest_of(installation, begun).session_id.hex() == session.session


def test_a_session_does_not_pass_over_its_chain_where_a_stranger_signed_the_header_anew(
    installation: Installation,
) -> None:
    stranger = SigningKey.from_seed(random.seed())
    entries = sessions_in(installation)
    for chain_id in installation.chain_ids():
        chain = Chain(installation.storage, bytes.fromhex(chain_id))
        for job_id in (chain.header.job_id, random.token(16)):
            then = installation.storage.snapshot()
            forged = encode(
                msgspec.structs.replace(chain.header, identity=stranger.public.raw, job_id=job_id)
            )
            signature = stranger.sign(headers.HEADER_DOMAIN, forged)
            installation.storage.replace(
                f"headers/{chain_id}", headers.frame_header(forged, signature)
            )
            with pytest.raises(ForgedError):
                installation.run(full=True)
            installation.storage.replay(then)
    assert sessions_in(installation) == entries


@pytest.mark.parametrize("sealed", [True, False], ids=["for his own recipients", "plain"])
def test_a_planted_chain_of_the_job_draws_no_session_to_itself(
    installation: Installation, sealed: bool
) -> None:
    *_, newer = installation.chain_ids()
    ours = newest_of(installation, newer)
    stranger = SigningKey.from_seed(random.seed())
    recipient = make_recovery_recipient(random.seed(), "his", stranger.public)
    job_id = Chain(installation.storage, bytes.fromhex(newer)).header.job_id
    planted, _ = rekey.start_chain(
        installation.storage, job_id, [recipient] if sealed else [], stranger, AheadClock(), None
    )
    body = msgspec.structs.replace(ours, counter=1_000_000, history=TableRoot())
    append_entry(planted, body, stranger, AheadClock())
    change(installation.tree)

    session = installation.run()

    body = newest_of(installation, newer)
    assert session.kind == "incremental"
    assert body.session_id.hex() == session.session
    assert body.counter == ours.counter + 1
    assert PublicKey(body.chain_public) == PublicKey(ours.chain_public)
    assert planted.chain_id not in {one.chain_id for one in body.older}


def test_a_header_that_nobody_can_read_stops_no_job(installation: Installation) -> None:
    installation.storage.plant(f"headers/{'ab' * 16}", b"junk")
    installation.storage.plant(f"headers/{'cd' * 16}", b"SRM2HEAD")
    change(installation.tree)

    session = installation.run()

    assert session.points
    assert all(any(one in said for said in session.warnings) for one in ("abab", "cdcd"))


def test_an_older_state_is_not_written_to(installation: Installation) -> None:
    then = installation.storage.snapshot()
    change(installation.tree)
    installation.run()
    installation.storage.replay(then)
    entries = sessions_in(installation)

    with pytest.raises(RolledBackError):
        installation.run()

    assert sessions_in(installation) == entries


def test_a_session_that_would_build_on_damage_begins_a_chain_and_names_the_damaged_one(
    installation: Installation, tmp_path: Path
) -> None:
    older, newer = installation.chain_ids()
    for chain_id in (older, newer):
        key = layout.entry(bytes.fromhex(chain_id), 1)
        whole = installation.storage.get(key)
        installation.storage.flip(key, 500)
        change(installation.tree)
        if chain_id == newer:
            assert installation.run().reason == "damaged"
            (begun,) = {*installation.chain_ids()} - {older, newer}
            named = {one.chain_id.hex() for one in newest_of(installation, begun).older}
            assert named == {older, newer}
        session = installation.run()
        assert any(chain_id[:12] in warning for warning in session.warnings)
        installation.storage.replace(key, whole)
    assert installation.run().warnings == ()
    assert len(installation.bare().reading().points) == 7


def test_a_server_set_back_seals_nothing_for_recipients_of_before_whatever_is_hidden(
    tmp_path: Path,
) -> None:
    """Whoever knows the old password would be glad if it were in force again."""
    made = Installation.create(tmp_path)
    made.job()
    change(made.tree)
    made.run()
    made.save()
    passwords.edit(made.ctx, "office", secret=secret("Quiet-harbours-sell-9-violins"))
    change(made.tree)
    made.run()
    made.set_back()
    (chain_id,) = made.chain_ids()
    links = layout.links(bytes.fromhex(chain_id))
    entries, chains = sessions_in(made), made.chain_ids()

    for act in (lambda: None, lambda: made.storage.hide(links)):
        act()
        with pytest.raises(RefusedError, match="other recipients"):
            made.run()
    assert (sessions_in(made), made.chain_ids()) == (entries, chains)


def test_a_chain_that_a_server_set_back_adopts_has_to_say_whom_it_is_for(tmp_path: Path) -> None:
    made = Installation.create(tmp_path)
    made.job()
    change(made.tree)
    made.run()
    made.save()
    made.run(full=True)
    made.set_back()
    *_, newer = made.chain_ids()
    envelopes = layout.envelopes(bytes.fromhex(newer))
    made.storage.hide(envelopes)

    with pytest.raises(EnvelopeDamagedError):
        made.run()

    made.storage.resurrect(envelopes)
    change(made.tree)
    session = made.run()
    assert any("behind its own history" in warning for warning in session.warnings)
    assert made.chain_ids()[-1] == newer


def test_prune_leaves_what_nobody_can_read_alone_and_cares_for_the_rest(
    installation: Installation,
) -> None:
    installation.storage.plant(f"headers/{'ab' * 16}", b"junk")
    installation.storage.plant(f"headers/{'cd' * 16}", b"SRM2HEAD")

    result = care.prune(installation.ctx, "main")

    assert len(result.plans) == 2
    assert all(any(one in said for said in result.warnings) for one in ("abab", "cdcd"))


def test_of_a_marker_that_is_too_long_no_more_is_read_than_refuses_it(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = installation.storage.get
    asked: list[int | None] = []

    def long(key: str, offset: int = 0, length: int | None = None) -> bytes:
        if key != layout.MARKER:
            return honest(key, offset, length)
        asked.append(length)
        return bytes(MAX_SMALL + 1 if length is None else length)

    monkeypatch.setattr(installation.storage, "get", long)

    with pytest.raises(MalformedError, match=layout.MARKER):
        installation.repository()
    assert asked == [MAX_SMALL + 1]


def test_nothing_is_written_where_the_marker_is_gone(installation: Installation) -> None:
    installation.storage.hide(layout.MARKER)
    before = fingerprint(repr(sorted(installation.storage.snapshot().items())).encode())

    with pytest.raises(StrongroomError, match="not a repository"):
        installation.run()

    assert fingerprint(repr(sorted(installation.storage.snapshot().items())).encode()) == before
