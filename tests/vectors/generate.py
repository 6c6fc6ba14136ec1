"""Writes the vectors: small repositories, each with one defect, and what a reader must say.

    python -m tests.vectors.generate

Sealing and signing are randomised, so another run gives other bytes with the same outcomes. The
vectors change only in a commit that changes docs/format.md.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from blake3 import blake3

from strongroom.crypto import hpke
from strongroom.crypto.aead import PackSealer
from strongroom.crypto.content import ContentHasher, fingerprint
from strongroom.crypto.envelope import ChainKey, seal_stanzas
from strongroom.crypto.kdf import MINIMUM, derive_seed, expand
from strongroom.crypto.keys import DedupKey, MetaKey, Password, Seed, SessionKey
from strongroom.crypto.labels import bind
from strongroom.crypto.recipients import recipient_of, vouch_for
from strongroom.crypto.signing import SigningKey
from strongroom.engine.backup import SourcePlan
from strongroom.format import block, codec, header, journal, versions
from strongroom.format.padding import padme
from strongroom.format.paging import PageRef, Table
from strongroom.format.tables import SESSION_SPAN, SessionRecord
from strongroom.repository import layout
from strongroom.repository.chain import Chain
from tests.vectors.building import ARepository

HERE = Path(__file__).parent
OLD, NEW, NEXT = (f"correct horse battery {number}" for number in (1, 2, 3))
CONTENTS = [b"the first moment\n" * 40, b"the second moment\n" * 40, b"the third moment\n" * 40]
Objects = dict[str, bytes]


@dataclass
class Vector:
    """One defect of one repository."""

    name: str
    expect: str
    comment: str
    base: str
    password: str | None
    point: int = 1
    """Which point is to be restored: 0 the oldest, 1 the one after it, 2 the successor's."""
    put: Objects = field(default_factory=dict)
    remove: list[str] = field(default_factory=list)


class Base:
    """A repository to break, with everything that its server knows."""

    def __init__(
        self,
        folder: Path,
        *,
        sealed: bool,
        successor: SigningKey | None = None,
        copied: bool = False,
    ) -> None:
        tree = folder / "tree"
        tree.mkdir(parents=True)
        source = SourcePlan(source_id=b"source of 16 b..", kind="files", value=str(tree))
        self.maker = ARepository(
            folder / "repository",
            OLD if sealed else None,
            SigningKey.from_seed(Seed(b"signing seed of the vectors 32 b")),
            sources=(source,),
        )
        self.points: list[bytes] = []
        for number, content in enumerate(CONTENTS if successor else CONTENTS[:2]):
            (tree / "file").write_bytes(content)
            os.utime(tree / "file", ns=(number, number))
            os.utime(tree, ns=(0, 0))
            if number == 1 and sealed:
                self.maker.change_password(NEW)
            if number == 2 and successor is not None:
                self.founder = self.maker.signer
                self.maker.take_over(successor, NEXT)
            result = self.maker.run().results[0]
            assert result.point_id is not None
            self.points.append(result.point_id)
        if copied:
            self.maker.copy_plain(folder / "copy")
        self.objects = {
            str(path.relative_to(self.maker.folder)): path.read_bytes()
            for path in sorted(self.maker.folder.rglob("*"))
            if path.is_file() and "locks" not in path.parts
        }
        self.chain = Chain(self.maker.repository.storage, self.maker.chain.chain_id)
        self.id = self.chain.chain_id
        self.signer = self.maker.signer

    def one(self, part: str, skip: int = 0) -> str:
        return [name for name in self.objects if f"/{part}/" in f"/{name}"][skip]

    def entry_name(self, number: int) -> str:
        return layout.entry(self.id, number)

    def signed_entry(self, raw: journal.RawEntry, signer: SigningKey | None = None) -> bytes:
        encoded = codec.encode(raw)
        by = signer or self.signer
        return journal.frame_entry(encoded, by.sign(journal.SIGNING_DOMAIN, encoded))

    def signed_header(self, signer: SigningKey | None = None, **fields: object) -> bytes:
        by = signer or self.signer
        new = msgspec.structs.replace(self.chain.header, identity=by.public.raw, **fields)
        encoded = codec.encode(new)
        return header.frame_header(encoded, by.sign(header.HEADER_DOMAIN, encoded))

    def newest_envelope(self) -> tuple[list[str], header.Envelope]:
        key_id = self.maker.chain_key.id if self.maker.chain_key else b""
        names = [name for name in self.objects if f"envelopes/{key_id.hex()}" in name]
        return names, header.read_envelope(self.objects[names[0]], "it")[0]

    def signed_envelope(self, envelope: header.Envelope, signer: SigningKey | None = None) -> bytes:
        by = signer or self.signer
        encoded = codec.encode(msgspec.structs.replace(envelope, identity=by.public.raw))
        return header.frame_envelope(encoded, by.sign(header.ENVELOPE_DOMAIN, encoded))

    def data_pack(self, point: int) -> tuple[str, int, int]:
        """Return name, offset and length of the block that holds a point's file."""
        entry = self.chain.entry(point + 1)
        assert isinstance(entry.body, journal.SessionBody)
        record = self.chain.sessions(entry.body).get(entry.body.slot)
        assert record is not None
        for _, page in self.chain.ledger(record.ledger).items():
            directory = codec.decode(block_directory(), page.directory, "it")
            if directory.block_class == block.BlockClass.DATA:
                name = layout.pack(self.id, directory.pack_id)
                return name, directory.offsets[0], directory.lengths[0]
        raise LookupError


