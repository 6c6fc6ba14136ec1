from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.crypto import random, rsa
from strongroom.crypto.envelope import ChainKey, seal_stanzas, unlock
from strongroom.crypto.hpke import PrivateKey
from strongroom.crypto.keys import Seed
from strongroom.crypto.recipients import check_stanza
from strongroom.crypto.rsa import OaepHash
from strongroom.crypto.signing import SigningKey
from strongroom.errors import (
    EnvelopeDamagedError,
    IntegrityError,
    KmsUnavailableError,
    NotAddressedError,
    RefusedError,
    StrongroomError,
    UnlockError,
)
from strongroom.kms.base import VOUCHING_PREFIX, KeyState
from strongroom.kms.recipients import KmsRecipient, KmsUnlocker, stanza_kind, vouch_for
from strongroom.testing.local_kms import LocalKms, LocalKmsServer

if TYPE_CHECKING:
    from strongroom.crypto.recipients import Stanza
    from strongroom.kms.base import KmsKey

INFO = b"info"
SECRET = Seed(b"s" * 32)
IDENTITY = SigningKey.from_seed(Seed(b"i" * 32)).public


@dataclass
class Scene:
    server: LocalKmsServer
    kms: LocalKms
    key: KmsKey
    recipient: KmsRecipient
    vouching: str

    def unlocker(self, **given: object) -> KmsUnlocker:
        return KmsUnlocker("corp", lambda: self.kms, "local", **given)  # type: ignore[arg-type]

    def with_local(self, half: Seed) -> KmsRecipient:
        return replace(
            self.recipient,
            kind=stanza_kind("local", local=True),
            local=PrivateKey.from_seed(half).public,
        )


@pytest.fixture(params=[OaepHash.SHA256, OaepHash.SHA1], ids=["sha256", "sha1"])
def scene(request: pytest.FixtureRequest) -> Scene:
    return make_scene(request.param)


def make_scene(oaep: OaepHash = OaepHash.SHA256) -> Scene:
    server = LocalKmsServer(oaep=oaep)
    kms = LocalKms(server)
    key = kms.make_key("strongroom-nightly", 3072)
    vouching = kms.make_vouching_key(VOUCHING_PREFIX + "1")
    recipient = KmsRecipient(
        kind=stanza_kind("local", local=False),
        key=key.key,
        public=rsa.PublicKey(key.public),
        oaep=key.oaep,
        hint="corp",
        vouch=vouch_for(kms, vouching, IDENTITY),
    )
    return Scene(server, kms, key, recipient, vouching)


def test_what_is_wrapped_takes_one_call_to_unwrap(scene: Scene) -> None:
    stanza = scene.recipient.wrap(INFO, SECRET)
    check_stanza(stanza)
    scene.server.calls.clear()
    known = {scene.recipient.id: scene.key.key}
    assert scene.unlocker(known=known).unwrap(stanza, INFO) == SECRET
    assert scene.server.calls == {"decrypt": 1}


def test_wrapping_asks_nobody(scene: Scene) -> None:
    scene.kms.away = True
    assert scene.recipient.wrap(INFO, SECRET).recipient_id == scene.recipient.id


def test_a_key_that_is_not_known_here_is_found_among_those_that_the_kms_shows(
    scene: Scene,
) -> None:
    for number in range(5):
        scene.kms.make_key(f"other-{number}", 3072)
    assert scene.unlocker().unwrap(scene.recipient.wrap(INFO, SECRET), INFO) == SECRET


def test_a_stanza_shows_neither_the_id_nor_the_name_of_its_key(scene: Scene) -> None:
    stanza = msgspec.msgpack.encode(scene.recipient.wrap(INFO, SECRET))
    assert scene.key.key.encode() not in stanza
    assert b"nightly" not in stanza


def test_two_wrappings_have_nothing_in_common(scene: Scene) -> None:
    one, other = (scene.recipient.wrap(INFO, SECRET) for _ in range(2))
    assert one.sealed[1:] != other.sealed[1:]


