"""Whoever would like to take a chain over needs a secret's word, and nothing else helps.

The storage can write a SUCCESSION for an identity of its own, seal envelopes to anybody's public
half, copy what it has seen elsewhere and show old states. A server whose chain went to another
can try to write on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from strongroom.control import chain_jobs
from strongroom.control.access import Access
from strongroom.control.jobs import JobRequest
from strongroom.control.keys import readers_trust
from strongroom.crypto import random
from strongroom.crypto.envelope import ChainKey, seal_stanzas
from strongroom.crypto.recipients import recipient_of, vouch_for
from strongroom.crypto.signing import SigningKey
from strongroom.engine.cancellation import Cancellation
from strongroom.engine.progress import NullProgress
from strongroom.errors import (
    ForgedError,
    RefusedError,
    RolledBackError,
    UnvouchedError,
)
from strongroom.format import header as headers
from strongroom.format.codec import encode
from strongroom.format.journal import (
    SIGNING_DOMAIN,
    DeathBody,
    IdentityBody,
    SessionBody,
    SuccessionBody,
    encode_entry,
    frame_entry,
    signer_name,
)
from strongroom.format.versions import FORMAT
from strongroom.repository import layout
from strongroom.repository.append import append_entry
from strongroom.repository.chain import Trust
from strongroom.repository.scrub import scrub
from strongroom.repository.signers import LONGEST_LINE
from tests.support.installation import PASSWORD, Installation, secret

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.format.journal import Body
    from strongroom.repository.chain import Chain
    from strongroom.repository.scrub_report import ScrubReport

pytestmark = pytest.mark.usefixtures("quick_derivation")

THEIRS = "Green-tables-lift-4-oranges"


@pytest.fixture
def first(tmp_path: Path) -> Installation:
    first = Installation.at_work(tmp_path, file=b"one")
    first.run()
    return first


@pytest.fixture
def stranger() -> SigningKey:
    return SigningKey.from_seed(random.seed())


def chain_of(there: Installation) -> Chain:
    (chain_id,) = there.repository().chain_ids()
    return there.repository().chain(chain_id)


def plant(there: Installation, body: Body, signer: SigningKey, introduced: int = 0) -> int:
    """Put a signed entry behind the newest one, whatever its signer may say in the chain."""
    chain = chain_of(there)
    newest = chain.entry(chain.listing[-1])
    number = newest.number + 1
    if isinstance(body, SuccessionBody):
        introduced = number
    name = signer_name(signer.public.id, introduced)
    encoded = encode_entry(chain.chain_id, number, newest.hash, 0, name, body, FORMAT)
    data = frame_entry(encoded, signer.sign(SIGNING_DOMAIN, encoded))
    there.storage.plant(layout.entry(chain.chain_id, number), data)
    return number


def plant_succession(there: Installation, signer: SigningKey) -> int:
    chain = chain_of(there)
    body = SuccessionBody(signer.public.raw, chain.root_hash, chain.lines[-1])
    return plant(there, body, signer)


def plant_points(there: Installation, signer: SigningKey, introduced: int) -> None:
    """Publish the newest session's points once more, in the name of the stranger."""
    chain = chain_of(there)
    newest = chain.newest_session
    assert newest is not None
    assert isinstance(newest.body, SessionBody)
    points = [
        msgspec.structs.replace(point, point_id=random.token(16)) for point in newest.body.points
    ]
    body = msgspec.structs.replace(newest.body, points=points, base=newest.number)
    plant(there, body, signer, introduced)


def plant_envelope(there: Installation, signer: SigningKey, vouch: bytes) -> None:
    """Seal a chain key of the stranger's to the true recipients, with this vouch in it."""
    chain = chain_of(there)
    (envelope,) = chain.wrapped.envelopes().values()
    key = ChainKey.generate()
    recipients = [recipient_of(stanza) for stanza in envelope.stanzas]
    stanzas = seal_stanzas(key, recipients, headers.chain_key_context(chain.chain_id))
    forged = headers.Envelope(
        chain.chain_id,
        key.id,
        key.public.raw,
        1,
        signer.public.raw,
        [msgspec.structs.replace(stanza, vouch=vouch) for stanza in stanzas],
    )
    encoded = encode(forged)
    data = headers.frame_envelope(encoded, signer.sign(headers.ENVELOPE_DOMAIN, encoded))
    there.storage.plant(layout.envelope(chain.chain_id, key.id, 1, "a"), data)


def scrubbed(there: Installation, *pinned: SigningKey) -> ScrubReport:
    trust = Trust(pinned=frozenset(one.public.fingerprint for one in pinned))
    return scrub(there.repository(), trust, {}, progress=NullProgress(), cancel=Cancellation())


