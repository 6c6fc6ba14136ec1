"""The store is the enemy of who restores with a secret: what comes back is right, or an error.

The attacks of docs/threat-model.md on a bare machine that knows the location and a recovery
kit, and on the server, which knows heads as well, through the calls that the command line makes.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pytest

from strongroom.control import keys, passwords, points
from strongroom.crypto import random
from strongroom.crypto.recipients import recipient_of
from strongroom.crypto.signing import SigningKey
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.errors import (
    BlockDamagedError,
    DowngradedError,
    EnvelopeDamagedError,
    ForgedError,
    ForkedError,
    IntegrityError,
    NotFoundError,
    ObjectMissingError,
    PointDamagedError,
    PointWithheldError,
    RolledBackError,
    StrongroomError,
    UnsupportedVersionError,
    UnvouchedError,
)
from strongroom.format import header as headers
from strongroom.format.codec import encode
from strongroom.format.journal import (
    CondemnationBody,
    IdentityBody,
    SessionBody,
    encode_entry,
    frame_entry,
)
from strongroom.format.paging import TableRoot
from strongroom.format.versions import FORMAT, SUITE_PLAIN
from strongroom.repository import layout, rekey
from strongroom.repository.append import append_entry
from strongroom.repository.chain import Chain
from strongroom.repository.scrub import scrub
from tests.support.engine_job import AheadClock, look_at
from tests.support.installation import Installation, secret
from tests.support.jobs import write_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from strongroom.testing.memory_storage import Snapshot

pytestmark = pytest.mark.usefixtures("quick_derivation")

SAME = {"same": b"same" * 400, "deep/er": b"deeper" * 2000}


@dataclass
class Besieged:
    """An installation with two chains of a sealed job and one of a plain job."""

    installation: Installation
    originals: dict[str, object]
    """By point: what its source was."""
    older: str
    """The job's first chain; its recipients changed between its second and third session."""
    newer: str
    first: list[str]
    """The points of the older chain, oldest first."""
    second: list[str]
    """Those of the newer; one between them was removed."""
    plain: str
    """The point of the plain job."""
    honest: Snapshot

    def chain(self, chain_id: str) -> Chain:
        return Chain(self.installation.storage, bytes.fromhex(chain_id))


def publish(installation: Installation, originals: dict[str, object], **options: object) -> str:
    """Run a session of the job after a change, and remember what the source was."""
    changing = {f"own{n}": random.token(3000) for n in range(2)}
    write_tree(installation.tree, {**SAME, **changing})
    (point,) = installation.run(**options).points  # type: ignore[arg-type]
    originals[point] = look_at(installation.tree)
    return point


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Besieged:
    installation = Installation.create(tmp_path_factory.mktemp("besieged"))
    installation.job()
    installation.job("open", encrypt=False)
    originals: dict[str, object] = {}
    first = [publish(installation, originals) for _ in range(2)]
    passwords.edit(installation.ctx, "office", secret=secret("Quiet-harbours-sell-9-violins"))
    first.append(publish(installation, originals))
    plain = publish(installation, originals, name="open")
    second = [publish(installation, originals, full=True)]
    second += [publish(installation, originals) for _ in range(2)]
    older, newer = sorted(
        (one for one in installation.chain_ids() if _sealed(installation, one)),
        key=installation.chain_ids().index,
    )
    points.remove(installation.ctx, [second.pop(1)], yes=True)
    honest = installation.storage.snapshot()
    return Besieged(installation, originals, older, newer, first, second, plain, honest)


def _sealed(installation: Installation, chain_id: str) -> bool:
    return Chain(installation.storage, bytes.fromhex(chain_id)).sealed