def test_a_stanza_of_another_key_or_kind_is_not_asked_for(scene: Scene) -> None:
    stanza = scene.recipient.wrap(INFO, SECRET)
    scene.server.calls.clear()
    elsewhere = KmsUnlocker("other", lambda: LocalKms(LocalKmsServer()), "local")
    with pytest.raises(NotAddressedError):
        elsewhere.unwrap(stanza, INFO)
    other_kind = KmsUnlocker("other", lambda: scene.kms, "kmip")
    with pytest.raises(NotAddressedError):
        other_kind.unwrap(stanza, INFO)
    moved = msgspec.structs.replace(stanza, recipient_id=bytes(32))
    with pytest.raises(NotAddressedError):
        scene.unlocker().unwrap(moved, INFO)
    assert scene.server.calls["decrypt"] == 0


def test_a_stanza_opens_in_its_own_envelope_only(scene: Scene) -> None:
    with pytest.raises(EnvelopeDamagedError):
        scene.unlocker().unwrap(scene.recipient.wrap(INFO, SECRET), b"another")


SCENE = make_scene()
STANZA = SCENE.recipient.wrap(INFO, SECRET)


@settings(deadline=None, max_examples=60)  # RSA decrypts each time
@given(at=st.integers(0, len(STANZA.sealed) - 1), flip=st.integers(1, 255))
def test_a_flipped_byte_never_opens_to_anything(at: int, flip: int) -> None:
    sealed = bytearray(STANZA.sealed)
    sealed[at] ^= flip
    with pytest.raises(IntegrityError):
        SCENE.unlocker(known={SCENE.recipient.id: SCENE.key.key}).unwrap(
            msgspec.structs.replace(STANZA, sealed=bytes(sealed)), INFO
        )


@settings(deadline=None)
@given(
    field=st.sampled_from(["public", "salt", "sealed", "vouch"]),
    value=st.binary(max_size=600),
)
def test_hostile_fields_are_refused_without_a_call(field: str, value: bytes) -> None:
    SCENE.server.calls.clear()
    hostile = msgspec.structs.replace(STANZA, **{field: value})
    if field == "vouch" and len(value) in (0, 65):
        return
    if (field, value) == ("salt", b""):
        return
    with pytest.raises(StrongroomError):
        SCENE.unlocker(known={SCENE.recipient.id: SCENE.key.key}).unwrap(hostile, INFO)
    assert SCENE.server.calls["decrypt"] == 0


# --- the local half ---------------------------------------------------------------------------


def test_a_local_half_is_needed_besides_the_kms(scene: Scene) -> None:
    half = random.seed()
    recipient = scene.with_local(half)
    stanza = recipient.wrap(INFO, SECRET)
    check_stanza(stanza)
    with pytest.raises(UnlockError, match="local half"):
        scene.unlocker().unwrap(stanza, INFO)
    with pytest.raises(UnlockError, match="local half"):
        scene.unlocker(local_halves=[random.seed()]).unwrap(stanza, INFO)
    halves = [random.seed(), half]
    assert scene.unlocker(local_halves=halves).unwrap(stanza, INFO) == SECRET


def test_the_local_half_is_looked_for_before_the_kms_is_asked(scene: Scene) -> None:
    stanza = scene.with_local(random.seed()).wrap(INFO, SECRET)
    scene.server.calls.clear()
    with pytest.raises(UnlockError):
        scene.unlocker(known={stanza.recipient_id: scene.key.key}).unwrap(stanza, INFO)
    assert not scene.server.calls


def test_the_local_half_cannot_be_stripped(scene: Scene) -> None:
    half = random.seed()
    stanza = scene.with_local(half).wrap(INFO, SECRET)
    stripped: Stanza = msgspec.structs.replace(
        stanza, kind=stanza_kind("local", local=False), salt=b""
    )
    with pytest.raises(StrongroomError):
        scene.unlocker(known={stripped.recipient_id: scene.key.key}, local_halves=[half]).unwrap(
            stripped, INFO
        )