def damaged(there: Installation, number: int) -> bool:
    key = layout.entry(chain_of(there).chain_id, number)
    return key in {damage.object for damage in scrubbed(there).damaged}


def go_on(there: Installation) -> None:
    request = JobRequest(name="nightly", repository="main", encrypt="password:theirs", sources=())
    (chain_id,) = there.chain_ids()
    chain_jobs.create(there.ctx, request, chain_id, Access(secrets=(secret(PASSWORD),)))


# --- planted ------------------------------------------------------------------------------------


@pytest.mark.parametrize("vouched", ["by nobody", "by another secret", "by a copied word"])
def test_a_planted_succession_gives_nobody_anything(
    first: Installation, stranger: SigningKey, vouched: str
) -> None:
    before = {view.id for view in first.bare().reading().points}
    (envelope,) = chain_of(first).wrapped.envelopes().values()
    number = plant_succession(first, stranger)
    if vouched == "by another secret":
        plant_envelope(first, stranger, vouch_for(random.seed(), stranger.public))
    if vouched == "by a copied word":
        plant_envelope(first, stranger, envelope.stanzas[0].vouch)
    plant_points(first, stranger, number)

    for machine in (
        first.bare(),
        first.bare(recovery_keys=(), secrets=(secret(PASSWORD),)),
        first.here(),
    ):
        reading = machine.reading()
        assert {view.id for view in reading.points} == before
        assert any(stranger.public.fingerprint in warning for warning in reading.warnings)
        machine.restore(min(before), first.folder / f"out-{id(machine)}", reading)


def test_a_planted_succession_stops_the_server_and_writes_nothing(
    first: Installation, stranger: SigningKey
) -> None:
    number = plant_succession(first, stranger)

    with pytest.raises(RefusedError, match=stranger.public.fingerprint):
        first.run()

    assert chain_of(first).listing[-1] == number
    assert first.run(full=True).reason == "active-full"


def test_a_planted_succession_is_not_what_a_pinned_signer_signed(
    first: Installation, stranger: SigningKey
) -> None:
    plant_succession(first, stranger)

    report = scrubbed(first, first.ctx.identity)

    assert not report.ok
    (chain,) = report.chains
    assert (chain.signer, chain.trusted) == (stranger.public.fingerprint, False)
    assert first.bare(signers=(first.ctx.identity.public.fingerprint,)).reading().points


def test_nobody_takes_over_what_a_stranger_has_taken(
    first: Installation, stranger: SigningKey
) -> None:
    second = first.another(THEIRS)
    plant_succession(first, stranger)

    with pytest.raises(UnvouchedError, match=stranger.public.fingerprint):
        go_on(second)


def test_the_succession_of_another_chain_counts_for_nothing(first: Installation) -> None:
    second = first.another(THEIRS)
    go_on(second)
    taken = chain_of(first)
    succession = first.storage.get(layout.entry(taken.chain_id, taken.listing[-1]))
    first.job("weekly")
    first.run("weekly")
    first.run("weekly")
    other = next(one for one in first.repository().chain_ids() if one != taken.chain_id)

    first.storage.plant(layout.entry(other, taken.listing[-1]), succession)

    with pytest.raises(ForgedError, match="replayed"):
        first.repository().chain(other).live_points()


@pytest.mark.parametrize("wrong", ["header", "line", "identity", "name"])
def test_a_succession_that_does_not_fix_its_chain_is_refused(
    first: Installation, stranger: SigningKey, wrong: str
) -> None:
    chain = chain_of(first)
    body = SuccessionBody(stranger.public.raw, chain.root_hash, 0)
    number = chain.listing[-1] + 1
    if wrong == "header":
        body = msgspec.structs.replace(body, header_hash=bytes(32))
    if wrong == "line":
        body = msgspec.structs.replace(body, before=1)
    if wrong == "identity":
        body = msgspec.structs.replace(body, identity=first.ctx.identity.public.raw)
    if wrong == "name":
        name = signer_name(stranger.public.id, number - 1)
        encoded = encode_entry(
            chain.chain_id, number, chain.entry(number - 1).hash, 0, name, body, FORMAT
        )
        data = frame_entry(encoded, stranger.sign(SIGNING_DOMAIN, encoded))
        first.storage.plant(layout.entry(chain.chain_id, number), data)
    else:
        plant(first, body, stranger)

    with pytest.raises(ForgedError):
        chain_of(first).live_points()
    assert layout.entry(chain.chain_id, number) in {
        damage.object for damage in scrubbed(first).damaged
    }