def block_directory() -> Any:
    from strongroom.format.pack import Directory

    return Directory


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def reframed(data: bytes, body: bytes) -> bytes:
    """Return a framed object with another body and a right checksum."""
    framed = codec.unframe(data[:8], data, "it")
    return codec.frame(data[:8], body, framed.signature)


def opening(base: Base) -> Iterator[Vector]:
    yield Vector("newest", "success", "the newest password opens the newest point", "sealed", NEW)
    yield Vector(
        "through-the-link", "success", "… and older points through the link", "sealed", NEW, 0
    )
    yield Vector(
        "old-password", "success", "an old password opens what was sealed for it", "sealed", OLD, 0
    )
    yield Vector("old-password-new-point", "no-recipient", "… and nothing newer", "sealed", OLD, 1)
    yield Vector("wrong-password", "no-recipient", "not a damaged envelope", "sealed", "wrong")
    yield Vector(
        "no-link",
        "no-recipient",
        "without the link the newest password stops at the change",
        "sealed",
        NEW,
        0,
        remove=[base.one("links")],
    )
    link = header.read_link(base.objects[base.one("links")], "it")
    broken = msgspec.structs.replace(link, sealed=flipped(link.sealed, -1))
    yield Vector(
        "link-altered",
        "chain-broken",
        "a link has no signature; what it opens is compared with what it names",
        "sealed",
        NEW,
        0,
        put={base.one("links"): header.frame_link(broken)},
    )