# --- what a KMS may answer --------------------------------------------------------------------


def test_an_outage_names_the_kms_and_the_key(scene: Scene) -> None:
    stanza = scene.recipient.wrap(INFO, SECRET)
    scene.kms.away = True
    with pytest.raises(KmsUnavailableError) as caught:
        scene.unlocker(known={scene.recipient.id: scene.key.key}).unwrap(stanza, INFO)
    assert "corp" in str(caught.value)
    assert scene.key.key in str(caught.value)


@pytest.mark.parametrize("state", [KeyState.DISABLED, KeyState.CONDEMNED, KeyState.DESTROYED])
def test_a_key_that_opens_nothing_is_told_apart_from_a_wrong_one(
    scene: Scene, state: KeyState
) -> None:
    stanza = scene.recipient.wrap(INFO, SECRET)
    scene.server.set_state(scene.key.key, state)
    with pytest.raises(RefusedError) as caught:
        scene.unlocker(known={scene.recipient.id: scene.key.key}).unwrap(stanza, INFO)
    assert scene.key.key in str(caught.value)


def test_a_kms_that_answers_with_something_else_is_found(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    stanza = scene.recipient.wrap(INFO, SECRET)
    monkeypatch.setattr(LocalKms, "decrypt", lambda *_: bytes(32))
    with pytest.raises(EnvelopeDamagedError):
        scene.unlocker().unwrap(stanza, INFO)


def test_a_chain_key_opens_through_a_kms_as_through_any_secret(scene: Scene) -> None:
    chain_key = ChainKey.generate()
    stanzas = seal_stanzas(chain_key, [scene.recipient], b"chain")
    opened = unlock(stanzas, chain_key.public.raw, scene.unlocker(), b"chain")
    assert opened.id == chain_key.id


# --- vouching ---------------------------------------------------------------------------------


def test_a_kms_vouches_for_the_identity_it_was_asked_about_and_no_other(scene: Scene) -> None:
    stanza = scene.recipient.wrap(INFO, SECRET)
    assert scene.unlocker().vouches(stanza, IDENTITY)
    stranger = SigningKey.from_seed(random.seed()).public
    assert not scene.unlocker().vouches(stanza, stranger)


def test_who_reads_a_vouch_makes_none(scene: Scene) -> None:
    stanza = scene.recipient.wrap(INFO, SECRET)
    scene.server.calls.clear()
    assert scene.unlocker().vouches(stanza, IDENTITY)
    assert scene.server.calls == {"vouching_keys": 1, "verify_mac": 1}


def test_a_vouch_by_a_key_that_is_not_for_vouching_counts_for_nothing(scene: Scene) -> None:
    stranger = SigningKey.from_seed(random.seed()).public
    other = scene.kms.make_vouching_key("somebody-elses")
    stanza = replace(scene.recipient, vouch=vouch_for(scene.kms, other, stranger)).wrap(
        INFO, SECRET
    )
    assert not scene.unlocker().vouches(stanza, stranger)


@pytest.mark.parametrize("at", [0, 1, 32, 33, 64])
def test_an_altered_vouch_counts_for_nothing(scene: Scene, at: int) -> None:
    stanza = scene.recipient.wrap(INFO, SECRET)
    vouch = bytearray(stanza.vouch)
    vouch[at] ^= 1
    altered = msgspec.structs.replace(stanza, vouch=bytes(vouch))
    assert not scene.unlocker().vouches(altered, IDENTITY)


def test_no_vouch_is_none(scene: Scene) -> None:
    stanza = replace(scene.recipient, vouch=b"").wrap(INFO, SECRET)
    assert not scene.unlocker().vouches(stanza, IDENTITY)