@pytest.fixture
def besieged(built: Besieged) -> Iterator[Besieged]:
    """The installation as it was built; what a test does to its storage is undone."""
    yield built
    now = built.installation.storage.snapshot()
    if dict(now) != dict(built.honest):
        built.installation.storage.replay(built.honest)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def outcomes(
    besieged: Besieged, target: Path, attacked: str = ""
) -> dict[str, type[StrongroomError] | None]:
    """Restore points on a bare machine: what it got is what was backed up, or nothing.

    Those of the chain that `attacked` is an object of, or all.
    """
    machine = besieged.installation.bare(allow_unencrypted=True)
    concerned = [*besieged.first, *besieged.second]
    if besieged.older in attacked:
        concerned = besieged.first
    elif besieged.newer in attacked:
        concerned = besieged.second
    found: dict[str, type[StrongroomError] | None] = {}
    try:
        reading = machine.reading()
    except StrongroomError as error:
        return dict.fromkeys(concerned, type(error))
    for point in concerned:
        try:
            machine.restore(point, target, reading)
        except StrongroomError as error:
            found[point] = type(error)
            assert not target.exists() or not any(target.iterdir()), "nothing half is left"
        else:
            found[point] = None
            assert look_at(target) == besieged.originals[point]
        shutil.rmtree(target, ignore_errors=True)
    return found


# --- every object, every way -----------------------------------------------------------------


def kind_of(key: str) -> str:
    return key.split("/")[2] if key.startswith("chains/") else key.split("/")[0]


def _replaced(key: str, honest: Mapping[str, bytes]) -> bytes | None:
    """Return another object of the same kind, of another session or chain, if there is one."""
    others = [data for other, data in honest.items() if kind_of(other) == kind_of(key)]
    different = [data for data in others if data != honest[key]]
    return different[random.number(0, len(different) - 1)] if different else None


def _flipped(key: str, honest: Mapping[str, bytes]) -> bytes:
    """Change a bit: at the beginning, where magic and lengths are, at the end, or in between."""
    data = bytearray(honest[key])
    near = min(len(data), 80) - 1
    last = len(data) - 1
    places = [random.number(0, near), random.number(0, last), last - random.number(0, near)]
    data[places[random.number(0, 2)]] ^= 1 << random.number(0, 7)
    return bytes(data)


WAYS: dict[str, Callable[[str, Mapping[str, bytes]], bytes | None]] = {
    "emptied": lambda _, __: b"",
    "cut short": lambda key, honest: honest[key][: random.number(1, len(honest[key]) - 1)],
    "of another version": lambda key, honest: honest[key][:3] + b"2" + honest[key][4:],
    "changed by a bit": _flipped,
    "gone on with": lambda key, honest: honest[key] + random.token(40),
    "another's": _replaced,
}


SCRUBBED = {"gone on with", "another's"}
"""What scrub finds of the other ways is shown without keys."""


@pytest.mark.parametrize("way", WAYS)
def test_whatever_an_object_becomes_a_restore_is_right_or_refused_and_scrub_tells(
    besieged: Besieged, target: Path, way: str
) -> None:
    storage = besieged.installation.storage
    refused: set[str] = set()
    for key, data in besieged.honest.items():
        changed = WAYS[way](key, besieged.honest)
        if key.startswith(layout.LOCKS) or changed is None:
            continue
        storage.replace(key, changed)
        found = outcomes(besieged, target, key)
        for error in filter(None, found.values()):
            assert issubclass(error, IntegrityError | UnsupportedVersionError), key
        if any(found.values()):
            refused.add(kind_of(key))
        if way in SCRUBBED and key != layout.MARKER:
            assert key in damaged(besieged), f"{key} is {way}, and scrub does not see it"
        storage.replace(key, data)
    assert set(outcomes(besieged, target).values()) == {None}
    assert {"headers", "journal"} <= refused, "otherwise nothing was attacked"


def damaged(besieged: Besieged) -> set[str]:
    installation = besieged.installation
    report = scrub(
        installation.repository(),
        keys.trust(installation.ctx),
        {},
        progress=NullProgress(),
        cancel=Cancellation(),
    )
    return {one.object for one in report.damaged}