def headers(base: Base) -> Iterator[Vector]:
    name = layout.header(base.id)
    data = base.objects[name]

    def vector(name_: str, expect: str, comment: str, changed: bytes) -> Vector:
        return Vector(name_, expect, comment, "sealed", NEW, put={name: changed})

    yield vector("header-flipped", "header-malformed", "the checksum", flipped(data, 100))
    yield vector("header-cut", "header-malformed", "lengths that do not add up", data[:-1])
    yield vector("header-longer", "header-malformed", "bytes behind the frame", data + b"\0")
    claim = data[:8] + b"\xff\xff\xff\xff" + data[12:]
    yield vector("header-claims", "header-malformed", "a body of 4 GiB, never read", claim)
    body = codec.unframe(versions.HEADER, data, "it").body
    longer = body.replace(b"\x99\x01", b"\x99\xcc\x01", 1)
    assert longer != body
    signature = base.signer.sign(header.HEADER_DOMAIN, longer)
    yield vector(
        "header-not-canonical",
        "header-malformed",
        "an integer in a longer form, signed: a value has one encoding",
        header.frame_header(longer, signature),
    )
    newer = data[:3] + b"2" + data[4:-32]
    yield vector(
        "next-major-version",
        "version-unsupported",
        "the digit in the magic number; not called damage",
        newer + fingerprint(newer),
    )
    yield vector(
        "unknown-suite",
        "version-unsupported",
        "algorithms this version does not know",
        base.signed_header(suite=9),
    )
    yield vector(
        "header-signature-altered",
        "forged",
        "the second of the two signatures: both have to hold",
        codec.frame(
            versions.HEADER, body, flipped(codec.unframe(versions.HEADER, data, "it").signature, -1)
        ),
    )
    yield vector(
        "header-says-plain",
        "forged",
        "encryption stripped by somebody else: entries are not by this signer",
        base.signed_header(STRANGER, suite=versions.SUITE_PLAIN, recipients=b""),
    )


SUCCESSOR = SigningKey.from_seed(Seed(b"the server after the first one b"))
STRANGER = SigningKey.from_seed(Seed(b"a stranger who knows public half"))


def strangers(base: Base) -> Iterator[Vector]:
    """A chain made by somebody who knows everything public, introducing the genuine signer."""
    objects = {layout.header(base.id): base.signed_header(STRANGER)}
    own_hash = fingerprint(codec.unframe(versions.HEADER, objects[layout.header(base.id)], "").body)
    introduce = journal.encode_entry(
        base.id,
        1,
        own_hash,
        1,
        STRANGER.public.id,
        journal.IdentityBody(base.signer.public.raw),
        1,
    )
    objects[base.entry_name(1)] = journal.frame_entry(
        introduce, STRANGER.sign(journal.SIGNING_DOMAIN, introduce)
    )
    raw = base.chain.entry(2).raw
    body = base.chain.entry(2).body
    assert isinstance(body, journal.SessionBody)
    own = msgspec.structs.replace(body, history=type(body.history)(), base=0)
    objects[base.entry_name(2)] = base.signed_entry(
        msgspec.structs.replace(
            raw,
            previous_hash=fingerprint(introduce),
            signer=STRANGER.public.id,
            body=codec.encode(own),
        ),
        STRANGER,
    )
    yield Vector(
        "stranger-introduces-the-signer",
        "forged",
        "trust goes forward only: who introduces a trusted identity is not trusted for it",
        "sealed",
        NEW,
        put=objects,
    )
    _, envelope = base.newest_envelope()
    alien = ChainKey(Seed(b"a chain key that the stranger ha"))
    sealed = seal_stanzas(
        alien, [recipient_of(one) for one in envelope.stanzas], header.chain_key_context(base.id)
    )
    forged = msgspec.structs.replace(
        envelope, chain_key_id=alien.id, chain_public=alien.public.raw, stanzas=list(sealed)
    )
    alien_name = layout.envelope(base.id, alien.id, 1, "a")
    yield Vector(
        "envelope-by-a-stranger",
        "success",
        "a chain key of their own sealed to the true recipient, signed by themselves: not used",
        "sealed",
        NEW,
        put={alien_name: base.signed_envelope(forged, STRANGER)},
    )


