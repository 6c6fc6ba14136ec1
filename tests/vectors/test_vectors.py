"""Our code and the independent reader come to the outcome that each vector names."""

from __future__ import annotations

import base64
import importlib.util
import json
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from blake3 import blake3

from strongroom import errors
from strongroom.crypto import hpke
from strongroom.crypto.aead import PackSealer
from strongroom.crypto.content import ContentHasher
from strongroom.crypto.kdf import Argon2Parameters, derive_seed, expand
from strongroom.crypto.keys import DedupKey, MetaKey, Password, Seed, SessionKey
from strongroom.crypto.labels import bind
from strongroom.crypto.recipients import PasswordUnlocker
from strongroom.crypto.signing import SigningKey
from strongroom.engine.points import PointView, open_details
from strongroom.format import block
from strongroom.format.block import BlockAddress, BlockClass
from strongroom.format.codec import decode
from strongroom.format.index import HOLE, TreePage, check_tree_page
from strongroom.format.padding import padme
from strongroom.format.point import TreeRoot, check_root
from strongroom.repository.chain import Chain, Trust
from strongroom.repository.keyring import Keyring
from strongroom.repository.reader import BlockReader
from strongroom.repository.repository import Repository
from strongroom.repository.succession import unlock_believed
from strongroom.storage.local import LocalStorage

HERE = Path(__file__).parent
VECTORS = sorted(HERE.glob("vector-*.json"))
OUTCOMES: dict[str, tuple[type[errors.StrongroomError], ...]] = {
    "no-recipient": (errors.UnlockError,),
    "header-malformed": (errors.MalformedError,),
    "envelope-altered": (errors.EnvelopeDamagedError,),
    "chain-broken": (errors.EnvelopeDamagedError,),
    "point-damaged": (errors.PointDamagedError,),
    "block-damaged": (errors.BlockDamagedError, errors.ObjectMissingError),
    "forged": (errors.ForgedError,),
    "forked": (errors.ForkedError,),
    "withheld": (errors.PointWithheldError,),
    "version-unsupported": (errors.UnsupportedVersionError,),
}


def load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def named(path: Path) -> str:
    return path.stem.removeprefix("vector-")


@pytest.fixture(params=VECTORS, ids=named)
def vector(request: pytest.FixtureRequest) -> dict[str, Any]:
    return load(request.param)


@pytest.fixture
def folder(vector: dict[str, Any], tmp_path: Path) -> Path:
    """The vector's repository, laid out."""
    base = load(HERE / f"base-{vector['base']}.json")
    vector["id"] = base["points"][vector["point"]]
    vector["signer"] = base["signer"]
    objects = base["objects"] | vector["put"]
    for name, data in objects.items():
        if name not in vector["remove"]:
            path = tmp_path / "repository" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(data))
    return tmp_path / "repository"


def by_our_code(folder: Path, vector: dict[str, Any]) -> bytes:
    """Return the content of the only file of the vector's point."""
    repository = Repository.open(LocalStorage(folder))
    content = b""
    for chain_id in repository.chain_ids():
        chain = repository.chain(chain_id)
        keyring = Keyring(chain_id)
        chain.live_points()
        if vector["password"] is not None:
            unlocker = PasswordUnlocker(Password.from_text(vector["password"]))
            chain, keyring = unlock_believed(
                chain, lambda part: part.wrapped.unlock(unlocker, Trust())
            )
        points = {live.point.point_id.hex(): live for live in chain.live_points()}
        if vector["id"] not in points and chain.end is not None:
            raise errors.UnvouchedError("the chain ends before the point, for this secret")
        content += file_of(chain, keyring, points[vector["id"]])
    return content


def file_of(chain: Chain, keyring: Keyring, live: Any) -> bytes:
    details = open_details(chain, keyring, live.body, live.point)
    root = check_root(details.root)
    assert isinstance(root, TreeRoot)
    assert root.levels == 0
    reader = BlockReader(chain, chain.sessions(live.body), keyring)
    raw = reader.read(BlockAddress(*root.page), BlockClass.INDEX)
    page = check_tree_page(decode(TreePage, raw, "a page"))
    pieces = zip(page.piece_blocks, page.piece_offsets, page.piece_lengths, strict=True)
    content = named = b""
    hasher = PointView(chain, live, details, keyring).hasher()
    for index, offset, length in pieces:
        assert index != HOLE
        data = reader.read(BlockAddress(*page.blocks[index]), BlockClass.DATA)
        content += data[offset : offset + length]
        named += hasher.digest(data[offset : offset + length])
    assert named == page.piece_hashes
    return content


def test_our_code_comes_to_the_outcome(folder: Path, vector: dict[str, Any]) -> None:
    if vector["expect"] == "success":
        assert blake3(by_our_code(folder, vector)).hexdigest() == vector["released"]
        return
    assert vector["released"] == blake3(b"").hexdigest()
    with pytest.raises(OUTCOMES[vector["expect"]]):
        by_our_code(folder, vector)