def test_a_succession_whose_signature_fails_brings_in_nobody(
    first: Installation, stranger: SigningKey
) -> None:
    chain = chain_of(first)
    number = chain.listing[-1] + 1
    body = SuccessionBody(first.ctx.identity.public.raw, chain.root_hash, 0)
    name = signer_name(first.ctx.identity.public.id, number)
    encoded = encode_entry(
        chain.chain_id, number, chain.entry(number - 1).hash, 0, name, body, FORMAT
    )
    first.storage.plant(
        layout.entry(chain.chain_id, number),
        frame_entry(encoded, stranger.sign(SIGNING_DOMAIN, encoded)),
    )

    death = encode_entry(
        chain.chain_id, number + 1, bytes(32), 0, name, DeathBody(bytes(16), b""), FORMAT
    )
    first.storage.plant(
        layout.entry(chain.chain_id, number + 1),
        frame_entry(death, first.ctx.identity.sign(SIGNING_DOMAIN, death)),
    )

    chain = chain_of(first)
    with pytest.raises(ForgedError):
        chain.entry(number)
    with pytest.raises(ForgedError):  # though the identity is a true one, and has been met
        chain.entry(number + 1)


# --- the server before --------------------------------------------------------------------------


def test_who_was_succeeded_signs_nothing_more(first: Installation) -> None:
    second = first.another(THEIRS)
    go_on(second)
    second.run()
    number = plant(first, DeathBody(bytes(16), b""), first.ctx.identity)

    with pytest.raises(ForgedError, match="taken the chain over"):
        chain_of(second).live_points()
    assert damaged(second, number)


def test_a_point_of_who_was_succeeded_is_refused_where_it_is_the_newest(
    first: Installation,
) -> None:
    second = first.another(THEIRS)
    go_on(second)
    plant_points(first, first.ctx.identity, 0)

    with pytest.raises(ForgedError, match="taken the chain over"):
        chain_of(second).live_points()


def test_who_was_succeeded_introduces_nobody(first: Installation, stranger: SigningKey) -> None:
    second = first.another(THEIRS)
    go_on(second)
    number = plant(first, IdentityBody(stranger.public.raw), first.ctx.identity)

    with pytest.raises(ForgedError):
        chain_of(second).live_points()
    assert damaged(second, number)


def test_a_successor_may_introduce_others(first: Installation, stranger: SigningKey) -> None:
    second = first.another(THEIRS)
    go_on(second)
    chain = chain_of(second)
    append_entry(chain, IdentityBody(stranger.public.raw), second.ctx.identity, second.ctx.clock)

    entry = append_entry(chain, DeathBody(bytes(16), b""), stranger, second.ctx.clock)

    chain = chain_of(second)
    assert chain.listing[-1] == entry.number
    assert chain.identity == second.ctx.identity.public
    assert chain.signers == (
        first.ctx.identity.public,
        second.ctx.identity.public,
        stranger.public,
    )
    assert scrubbed(second).ok


def test_a_line_of_signers_has_an_end(first: Installation) -> None:
    chain = chain_of(first)
    signer = first.ctx.identity
    for _ in range(LONGEST_LINE - 1):
        following = SigningKey.from_seed(random.seed())
        append_entry(chain, IdentityBody(following.public.raw), signer, first.ctx.clock)
        signer = following
    append_entry(chain, IdentityBody(signer.public.raw), signer, first.ctx.clock)
    one_more = SigningKey.from_seed(random.seed())
    number = append_entry(chain, IdentityBody(one_more.public.raw), signer, first.ctx.clock).number

    plant(first, DeathBody(bytes(16), b""), one_more, number)

    with pytest.raises(ForgedError, match="no earlier entry introduces"):
        chain_of(first).live_points()


# --- an old state -------------------------------------------------------------------------------


def test_a_chain_shown_as_it_was_before_is_rolled_back(first: Installation) -> None:
    second = first.another(THEIRS)
    before = first.storage.snapshot()
    go_on(second)
    second.run()
    journal = layout.journal(chain_of(second).chain_id)

    first.storage.hide(journal)
    first.storage.replay(before, journal)

    with pytest.raises(RolledBackError):
        second.run()
    reading = second.here().reading()
    assert [error.code for _, error in reading.problems] == ["rolled-back"]


def test_trust_in_the_server_before_does_not_reach_who_came_after(first: Installation) -> None:
    second = first.another(THEIRS)
    go_on(second)
    second.run()

    assert not readers_trust(first.ctx).knows(chain_of(first).identity)
    part = readers_trust(first.ctx).known_part(chain_of(first))
    assert part is not None
    assert part.identity == first.ctx.identity.public
    with pytest.raises(RefusedError):
        append_entry(part, DeathBody(bytes(16), b""), first.ctx.identity, first.ctx.clock)