def envelopes(base: Base) -> Iterator[Vector]:
    names, envelope = base.newest_envelope()

    def vector(name: str, expect: str, comment: str, changed: bytes, copies: int = 2) -> Vector:
        put = dict.fromkeys(names[:copies], changed)
        return Vector(name, expect, comment, "sealed", NEW, put=put)

    data = base.objects[names[0]]
    yield vector("one-envelope-flipped", "success", "the other copy", flipped(data, 3000), 1)
    yield vector("envelopes-flipped", "envelope-altered", "both copies", flipped(data, 3000))
    yield Vector(
        "envelope-of-another-generation",
        "envelope-altered",
        "a replaced envelope under the names of the next: its signature holds, its name does not",
        "sealed",
        NEW,
        put={layout.envelope(base.id, envelope.chain_key_id, 2, copy): data for copy in "ab"},
        remove=list(names),
    )
    stanza = envelope.stanzas[0]
    damaged = msgspec.structs.replace(stanza, sealed=flipped(stanza.sealed, -1))
    yield vector(
        "stanza-altered",
        "envelope-altered",
        "for this password by its public half, and does not open: not a wrong password",
        base.signed_envelope(msgspec.structs.replace(envelope, stanzas=[damaged])),
    )
    other = ChainKey(Seed(b"another chain key than is named!"))
    info = bind("stanza", envelope.chain_key_id, header.chain_key_context(base.id))
    public = hpke.PublicKey(stanza.public)
    swapped = msgspec.structs.replace(stanza, sealed=hpke.seal(public, info, other.seed.expose()))
    yield vector(
        "stanza-of-another-key",
        "envelope-altered",
        "opens, to a chain key with another public half",
        base.signed_envelope(msgspec.structs.replace(envelope, stanzas=[swapped])),
    )
    dear = msgspec.structs.replace(stanza, memory_kib=4 << 20)
    yield vector(
        "derivation-of-4-gib",
        "header-malformed",
        "refused before it is tried",
        base.signed_envelope(msgspec.structs.replace(envelope, stanzas=[dear])),
    )
    unvouched = msgspec.structs.replace(
        stanza, vouch=vouch_for(Seed(bytes(32)), base.signer.public)
    )
    yield vector(
        "vouch-by-another-secret",
        "forged",
        "a vouch counts only under the key that the secret itself yields",
        base.signed_envelope(msgspec.structs.replace(envelope, stanzas=[unvouched])),
    )


def entries(base: Base) -> Iterator[Vector]:
    first, second = (base.entry_name(number) for number in (1, 2))

    def vector(name: str, expect: str, comment: str, **fields: Any) -> Vector:
        return Vector(name, expect, comment, "sealed", NEW, **fields)

    yield vector("entry-withheld", "withheld", "its points are promised", remove=[first])
    entry = base.chain.entry(2)
    stripped = journal.frame_entry(
        codec.encode(msgspec.structs.replace(entry.raw, signer=b"")), b""
    )
    yield vector(
        "signature-stripped",
        "forged",
        "only a condemnation may be unsigned",
        put={second: stripped},
    )
    yield vector(
        "entry-replayed",
        "forged",
        "the first entry once more under the next number",
        put={base.entry_name(3): base.objects[first]},
    )
    other = msgspec.structs.replace(base.chain.entry(1).raw, made_at=1)
    yield vector(
        "entry-of-another-history",
        "forked",
        "signed by the right signer, and not what the newest history remembers",
        put={first: base.signed_entry(other)},
    )
    condemn = journal.encode_entry(
        base.id, 3, entry.hash, 1, b"", journal.CondemnationBody([1, 2], [], 0), 1
    )
    yield vector(
        "condemned-by-nobody",
        "success",
        "an unsigned condemnation of promised points counts for nothing",
        put={base.entry_name(3): journal.frame_entry(condemn, b"")},
    )
    yield vector(
        "hole-under-a-condemnation",
        "withheld",
        "… and excuses no hole",
        remove=[first],
        put={base.entry_name(3): journal.frame_entry(condemn, b"")},
    )
    death = journal.encode_entry(
        base.id, 3, bytes(32), 1, base.signer.public.id, journal.DeathBody(bytes(16), b""), 1
    )
    yield vector(
        "entry-follows-another",
        "forked",
        "a signed entry whose previous hash is of another history",
        put={
            base.entry_name(3): journal.frame_entry(
                death, base.signer.sign(journal.SIGNING_DOMAIN, death)
            )
        },
    )
    unknown = msgspec.structs.replace(entry.raw, number=3, kind=42, previous_hash=entry.hash)
    yield vector(
        "unknown-kind-of-entry",
        "version-unsupported",
        "what it says may matter",
        put={base.entry_name(3): base.signed_entry(unknown)},
    )