def test_whatever_object_is_hidden_a_restore_is_right_or_refused(
    besieged: Besieged, target: Path
) -> None:
    for key in besieged.honest:
        if key.startswith(layout.LOCKS):
            continue
        besieged.installation.storage.hide(key)
        for error in filter(None, outcomes(besieged, target, key).values()):
            assert issubclass(error, IntegrityError | NotFoundError), key
        besieged.installation.storage.resurrect(key)


def test_objects_that_nobody_wrote_keep_nobody_from_restoring(
    besieged: Besieged, target: Path
) -> None:
    storage = besieged.installation.storage
    prefix = layout.chain(bytes.fromhex(besieged.newer))
    own = next(key for key in besieged.honest if key.startswith(f"{prefix}envelopes/"))
    newest = own.rpartition("/")[2].partition("-")[0]
    following = besieged.chain(besieged.newer).listing[-1] + 1
    for key in (
        "headers/stray",
        f"headers/{random.token(16).hex()}",
        "chains/stray",
        *(f"{prefix}{kind}/stray" for kind in ("journal", "envelopes", "links", "packs", "tables")),
        f"{prefix}journal/0000000000",
        f"{prefix}journal/00000000001",
        f"{prefix}journal/deeper/{following:010}",
        f"{prefix}journal/deeper/upto-0000000001",
        f"{prefix}links/{newest}-{random.token(32).hex()}",
        f"{prefix}links/{newest}-stray",
        f"{prefix}envelopes/{random.token(32).hex()}-000001-a",
        # Behind a hole: no part of the journal, whatever it is.
        f"{prefix}journal/0000000099",
    ):
        storage.plant(key, b"junk")
    for name, data in (("headers", b"SRM2HEAD"), ("links", b"SRM2LINK")):
        where = prefix + name if name == "links" else name
        ids = f"{newest}-{random.token(32).hex()}" if name == "links" else random.token(16).hex()
        storage.plant(f"{where}/{ids}", data)

    assert set(outcomes(besieged, target).values()) == {None}


# --- blocks ----------------------------------------------------------------------------------


def packs_of(besieged: Besieged, point: str) -> list[str]:
    """Return the packs of data that the point's own session wrote."""
    from strongroom.format.block import BlockClass
    from strongroom.format.pack import HEADER_LENGTH, read_header

    view = besieged.installation.bare().reading().select(point)
    found = []
    for key in besieged.honest:
        if "/packs/" in key:
            header = read_header(besieged.honest[key][:HEADER_LENGTH], key)
            if (header.session_id, header.block_class) == (
                view.live.body.session_id,
                BlockClass.DATA,
            ):
                found.append(key)
    return found


def restore_fails(
    besieged: Besieged, point: str, target: Path, error: type[StrongroomError]
) -> StrongroomError:
    with pytest.raises(error) as caught:
        besieged.installation.bare().restore(point, target)
    assert type(caught.value) is error
    assert not target.exists() or not any(target.iterdir())
    return caught.value


def test_a_flipped_block_is_named_with_the_paths_it_concerns(
    besieged: Besieged, target: Path
) -> None:
    point = besieged.second[-1]
    (pack,) = packs_of(besieged, point)
    besieged.installation.storage.flip(pack, 200)

    error = restore_fails(besieged, point, target, BlockDamagedError)

    assert error.fields["object"] == pack
    assert "own0" in str(error)


def test_two_packs_that_changed_places_are_refused(besieged: Besieged, target: Path) -> None:
    one, other = (packs_of(besieged, point)[0] for point in besieged.first[:2])
    besieged.installation.storage.swap(one, other)

    for point, pack in zip(besieged.first[:2], (one, other), strict=True):
        error = restore_fails(besieged, point, target, BlockDamagedError)
        assert error.fields["object"] in {one, pack}