def test_the_independent_reader_comes_to_the_outcome(
    folder: Path, vector: dict[str, Any], tmp_path: Path
) -> None:
    reader = the_reader()
    password = vector["password"]
    secret = reader.Secret(password) if password is not None else None
    outcome, content = "success", b""
    try:
        chains = reader.open_chains(folder, secret, set())
        points = {one[0].point_id.hex(): one for one in reader.points(chains)}
        ended = all(chain.end < 10**10 for chain in chains)
        reader.ensure("it is vouched for", vector["id"] in points or not ended, outcome="forged")
        point, entry, chain = points[vector["id"]]
        reader.restore(chain, point, entry, str(tmp_path / "target"))
        content = (tmp_path / "target" / "file").read_bytes()
    except reader.Refused as refused:
        outcome = refused.outcome
    assert outcome == vector["expect"]
    assert blake3(content).hexdigest() == vector["released"]


def the_reader() -> ModuleType:
    found = sys.modules.get("vectors_reader")
    if found is None:
        spec = importlib.util.spec_from_file_location("vectors_reader", HERE / "reader.py")
        assert spec is not None
        assert spec.loader is not None
        found = sys.modules["vectors_reader"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    return found


def test_every_outcome_has_a_vector() -> None:
    assert {load(path)["expect"] for path in VECTORS} == {"success", *OUTCOMES}


# --- primitives ------------------------------------------------------------------------------


KNOWN = load(HERE / "primitives.json")


def test_known_answers_of_our_primitives() -> None:
    assert [[n, padme(n)] for n, _ in KNOWN["padme"]] == KNOWN["padme"]
    known = KNOWN["bind"]
    assert bind(known["name"], *map(bytes.fromhex, known["parts"])).hex() == known["out"]
    known = KNOWN["expand"]
    key = SessionKey(bytes.fromhex(known["key"]))
    assert expand(key, known["name"], 32, bytes.fromhex(known["salt"])).hex() == known["out"]
    frame = bytes.fromhex(KNOWN["frame"]["out"])
    assert block.read_frame(frame, "it").hex() == KNOWN["frame"]["raw"]
    assert block.pad_frame(block.Codec.RAW, 5, b"hello", sealed=True) == frame
    known = KNOWN["block"]
    session_key, pack_id = (bytes.fromhex(known[name]) for name in ("session_key", "pack_id"))
    chain_id, session_id = (bytes.fromhex(known[name]) for name in ("chain_id", "session_id"))
    context = block.context(1, chain_id, session_id, known["number"], 0)
    assert context.hex() == known["context"]
    place = known["number"] & 0xFFFF
    sealed = PackSealer(SessionKey(session_key), pack_id).seal(place, context, frame)
    assert sealed.hex() == known["sealed"]
    index = block.context(1, chain_id, session_id, known["number"], 1)
    sealed = PackSealer(MetaKey(session_key), pack_id).seal(place, index, frame)
    assert sealed.hex() == KNOWN["index_block"]["sealed"]
    known = KNOWN["content_hash"]
    hasher = ContentHasher(DedupKey(bytes.fromhex(known["dedup_key"])))
    assert hasher.digest(b"hello").hex() == known["out"]
    assert hasher.of_digests(bytes(64)).hex() == known["of_digests"]
    assert ContentHasher(None).digest(b"hello").hex() == known["plain"]
    assert ContentHasher(None).of_digests(bytes(64)).hex() == known["plain_of_digests"]
    known = KNOWN["seed"]
    seed = Seed(bytes.fromhex(known["seed"]))
    assert hpke.PrivateKey.from_seed(seed).public.id.hex() == known["hpke_id"]
    assert SigningKey.from_seed(seed).public.id.hex() == known["signer_id"]
    assert SigningKey.from_seed(seed).public.fingerprint == known["fingerprint"]
    known = KNOWN["password"]
    parameters = Argon2Parameters(known["memory_kib"], known["passes"], known["lanes"])
    password = Password.from_text(known["text"])
    derived = derive_seed(password, bytes.fromhex(known["salt"]), parameters)
    assert derived.expose().hex() == known["seed"]


def test_known_answers_as_the_document_says_them() -> None:
    """The same, from nothing but the document's formulas."""
    reader = the_reader()
    known = KNOWN["block"]
    key, pack_id, chain_id, session_id = (
        bytes.fromhex(known[name]) for name in ("session_key", "pack_id", "chain_id", "session_id")
    )
    frame = bytes.fromhex(KNOWN["frame"]["out"])
    data = b"block\x01" + chain_id + session_id + struct.pack(">QB", known["number"], 0)
    nonce_key = reader.expand(key, "nonce", 32, pack_id)
    nonce = (known["number"] & 0xFFFF).to_bytes(3, "big")
    nonce += blake3(struct.pack(">Q", len(data)) + data + frame, key=nonce_key).digest(9)
    sealed = nonce + reader.AESGCM(reader.expand(key, "pack", 32, pack_id)).encrypt(
        nonce, frame, data
    )
    assert sealed.hex() == known["sealed"]
    assert reader.unframed(frame) == b"hello"
    known = KNOWN["content_hash"]
    dedup_key = bytes.fromhex(known["dedup_key"])
    derived = blake3(dedup_key, derive_key_context="strongroom/1/digests").digest()
    assert blake3(bytes(64), key=derived).hexdigest() == known["of_digests"]
    plain = blake3(bytes(64), derive_key_context="strongroom/1/digests").hexdigest()
    assert plain == known["plain_of_digests"]
    known = KNOWN["seed"]
    assert reader.KeyPair(bytes.fromhex(known["seed"])).id.hex() == known["hpke_id"]