def successions(base: Base) -> Iterator[Vector]:
    """What anybody can write who would like to take the chain over."""
    name = base.entry_name(3)

    def entry(**fields: Any) -> bytes:
        body = journal.SuccessionBody(STRANGER.public.raw, base.chain.root_hash, 0)
        body = msgspec.structs.replace(body, **fields)
        previous, by = base.chain.entry(2).hash, journal.signer_name(STRANGER.public.id, 3)
        encoded = journal.encode_entry(base.id, 3, previous, 1, by, body, 1)
        return journal.frame_entry(encoded, STRANGER.sign(journal.SIGNING_DOMAIN, encoded))

    def vector(name_: str, expect: str, comment: str, **put: bytes) -> Vector:
        return Vector(f"succession-{name_}", expect, comment, "sealed", NEW, put=dict(put))

    yield vector(
        "by-nobody",
        "success",
        "planted, vouched for by nothing: the chain ends before it",
        **{name: entry()},
    )
    _, envelope = base.newest_envelope()
    alien = ChainKey(Seed(b"a chain key that the stranger ha"))
    context = header.chain_key_context(base.id)
    stanzas = seal_stanzas(alien, [recipient_of(one) for one in envelope.stanzas], context)
    vouch = vouch_for(Seed(bytes(32)), STRANGER.public)
    forged = msgspec.structs.replace(
        envelope,
        chain_key_id=alien.id,
        chain_public=alien.public.raw,
        stanzas=[msgspec.structs.replace(one, vouch=vouch) for one in stanzas],
    )
    alien_name = layout.envelope(base.id, alien.id, 1, "a")
    yield vector(
        "vouched-by-another-secret",
        "success",
        "with an envelope sealed to the true recipient, and a vouch by another secret",
        **{name: entry(), alien_name: base.signed_envelope(forged, STRANGER)},
    )
    yield vector(
        "of-another-header",
        "forged",
        "it fixes the header that it goes back to",
        **{name: entry(header_hash=bytes(32))},
    )
    yield vector(
        "of-another-line",
        "forged",
        "it names the line that it follows, and there is none",
        **{name: entry(before=2)},
    )
    yield vector(
        "signed-by-another",
        "forged",
        "it brings in an identity that did not sign it",
        **{name: entry(identity=base.signer.public.raw)},
    )


def replayed(base: Base, other: Base) -> Vector:
    put = {base.entry_name(3): other.objects[other.entry_name(3)]}
    comment = "the successor of another chain, which this secret would believe there"
    return Vector("succession-replayed", "forged", comment, "sealed", NEW, put=put)


def succeeded(base: Base) -> Iterator[Vector]:
    """A chain that another server took over with entry 3, and goes on in."""

    def vector(name: str, expect: str, comment: str, *where: Any, **put: bytes) -> Vector:
        password, point = where
        return Vector(name, expect, comment, "succeeded", password, point, dict(put))

    yield vector("successor", "success", "the successor's secret opens its point", NEXT, 2)
    yield vector("before-the-successor", "success", "… and all that is older", NEXT, 0)
    yield vector(
        "secret-before-the-successor",
        "success",
        "a secret that vouches for the server before opens what it opened",
        NEW,
        1,
    )
    yield vector(
        "secret-before-the-successor-new-point", "forged", "… and believes nothing newer", NEW, 2
    )
    session = base.chain.entry(4)
    death = journal.encode_entry(
        base.id, 5, session.hash, 1, base.founder.public.id, journal.DeathBody(bytes(16), b""), 1
    )
    signature = base.founder.sign(journal.SIGNING_DOMAIN, death)
    yield vector(
        "succeeded-signer-writes-on",
        "forged",
        "who signed before a SUCCESSION signs nothing above it",
        NEXT,
        2,
        **{base.entry_name(5): journal.frame_entry(death, signature)},
    )
    nameless = msgspec.structs.replace(session.raw, signer=base.signer.public.id)
    yield vector(
        "signer-without-its-entry",
        "forged",
        "a signer names the entry that brings it in; the id alone is the header's identity",
        NEXT,
        2,
        **{base.entry_name(4): base.signed_entry(nameless)},
    )