def test_a_pack_of_another_session_replayed_is_refused(besieged: Besieged, target: Path) -> None:
    one, other = (packs_of(besieged, point)[0] for point in besieged.first[:2])
    besieged.installation.storage.replace(other, besieged.honest[one])

    error = restore_fails(besieged, besieged.first[1], target, BlockDamagedError)

    assert error.fields["object"] == other


def test_a_hidden_pack_is_named(besieged: Besieged, target: Path) -> None:
    (pack,) = packs_of(besieged, besieged.first[1])
    besieged.installation.storage.hide(pack)

    error = restore_fails(besieged, besieged.first[1], target, ObjectMissingError)

    assert pack in str(error)


def test_plaintext_in_the_place_of_sealed_blocks_is_refused(
    besieged: Besieged, target: Path
) -> None:
    """The bytes of a frame as a plain chain would hold them, at the place the ledger says."""
    (pack,) = packs_of(besieged, besieged.first[1])
    data = besieged.honest[pack]
    frame = b"\0" + (6).to_bytes(4, "big") * 2 + b"forged"
    besieged.installation.storage.replace(
        pack, data[:80] + frame.ljust(len(data) - 80 - 300, b"\0") + data[-300:]
    )

    assert restore_fails(besieged, besieged.first[1], target, BlockDamagedError)


def test_a_hidden_page_names_the_object(besieged: Besieged, target: Path) -> None:
    for key in besieged.honest:
        if f"{besieged.newer}/tables/" in key:
            besieged.installation.storage.hide(key)

    with pytest.raises(PointDamagedError, match="tables/"):
        besieged.installation.bare().restore(besieged.second[0], target)


# --- signatures, forgeries, downgrades ---------------------------------------------------------


def test_a_stripped_signature_is_refused(besieged: Besieged, target: Path) -> None:
    chain = besieged.chain(besieged.older)
    raw, body = chain.entry(3).raw, chain.entry(3).body
    bare = encode_entry(raw.chain_id, raw.number, raw.previous_hash, raw.made_at, b"", body, FORMAT)
    besieged.installation.storage.replace(layout.entry(chain.chain_id, 3), frame_entry(bare, b""))

    error = restore_fails(besieged, besieged.first[2], target, ForgedError)

    assert "stripped" in str(error)
    besieged.installation.bare().restore(besieged.second[0], target)


def test_an_entry_signed_by_somebody_else_is_refused(besieged: Besieged, target: Path) -> None:
    stranger = SigningKey.from_seed(random.seed())
    chain = besieged.chain(besieged.newer)
    newest = chain.listing[-1]
    encoded = encode_entry(
        chain.chain_id,
        newest + 1,
        chain.entry(newest).hash,
        0,
        stranger.public.id,
        IdentityBody(stranger.public.raw),
        FORMAT,
    )
    key = layout.entry(chain.chain_id, newest + 1)
    signature = stranger.sign("journal entry", encoded)
    besieged.installation.storage.plant(key, frame_entry(encoded, signature))

    assert restore_fails(besieged, besieged.second[0], target, ForgedError)


def strangers_chain(besieged: Besieged, *, sealed: bool) -> Chain:
    """Let somebody who can only write make a chain of the job, with a session in it.

    Sealed, it is for the job's own recipients, whose public halves and vouches he copied.
    """
    genuine = besieged.chain(besieged.newer)
    stranger = SigningKey.from_seed(random.seed())
    (envelope, *_) = genuine.wrapped.envelopes().values()
    recipients = [recipient_of(stanza) for stanza in envelope.stanzas] if sealed else []
    chain, _ = rekey.start_chain(
        besieged.installation.storage,
        genuine.header.job_id,
        recipients,
        stranger,
        AheadClock(),
        None,
    )
    newest = genuine.newest_session
    assert newest is not None
    assert isinstance(newest.body, SessionBody)
    body = msgspec.structs.replace(newest.body, counter=1_000_000, history=TableRoot())
    append_entry(chain, body, stranger, AheadClock())
    return chain


