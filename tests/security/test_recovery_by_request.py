"""A response opens one point on one server, whoever carries it and whatever they do to it.

The attacks of docs/threat-model.md, "Recovery by request": the carrier alters, replays and
redirects; another installation tries what was not meant for it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

from strongroom.control import jobs, recovery, recovery_request
from strongroom.control.access import Access
from strongroom.control.context import Context
from strongroom.control.recovery_answer import answer, consider
from strongroom.control.recovery_files import read_kit
from strongroom.control.recovery_request import accept, forget, waiting
from strongroom.crypto import hpke, random
from strongroom.crypto.signing import SigningKey
from strongroom.errors import (
    ForgedError,
    InvalidInputError,
    KeystoreLockedError,
    NoRecipientMatchedError,
    NotFoundError,
    PointDamagedError,
    StrongroomError,
    UnlockError,
    UnvouchedError,
)
from strongroom.format import exchange
from strongroom.format.armour import armour, unarmour
from strongroom.format.codec import encode, frame, unframe
from strongroom.format.exchange import read_request, request_text, response_text
from strongroom.format.versions import REQUEST
from strongroom.keystore import KeyFile, Keystore, RequestRecord
from strongroom.settings import Settings
from tests.support.engine_job import AheadClock
from tests.support.installation import Installation, Machine

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("quick_derivation")

LABEL = "STRONGROOM RECOVERY REQUEST"


@pytest.fixture
def server(tmp_path: Path) -> Installation:
    """A server whose password was lost: nothing that it keeps opens the two points there are."""
    server = Installation.at_work(tmp_path, first=b"first content")
    (server.tree / "second").write_bytes(b"second content")
    server.run()
    return server


def lose_password(server: Installation) -> list[str]:
    """Take the stored secret and all metakeys from the server; return its points, oldest first."""
    from strongroom.keystore import ChainRecord, PasswordRecord

    points = [view.id for view in server.here().reading().points]
    store = server.ctx.keystore
    for name in store.names(PasswordRecord):
        store.delete(PasswordRecord, name)
    for name in store.names(ChainRecord):
        store.delete(ChainRecord, name)
    return points


def asked(server: Installation, which: str) -> str:
    return recovery_request.request(server.ctx, which).text


def answered(server: Installation, text: str, *signers: str) -> str:
    return answer(consider(text, [server.kit], signers))


def resigned(request: exchange.RecoveryRequest, signer: SigningKey) -> str:
    changed = msgspec.structs.replace(request, identity=signer.public.raw)
    return request_text(changed, signer)[0]


def another(folder: Path, name: str, server: Installation) -> Installation:
    """Return a further installation with a home of its own that sees the same storage."""
    ctx = Context(
        Settings(folder / name, folder / f"{name}-key"),
        AheadClock(),
        open_storage=lambda location, create: server.storage,
    )
    from strongroom.control import repositories

    repositories.add(ctx, "main", "/main")
    return Installation(ctx, folder, server.storage)


def refused(machine: Machine, which: str, target: Path) -> None:
    with pytest.raises(UnlockError):
        machine.restore(which, target)
    assert not target.exists()


def test_a_response_opens_its_point_and_no_later_or_earlier_one(server, tmp_path) -> None:
    old, new = lose_password(server)
    refused(server.here(), old, tmp_path / "before")
    accept(server.ctx, answered(server, asked(server, old)))
    server.here().restore(old, tmp_path / "old")
    assert (tmp_path / "old" / "first").read_bytes() == b"first content"
    refused(server.here(), new, tmp_path / "new")
    forget(server.ctx, old)
    refused(server.here(), old, tmp_path / "after")


def test_the_older_point_of_sessions_that_are_open_stays_locked(server, tmp_path) -> None:
    old, new = lose_password(server)
    accept(server.ctx, answered(server, asked(server, new)))
    server.here().restore(new, tmp_path / "new")
    refused(server.here(), old, tmp_path / "old")


class LaterClock(AheadClock):
    """The same clock, two hours on."""

    def now(self) -> datetime:
        return super().now() + timedelta(hours=2)


def test_a_response_expires(server, tmp_path) -> None:
    old, _ = lose_password(server)
    accept(server.ctx, answered(server, asked(server, old)), keep=timedelta(hours=2))
    server.here().restore(old, tmp_path / "in time")
    server.ctx.clock = LaterClock()
    refused(server.here(), old, tmp_path / "old")
    assert waiting(server.ctx).points == ()


def test_a_response_works_once(server) -> None:
    old, _ = lose_password(server)
    response = answered(server, asked(server, old))
    accept(server.ctx, response)
    forget(server.ctx, old)
    with pytest.raises(NotFoundError, match="no request waits"):
        accept(server.ctx, response)
    assert server.ctx.keystore.names(RequestRecord) == []


def test_a_response_does_nothing_on_a_third_installation(server, tmp_path) -> None:
    old, _ = lose_password(server)
    response = answered(server, asked(server, old))
    third = another(tmp_path, "third", server)
    with pytest.raises(NotFoundError, match="no request waits"):
        accept(third.ctx, response)


def test_a_response_does_nothing_on_a_third_installation_that_asked_for_the_same(
    server, tmp_path
) -> None:
    old, _ = lose_password(server)
    response = answered(server, asked(server, old))
    third = another(tmp_path, "third", server)
    signer = server.ctx.identity.public.fingerprint
    own = recovery_request.request(third.ctx, old, signers=(signer,))
    with pytest.raises(NotFoundError, match="no request waits"):
        accept(third.ctx, response, signers=(signer,))
    # Nor does it help to say that it answers the other request.
    sealed = exchange.read_response(response)
    redirected = msgspec.structs.replace(sealed, request_hash=bytes.fromhex(own.request_id))
    text = armour("STRONGROOM RECOVERY RESPONSE", frame(exchange.RESPONSE, encode(redirected)))
    with pytest.raises(ForgedError, match="does not open"):
        accept(third.ctx, text, signers=(signer,))


def test_an_open_request_does_not_move_with_a_copied_home(server, tmp_path) -> None:
    old, _ = lose_password(server)
    asked(server, old)
    key_file = KeyFile.load(server.folder / "server-key")
    home = server.ctx.settings.keystore_file
    with pytest.raises(KeystoreLockedError):
        Keystore(home, key_file.key(b"another machine"))


def test_another_installation_is_answered_only_if_the_holder_names_it(server, tmp_path) -> None:
    old, _ = lose_password(server)
    third = another(tmp_path, "third", server)
    signer = server.ctx.identity.public.fingerprint
    text = recovery_request.request(third.ctx, old, signers=(signer,)).text
    with pytest.raises(UnvouchedError, match="not the signer of the kit"):
        consider(text, [server.kit])
    named = third.ctx.identity.public.fingerprint
    accept(third.ctx, answered(server, text, named), signers=(signer,))
    Machine(third.ctx, Access(signers=(signer,))).restore(old, tmp_path / "old")
    assert (tmp_path / "old" / "first").read_bytes() == b"first content"
    refused(Machine(third.ctx, Access()), old, tmp_path / "unbelieved")


def test_a_request_needs_a_chain_whose_signer_is_believed(server, tmp_path) -> None:
    old, _ = lose_password(server)
    third = another(tmp_path, "third", server)
    with pytest.raises(UnvouchedError):
        recovery_request.request(third.ctx, old)


def test_a_response_for_one_point_does_not_open_another(server) -> None:
    old, new = lose_password(server)
    first, second = asked(server, old), asked(server, new)
    response = exchange.read_response(answered(server, first))
    _, _, other_hash = read_request(second)
    mixed = msgspec.structs.replace(response, request_hash=other_hash)
    text = armour("STRONGROOM RECOVERY RESPONSE", frame(exchange.RESPONSE, encode(mixed)))
    with pytest.raises(ForgedError, match="does not open"):
        accept(server.ctx, text)
    assert len(waiting(server.ctx).requests) == 2
    assert waiting(server.ctx).points == ()


def test_keys_that_anybody_sealed_for_the_request_are_refused(server) -> None:
    old, _ = lose_password(server)
    request, _, request_hash = read_request(asked(server, old))
    from strongroom.crypto.envelope import PackedSecrets

    made_up = [
        (session.session_id, PackedSecrets(random.token(96) + (7).to_bytes(8, "big")))
        for session in request.sessions
    ]
    with pytest.raises(PointDamagedError, match="other keys"):
        accept(server.ctx, response_text(request_hash, request.public, made_up))
    with pytest.raises(PointDamagedError, match="no keys"):
        accept(server.ctx, response_text(request_hash, request.public, []))
    assert waiting(server.ctx).points == ()


def test_every_altered_letter_of_a_response_is_noticed(server) -> None:
    old, _ = lose_password(server)
    response = answered(server, asked(server, old))
    lines = response.splitlines()
    for row in range(len(lines)):
        place = 5 if row in (0, len(lines) - 1) else len(lines[row]) // 2
        letter = "B" if lines[row][place] != "B" else "C"
        changed = lines[row][:place] + letter + lines[row][place + 1 :]
        with pytest.raises(InvalidInputError):
            accept(server.ctx, "\n".join([*lines[:row], changed, *lines[row + 1 :]]))
    accept(server.ctx, response)


# --- what the holder is shown -----------------------------------------------------------------


def test_a_public_half_swapped_by_the_carrier_is_noticed(server) -> None:
    """Otherwise whoever carries the request would be the one whom the response is sealed to."""
    old, _ = lose_password(server)
    request, _, _ = read_request(asked(server, old))
    theirs = hpke.PrivateKey.from_seed(random.seed()).public.raw
    swapped = msgspec.structs.replace(request, public=theirs)
    kept = unframe(REQUEST, unarmour(LABEL, asked(server, old)), "request").signature
    text = armour(LABEL, frame(REQUEST, encode(swapped), kept))
    with pytest.raises(ForgedError):
        consider(text, [server.kit])
    with pytest.raises(UnvouchedError):
        consider(resigned(swapped, SigningKey.from_seed(random.seed())), [server.kit])


def test_sessions_swapped_in_by_the_carrier_are_noticed(server) -> None:
    old, new = lose_password(server)
    first, _, _ = read_request(asked(server, old))
    second, _, _ = read_request(asked(server, new))
    assert len(second.sessions) > len(first.sessions)
    greedy = msgspec.structs.replace(first, sessions=second.sessions)
    kept = unframe(REQUEST, unarmour(LABEL, asked(server, old)), "request").signature
    with pytest.raises(ForgedError):
        consider(armour(LABEL, frame(REQUEST, encode(greedy), kept)), [server.kit])


def test_a_request_whose_signature_was_stripped_is_refused(server) -> None:
    old, _ = lose_password(server)
    body = unframe(REQUEST, unarmour(LABEL, asked(server, old)), "request").body
    with pytest.raises(ForgedError, match="stripped"):
        consider(armour(LABEL, frame(REQUEST, body)), [server.kit])


def test_a_session_of_another_chain_gets_no_answer(server) -> None:
    """The holder is no oracle: what opens is bound to the chain and session that it names."""
    old, _ = lose_password(server)
    request, _, _ = read_request(asked(server, old))
    own = server.ctx.identity
    for changed in (
        msgspec.structs.replace(request, chain_id=random.token(16)),
        msgspec.structs.replace(
            request,
            sessions=[
                msgspec.structs.replace(request.sessions[0], session_id=random.token(16)),
            ],
        ),
        msgspec.structs.replace(
            request,
            sessions=[
                msgspec.structs.replace(request.sessions[0], commitment=random.token(32)),
            ],
        ),
        msgspec.structs.replace(request, envelopes=[]),
    ):
        question = consider(request_text(changed, own)[0], [server.kit])
        with pytest.raises(StrongroomError):
            answer(question)


def test_a_request_carries_no_stanza_of_a_password(server) -> None:
    old, _ = lose_password(server)
    request, _, _ = read_request(asked(server, old))
    assert {stanza.kind for one in request.envelopes for stanza in one.stanzas} == {"recovery"}


def test_a_response_holds_no_chain_key(server) -> None:
    old, _ = lose_password(server)
    seed = random.seed()
    request, _, _ = read_request(asked(server, old))
    public = hpke.PrivateKey.from_seed(seed).public.raw
    text, _ = request_text(msgspec.structs.replace(request, public=public), server.ctx.identity)
    response = exchange.read_response(answered(server, text))
    opened = exchange.open_response(response, hpke.PrivateKey.from_seed(seed))
    assert set(opened) == {session.session_id for session in request.sessions}
    chain = server.repository().chain(request.chain_id)
    from strongroom.crypto.recipients import RecoveryUnlocker
    from strongroom.repository.chain import Trust

    keyring = chain.wrapped.unlock(RecoveryUnlocker(read_kit([server.kit]).seed), Trust())
    for packed in opened.values():
        for chain_key in keyring.chain_keys.values():
            assert chain_key.seed.expose() not in packed.expose()


def test_two_of_three_shares_answer_nothing(server, tmp_path) -> None:
    made = recovery.create(server.ctx, tmp_path / "shares", sharing=recovery.Sharing(3, 5))
    server.run(full=True)
    new = lose_password(server)[-1]
    text = asked(server, new)
    shares = [tmp_path / "shares" / f"share-{number}-of-5.txt" for number in (1, 3, 5)]
    with pytest.raises(InvalidInputError, match="1 more of the 5"):
        consider(text, shares[:2])
    assert consider(text, shares).view.key_id == made.key.key_id
    accept(server.ctx, answer(consider(text, shares)))
    server.here().restore(new, tmp_path / "new")


def test_a_kit_of_another_key_answers_nothing(server, tmp_path) -> None:
    recovery.create(server.ctx, tmp_path / "other")
    old, _ = lose_password(server)
    with pytest.raises(NoRecipientMatchedError, match="none of the chain keys"):
        answer(consider(asked(server, old), [tmp_path / "other"]))


def test_a_point_that_no_kit_opens_cannot_be_asked_for(server) -> None:
    jobs.create(
        server.ctx,
        jobs.JobRequest(
            name="alone",
            repository="main",
            encrypt="password:office",
            sources=(f"files:{server.tree}",),
            keep_last=5,
            recovery=False,
        ),
    )
    server.run("alone")
    with pytest.raises(NoRecipientMatchedError, match="not sealed for a recovery key"):
        recovery_request.request(server.ctx, "alone@latest")