def tables(base: Base) -> Iterator[Vector]:
    entry = base.chain.entry(2)
    body = entry.body
    assert isinstance(body, journal.SessionBody)
    assert body.sessions.page is not None
    name = layout.tables(base.id, body.sessions.page.object_id)
    changed = flipped(base.objects[name][:-32], body.sessions.page.offset + 20)
    yield Vector(
        "page-altered",
        "point-damaged",
        "a page of the session table, with a right checksum of the object",
        "sealed",
        NEW,
        put={name: changed + fingerprint(changed)},
    )
    yield Vector("tables-missing", "point-damaged", "", "sealed", NEW, remove=[name])
    store = bytearray()
    object_id = b"replaced tables."

    def add(page: bytes) -> PageRef:
        ref = PageRef(object_id, 12 + len(store), len(page), fingerprint(page))
        store.extend(page)
        return ref

    table = Table(SessionRecord, SESSION_SPAN, body.sessions, base.chain.load_page)
    record = table.get(body.slot)
    assert record is not None
    other = msgspec.structs.replace(record, commitment=bytes(32))
    sessions = table.updated({body.slot: other}, add)
    raw = msgspec.structs.replace(
        entry.raw, body=codec.encode(msgspec.structs.replace(body, sessions=sessions))
    )
    yield Vector(
        "keys-not-committed-to",
        "point-damaged",
        "sealed keys that open and do not match the signed commitment",
        "sealed",
        NEW,
        put={
            base.entry_name(2): base.signed_entry(raw),
            layout.tables(base.id, object_id): codec.frame(versions.TABLES, bytes(store)),
        },
    )