def test_a_forged_chain_for_the_right_recipients_is_not_believed(
    besieged: Besieged, target: Path
) -> None:
    forged = strangers_chain(besieged, sealed=True)
    machine = besieged.installation.bare()

    with pytest.raises(UnvouchedError) as caught:
        machine.restore("nightly@latest", target)

    assert caught.value.fields["fingerprint"] == forged.identity.fingerprint
    assert set(caught.value.fields["readable"]) >= {*besieged.first, *besieged.second}  # type: ignore[call-overload]
    assert not target.exists()
    assert set(outcomes(besieged, target).values()) == {None}


def test_a_plain_chain_with_the_jobs_points_is_refused_where_a_secret_was_given(
    besieged: Besieged, target: Path
) -> None:
    for which in (besieged.plain, "open@latest"):
        error = restore_fails(besieged, which, target, DowngradedError)
        assert error.fields["points"] == [besieged.plain]


def test_a_sealed_chain_declared_plain_is_refused(besieged: Besieged, target: Path) -> None:
    chain = besieged.chain(besieged.newer)
    stranger = SigningKey.from_seed(random.seed())
    for signed_by, public in ((stranger, stranger.public.raw), (stranger, chain.header.identity)):
        header = msgspec.structs.replace(
            chain.header, suite=SUITE_PLAIN, recipients=b"", identity=public
        )
        encoded = encode(header)
        signature = signed_by.sign(headers.HEADER_DOMAIN, encoded)
        key = layout.header(chain.chain_id)
        then = besieged.installation.storage.snapshot()
        besieged.installation.storage.replace(key, headers.frame_header(encoded, signature))
        restore_fails(besieged, besieged.second[0], target, ForgedError)
        besieged.installation.storage.replay(then)


# --- envelopes and links -----------------------------------------------------------------------


def keys_below(besieged: Besieged, chain_id: str, kind: str) -> list[str]:
    return [key for key in besieged.honest if f"{chain_id}/{kind}/" in key]


@pytest.mark.parametrize("copy", ["a", "b"])
@pytest.mark.parametrize("way", WAYS)
def test_one_intact_copy_of_each_envelope_is_enough(
    besieged: Besieged, target: Path, copy: str, way: str
) -> None:
    for key in keys_below(besieged, besieged.older, "envelopes"):
        changed = WAYS[way](key, besieged.honest)
        if key.endswith(copy) and changed is not None:
            besieged.installation.storage.replace(key, changed)

    besieged.installation.bare().restore(besieged.first[0], target)

    assert look_at(target) == besieged.originals[besieged.first[0]]


def test_envelopes_that_are_damaged_twice_close_their_chain_and_no_other(
    besieged: Besieged, target: Path
) -> None:
    for key in keys_below(besieged, besieged.newer, "envelopes"):
        besieged.installation.storage.flip(key, 100)

    assert restore_fails(besieged, besieged.second[0], target, EnvelopeDamagedError)
    besieged.installation.bare().restore(besieged.first[0], target)


def test_envelopes_of_an_older_key_that_are_damaged_twice_close_nothing_that_has_another_way_in(
    besieged: Besieged, target: Path
) -> None:
    """The newest password opens the present key, and its link leads to the older one."""
    present = besieged.chain(besieged.older).present_key_id.hex()
    for key in keys_below(besieged, besieged.older, "envelopes"):
        if present not in key:
            besieged.installation.storage.flip(key, 100)

    machine = besieged.installation.bare(
        recovery_keys=(), secrets=(secret("Quiet-harbours-sell-9-violins"),)
    )
    for point in (besieged.first[0], besieged.first[-1]):
        machine.restore(point, target / point)
        assert look_at(target / point) == besieged.originals[point]


@pytest.mark.parametrize("way", WAYS)
def test_a_link_that_does_not_open_closes_what_is_behind_it_and_no_more(
    besieged: Besieged, target: Path, way: str
) -> None:
    """Its recipients' kit opens every chain key by itself; the newest password needs the link."""
    (link,) = keys_below(besieged, besieged.older, "links")
    changed = WAYS[way](link, besieged.honest)
    if changed is None:
        changed = besieged.honest[keys_below(besieged, besieged.older, "envelopes")[0]]
    besieged.installation.storage.replace(link, changed)
    machine = besieged.installation.bare(
        recovery_keys=(), secrets=(secret("Quiet-harbours-sell-9-violins"),)
    )
    reading = machine.reading()

    machine.restore(besieged.second[0], target, reading)
    assert look_at(target) == besieged.originals[besieged.second[0]]
    for point in besieged.first[:2]:
        with pytest.raises(EnvelopeDamagedError, match="link"):
            machine.restore(point, target / "more", reading)
    assert not (target / "more").exists()


# --- withheld, forked, rolled back -------------------------------------------------------------


def test_a_hidden_point_is_withheld_and_named(besieged: Besieged, target: Path) -> None:
    hidden = besieged.installation.bare().reading().select(besieged.first[1])
    number = hidden.live.entry.number
    key = layout.entry(hidden.chain.chain_id, number)
    besieged.installation.storage.hide(key)

    for which in (*besieged.first, "nightly@latest"):
        error = restore_fails(besieged, which, target, PointWithheldError)
        assert error.fields["points"] == [besieged.first[1]]
    besieged.installation.bare().restore(besieged.second[0], target)


def test_a_condemnation_excuses_no_hidden_point(besieged: Besieged, target: Path) -> None:
    hidden = besieged.installation.bare().reading().select(besieged.first[1])
    number = hidden.live.entry.number
    append_entry(hidden.chain, CondemnationBody([number], [], 0), None, AheadClock())
    besieged.installation.storage.hide(layout.entry(hidden.chain.chain_id, number))

    assert restore_fails(besieged, besieged.first[0], target, PointWithheldError)


def test_a_hidden_older_chain_is_withheld_even_after_a_promise_was_taken_back(
    besieged: Besieged, target: Path
) -> None:
    """The newest entry of the newer chain is no session: one of its points was removed."""
    newer = besieged.chain(besieged.newer)
    assert newer.promise_entry != newer.newest_session
    besieged.installation.storage.hide(f"headers/{besieged.older}")

    for which in (besieged.first[0], "nightly@latest"):
        error = restore_fails(besieged, which, target, PointWithheldError)
        assert error.fields["chain"] == besieged.older
    assert f"headers/{besieged.older}" in damaged(besieged)


def test_two_histories_put_together_are_a_fork(besieged: Besieged, target: Path) -> None:
    """The server's own entries, of two lives of it: each is signed, and they do not fit."""
    installation = besieged.installation
    chain = besieged.chain(besieged.newer)
    newest = chain.listing[-1]
    body = CondemnationBody([], [], 0)
    ours = installation.ctx.identity
    append_entry(chain, body, ours, AheadClock())
    append_entry(chain, body, ours, AheadClock())
    key = layout.entry(chain.chain_id, newest + 1)
    installation.storage.hide(key)
    append_entry(besieged.chain(besieged.newer), body, ours, AheadClock())

    error = restore_fails(besieged, besieged.second[0], target, ForkedError)

    assert error.fields["number"] == newest + 2


def test_a_repository_rolled_back_is_known_by_the_server_and_told_to_a_bare_machine(
    besieged: Besieged, target: Path
) -> None:
    newest = besieged.chain(besieged.newer).listing[-1]
    besieged.installation.storage.hide(layout.entry(bytes.fromhex(besieged.newer), newest))

    with pytest.raises(RolledBackError) as caught:
        besieged.installation.here().restore(besieged.second[0], target)
    assert caught.value.fields["known"] == newest
    assert not target.exists()

    machine = besieged.installation.bare()
    reading = machine.reading()
    assert any("compare it with what you expect" in one for one in reading.warnings)
    machine.restore(besieged.second[0], target, reading)
    assert look_at(target) == besieged.originals[besieged.second[0]]