def packs(base: Base, which: str, password: str | None) -> Iterator[Vector]:
    name, offset, length = base.data_pack(1)
    older, older_offset, older_length = base.data_pack(0)
    data = base.objects[name]

    def vector(name_: str, comment: str, **fields: Any) -> Vector:
        return Vector(f"{which}-{name_}", "block-damaged", comment, which, password, **fields)

    yield vector("block-flipped", "one bit", put={name: flipped(data, offset + length // 2)})
    yield vector("pack-missing", "withheld or lost", remove=[name])
    yield vector("pack-cut", "truncated", put={name: data[: offset + length - 1]})
    yield vector(
        "pack-replayed",
        "an older pack, whole and intact, under the newer one's name",
        put={name: base.objects[older]},
    )
    if older_length == length:
        block_ = base.objects[older][older_offset : older_offset + length]
        swapped = data[:offset] + block_ + data[offset + length :]
        yield vector("block-swapped", "an older block of the same length", put={name: swapped})


def copied() -> Iterator[Vector]:
    comment = "a plain copy of a sealed chain: what its content hashes are keyed with, it tells"
    yield Vector("plain-copy", "success", comment, "copied", None)
    yield Vector("plain-copy-older", "success", comment, "copied", None, point=0)


def primitives() -> dict[str, Any]:
    """Known answers that do not depend on randomness."""
    key, pack_id, chain_id, session_id = b"k" * 32, b"p" * 32, b"c" * 16, b"s" * 16
    frame = block.pad_frame(block.Codec.RAW, 5, b"hello", sealed=True)
    number = 7 << 16 | 300
    context = block.context(1, chain_id, session_id, number, 0)
    seed = Seed(b"seed seed seed seed seed seed se")
    signing = SigningKey.from_seed(seed)
    return {
        "padme": [[n, padme(n)] for n in (0, 1, 2, 9, 37, 1000, 65573, 131073, 1048613, 1 << 30)],
        "bind": {"name": "x", "parts": ["", "00", "6162"], "out": bind("x", b"", b"\0", b"ab").hex()},
        "expand": {"key": key.hex(), "name": "pack", "salt": pack_id.hex(),
                   "out": expand(SessionKey(key), "pack", 32, pack_id).hex()},
        "frame": {"raw": b"hello".hex(), "out": frame.hex()},
        "block": {
            "session_key": key.hex(), "pack_id": pack_id.hex(), "chain_id": chain_id.hex(),
            "session_id": session_id.hex(), "number": number, "class": 0, "context": context.hex(),
            "sealed": PackSealer(SessionKey(key), pack_id).seal(300, context, frame).hex(),
        },
        "index_block": {
            "sealed": PackSealer(MetaKey(key), pack_id)
            .seal(300, block.context(1, chain_id, session_id, number, 1), frame).hex(),
        },
        "content_hash": {
            "dedup_key": key.hex(), "of": b"hello".hex(),
            "out": ContentHasher(DedupKey(key)).digest(b"hello").hex(),
            "of_digests": ContentHasher(DedupKey(key)).of_digests(bytes(64)).hex(),
            "plain": ContentHasher(None).digest(b"hello").hex(),
            "plain_of_digests": ContentHasher(None).of_digests(bytes(64)).hex(),
        },
        "seed": {
            "seed": seed.expose().hex(), "hpke_id": hpke.PrivateKey.from_seed(seed).public.id.hex(),
            "signer_id": signing.public.id.hex(), "fingerprint": signing.public.fingerprint,
        },
        "password": {
            "text": "Grüße, 12 Zwölftel", "salt": bytes(16).hex(), "memory_kib": MINIMUM.memory_kib,
            "passes": MINIMUM.passes, "lanes": MINIMUM.lanes,
            "seed": derive_seed(Password.from_text("Grüße, 12 Zwölftel"), bytes(16), MINIMUM)
            .expose().hex(),
        },
    }  # fmt: skip


def packed(objects: Objects) -> dict[str, str]:
    return {name: base64.b64encode(data).decode() for name, data in sorted(objects.items())}


def write(name: str, value: object) -> None:
    (HERE / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        bases = {
            "sealed": Base(Path(scratch) / "sealed", sealed=True),
            "plain": Base(Path(scratch) / "plain", sealed=False),
            "succeeded": Base(Path(scratch) / "succeeded", sealed=True, successor=SUCCESSOR),
            "copied": Base(Path(scratch) / "copied", sealed=True, copied=True),
        }
        sealed = bases["sealed"]
        makers: list[Callable[[Base], Iterator[Vector]]] = [
            opening, headers, strangers, envelopes, entries, successions, tables,
        ]  # fmt: skip
        vectors = [vector for make in makers for vector in make(sealed)]
        vectors += packs(sealed, "sealed", NEW)
        vectors.append(Vector("plain", "success", "a plain chain", "plain", None))
        vectors += packs(bases["plain"], "plain", None)
        vectors += succeeded(bases["succeeded"])
        vectors += copied()
        vectors.append(replayed(sealed, bases["succeeded"]))
    for name, base in bases.items():
        write(
            f"base-{name}.json",
            {
                "points": [point.hex() for point in base.points],
                "signer": base.signer.public.fingerprint,
                "objects": packed(base.objects),
            },
        )
    for old in HERE.glob("vector-*.json"):
        old.unlink()
    for vector in vectors:
        released = CONTENTS[vector.point] if vector.expect == "success" else b""
        write(
            f"vector-{vector.name}.json",
            {
                "expect": vector.expect,
                "comment": vector.comment,
                "base": vector.base,
                "password": vector.password,
                "point": vector.point,
                "released": blake3(released).hexdigest(),
                "remove": vector.remove,
                "put": packed(vector.put),
            },
        )
    write("primitives.json", primitives())


if __name__ == "__main__":
    main()
