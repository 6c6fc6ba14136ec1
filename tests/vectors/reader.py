"""A reader of Strongroom repositories that shares no code with Strongroom.

Written from docs/format.md alone, with standard primitives: it is the proof that the document
suffices, and the way to a backup when nothing else is left. It even takes the layout of every value
from the text of the document, so the two go together: keep both. Being read comes before speed.

    python reader.py [--signer FINGERPRINT] REPOSITORY SECRET-FILE [POINT] TARGET

SECRET-FILE holds a password or is a recovery kit; `--plain` in its place reads chains that are not
encrypted. POINT is the beginning of an id, by default the newest point. TARGET is a new or empty
folder for a tree, a new file for a disk or stream; `--list` in its place lists the points.
"""

import base64
import contextlib
import functools
import itertools
import os
import re
import shutil
import stat
import struct
import sys
import unicodedata
from collections import namedtuple
from pathlib import Path
from typing import Annotated

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Meta, defstruct, msgpack

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "format.md"
MIB = 1 << 20
FAULTS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)
FAULTS = (*FAULTS, OSError, struct.error, InvalidTag, zstandard.ZstdError)


class Refused(Exception):
    """Something breaks a rule of the document; `outcome` is a word of 'Test vectors'."""

    def __init__(self, outcome, why):
        super().__init__(f"{outcome}: {why}")
        self.outcome = outcome


@contextlib.contextmanager
def refusing(outcome):
    """Refuse with this outcome whatever fails in a function or a block."""
    try:
        yield
    except FAULTS as fault:
        raise Refused(outcome, str(fault) or repr(fault)) from fault


def ensure(rule, *holds, outcome=None):
    if not all(holds):
        raise Refused(outcome, rule) if outcome else ValueError(f"it has to be so: {rule}")


def say(message):
    print(f"reader: {message}", file=sys.stderr)


# --- Conventions -----------------------------------------------------------------------------

LAYOUTS = dict(re.findall(r"`(\w+)\s\[([^`]*)\]`", DOCUMENT.read_text()))
INT = Annotated[int, Meta(ge=0)]
TYPES = {"bytes": bytes, "str": str, "int": INT, "signed": int, "time": INT}
for name, size in {"id": 16, "id32": 32, "hash": 32}.items():
    TYPES[name] = Annotated[bytes, Meta(min_length=size, max_length=size)]


@functools.cache
def type_of(notation):
    """Return the type that the document writes like this."""
    if notation.endswith(" or nil"):
        return type_of(notation.removesuffix(" or nil")) | None
    if notation.startswith("list of "):
        return list[type_of(notation.removeprefix("list of ").strip("()"))]
    if notation.startswith("map "):
        return dict[tuple(map(type_of, notation.removeprefix("map ").split(" → ")))]
    if notation == "Root":
        return type_of("Tree") | type_of("Disk") | type_of("Stream")
    if notation in TYPES:
        return TYPES[notation]
    fields = [field.split(maxsplit=1) for field in re.split(r",\s", LAYOUTS[notation])]
    tag = fields.pop(0)[0].strip('"') if len(fields[0]) == 1 else None
    fields = [(field, type_of(kind)) for field, kind in fields]
    options = {"array_like": True, "forbid_unknown_fields": True, "frozen": True}
    return defstruct(notation, fields, tag=tag, **options)


def decode(notation, data):
    value = msgpack.decode(data, type=type_of(notation))
    ensure("a value has one encoding", msgpack.encode(value) == data)
    return value


def H(data):
    return blake3(data).digest()


def bind(name, *parts):
    sized = (struct.pack(">Q", len(part)) + part for part in parts)
    return b"strongroom/1/" + name.encode() + b"".join(sized)


def expand(key, name, length, salt=bytes(32)):
    return HKDF(hashes.SHA256(), length, salt, b"strongroom/1/" + name.encode()).derive(key)


# --- Suites ----------------------------------------------------------------------------------

SEALED, PLAIN = 1, 2
HPKE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def public_id(public):
    return H(bind("hpke public", public))


class KeyPair:
    """The HPKE key pair of a seed: a recipient's, or a chain key."""

    def __init__(self, seed):
        both = expand(seed, "hpke", 96)
        kem = mlkem.MLKEM768PrivateKey.from_seed_bytes(both[:64])
        curve = x25519.X25519PrivateKey.from_private_bytes(both[64:])
        self.private = hpke.MLKEM768X25519PrivateKey(kem, curve)
        self.public = b"".join(key.public_key().public_bytes_raw() for key in (kem, curve))
        self.id = public_id(self.public)

    def open(self, info, sealed):
        return HPKE.decrypt(sealed, self.private, info)

    def open_chain_key(self, info, sealed, public):
        chain_key = KeyPair(self.open(info, sealed))
        ensure("the chain key is the one that is named", chain_key.public == public)
        return chain_key


# --- Framed objects --------------------------------------------------------------------------


def framed(path, magic, notation, outcome="header-malformed", most=2 * MIB):
    """Return the value in an object's body, the body, and the signature."""
    with refusing(outcome):
        with path.open("rb") as file:
            data = file.read(most + 1)
        ensure(f"{path.name} has a limit", len(data) <= most)
        version, others = data[3:4], data[:3] + data[4:8]
        ensure("a magic number", others == magic[:3] + magic[4:], version.isdigit())
        ensure("a known version", version == b"1", outcome="version-unsupported")
        (length,) = struct.unpack(">I", data[8:12])
        body, signature = data[12 : 12 + length], data[12 + length + 2 : -32]
        whole = data[:12] + body + struct.pack(">H", len(signature)) + signature
        ensure(f"{path.name} is whole", len(body) == length, data == whole + H(whole))
        value = decode(notation, body)
    known = getattr(value, "format_version", 1) == 1
    ensure("a known version", known, outcome="version-unsupported")
    return value, body, signature


# --- Identities and signatures ---------------------------------------------------------------


class Signer:
    """The public half of a signing key pair."""

    def __init__(self, public, number=0, line=0, place=1):
        self.id, self.line, self.place = H(bind("signing public", public)), line, place
        self.public, self.name = public, self.id + (struct.pack(">Q", number) if number else b"")
        self.ed25519 = ed25519.Ed25519PublicKey.from_public_bytes(public[:32])
        self.mldsa = mldsa.MLDSA65PublicKey.from_public_bytes(public[32:])
        text = base64.b32encode(self.id[:20]).decode().lower()
        self.fingerprint = "-".join(text[at : at + 4] for at in range(0, 32, 4))

    @classmethod
    def of_seed(cls, seed):
        first = ed25519.Ed25519PrivateKey.from_private_bytes(expand(seed, "sign/ed25519", 32))
        second = mldsa.MLDSA65PrivateKey.from_seed_bytes(expand(seed, "sign/ml-dsa-65", 32))
        return cls(b"".join(key.public_key().public_bytes_raw() for key in (first, second)))

    def signed(self, domain, message, signature):
        signed = bind("signature", domain, self.id, message)
        with contextlib.suppress(InvalidSignature, ValueError):
            self.ed25519.verify(signature[:64], signed)
            self.mldsa.verify(signature[64:], signed)
            return True
        return False


# --- Recipients, stanzas, envelopes, links ---------------------------------------------------


class Secret:
    """A password or a recovery kit."""

    def __init__(self, text):
        self.text, self.seed = text, None
        self.derive = functools.cache(self.derive)
        if text.startswith("strongroom recovery kit"):
            with refusing("no-recipient"):
                digits = re.search(r"^secret\b(.*)$", text, re.MULTILINE)[1]
                self.seed = base64.b32decode(re.sub(r"[-\s]", "", digits).upper() + "====")
                ensure("a recovery key has 32 bytes", len(self.seed) == 32)

    def derive(self, salt, memory, passes, lanes):
        password = unicodedata.normalize("NFC", self.text).encode()
        argon2 = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory)
        return argon2.derive(password)

    def seed_for(self, stanza):
        """Return the seed to try on a stanza, none if the stanza is for another kind of secret."""
        if stanza.kind == "password" and self.seed is None:
            return self.derive(stanza.salt, stanza.memory_kib, stanza.passes, stanza.lanes)
        return self.seed if stanza.kind == "recovery" else None


def check_stanza(stanza):
    sizes = map(len, (stanza.public, stanza.salt, stanza.sealed, stanza.vouch))
    ensure("a stanza has limits", len(stanza.kind) <= 32, max(sizes) <= 16 << 10)
    ensure("a hint is a line", len(stanza.hint) <= 200, (stanza.hint + "-").isprintable())
    cost = len(stanza.salt), stanza.memory_kib, stanza.passes, stanza.lanes
    if stanza.kind == "password":
        limits = zip((16, 1 << 16, 3, 4), cost, (16, 1 << 20, 10, 8), strict=True)
        ensure("a derivation has limits", all(low <= one <= high for low, one, high in limits))
    if stanza.kind == "recovery":
        ensure("a recovery key is not derived", cost == (0, 0, 0, 0))
    if stanza.kind in ("password", "recovery"):
        ensure("an id is its recipient's", stanza.recipient_id == public_id(stanza.public))


# --- Blocks ----------------------------------------------------------------------------------

DATA, INDEX = 0, 1


def padded(length, codec, raw_length):
    """Return what a sealed block of `length` bytes is padded to."""
    exponent = length.bit_length() - 1
    step = 1 << (exponent - exponent.bit_length())
    if codec == 0 and raw_length >= 1 << 17 and raw_length.bit_count() == 1:
        step = 4096  # a full area of a disk
    return -(-length // step) * step


def unframed(frame, sealed=True):
    """Return a block's raw content."""
    codec, raw_length, payload_length = struct.unpack(">BII", frame[:9])
    raw, padding = frame[9 : 9 + payload_length], frame[9 + payload_length :]
    size = 9 + payload_length
    size = padded(size + 28, codec, raw_length) - 28 if sealed else size
    ensure("a frame is padded with zeros", len(frame) == size, not any(padding))
    ensure("a codec and a length that are known", codec in (0, 1), raw_length <= 16 * MIB)
    if codec == 1:
        said = zstandard.get_frame_parameters(raw)
        known = said.content_size in (raw_length, zstandard.CONTENTSIZE_UNKNOWN)
        ensure("a zstd frame asks for no more", known, said.window_size <= 16 * MIB)
        raw = zstandard.ZstdDecompressor().decompress(raw, raw_length, allow_extra_data=False)
    ensure("raw content has its length", len(raw) == raw_length)
    return raw


def stored(path, offset, length):
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def digests(column):
    return [column[at : at + 32] for at in range(0, len(column), 32)]


# --- A chain, in the document's order --------------------------------------------------------

Entry = namedtuple("Entry", "raw body hash")
BODIES = {1: "SESSION", 2: "CONDEMNATION", 3: "PROMISE", 4: "DEATH", 5: "IDENTITY"}
BODIES[6] = "SUCCESSION"


class Chain:
    """A chain: its header, its journal, and what the secret at hand opens."""

    # --- Chain header

    def __init__(self, root, name, secret, fingerprints, end=10**10):
        self.folder, self.secret, self.fingerprints = root / "chains" / name, secret, fingerprints
        self.end = end
        self.header, body, signature = framed(root / "headers" / name, b"SRM1HEAD", "ChainHeader")
        self.id, self.suite, self.hash = self.header.chain_id, self.header.suite, H(body)
        self.origin = self.header.origin_id
        known = self.suite in (SEALED, PLAIN)
        ensure("a known suite", known, outcome="version-unsupported")
        named = len(self.header.recipients) == (32 if self.suite == SEALED else 0)
        ensure("recipients are named if sealed", named, outcome="header-malformed")
        with refusing("forged"):
            ensure("the header is this chain's", self.id.hex() == name)
            founder = Signer(self.header.identity)
            ensure("a signed header", founder.signed(b"chain header", body, signature))
        self.identities = {founder.name: founder}
        self.read_journal()
        self.judge()

    # --- Recipients, stanzas, envelopes, links

    def unlock(self):
        """Open the chain keys that the secret leads to, and see whom it vouches for."""
        self.chain_keys, self.broken, self.session_keys, self.vouched = {}, {}, {}, False
        plain, given, name = self.suite == PLAIN, self.secret is not None, self.owner.fingerprint
        ensure("a plain chain takes no secret", not (plain and given), outcome="downgraded")
        ensure("a sealed chain takes a secret", plain or given, outcome="no-recipient")
        if not plain:
            self.open_envelopes()
            self.follow_links()
        elif not self.fingerprints:
            say(f"nobody vouches for the signer {name}")
            return
        # Whose the chain is, is enough: what others signed in it follows from what they signed.
        trusted = self.vouched or name in self.fingerprints
        ensure(f"somebody vouches for the signer {name}", trusted, outcome="forged")

    def open_envelopes(self):
        damage, done = Refused("no-recipient", "the secret opens nothing here"), set()
        name = re.compile("([0-9a-f]{64})-([0-9]{6,})-[ab]")
        paths = sorted(self.folder.glob("envelopes/*"))
        found = filter(None, (name.fullmatch(path.name) for path in paths))
        for match in sorted(found, key=lambda match: -int(match[2])):
            if match[1] not in done:
                try:
                    envelope = self.intact_envelope(match[0], match[1], int(match[2]))
                except Refused as refused:
                    say(damage := refused)
                else:
                    done.add(match[1])
                    self.open_envelope(envelope)
        if not self.chain_keys:
            raise damage

    @refusing("envelope-altered")
    def intact_envelope(self, name, key_id, generation):
        path = self.folder / "envelopes" / name
        envelope, body, signature = framed(path, b"SRM1ENVL", "Envelope", "envelope-altered")
        named = envelope.chain_id, envelope.chain_key_id.hex(), envelope.generation
        ensure("an envelope has its own name", named == (self.id, key_id, generation))
        signer = Signer(envelope.identity)
        known = any(one.id == signer.id for one in self.identities.values())
        ensure("a signed envelope", known, signer.signed(b"envelope", body, signature))
        return envelope

    @refusing("envelope-altered")
    def open_envelope(self, envelope):
        key_id, public = envelope.chain_key_id, envelope.chain_public
        ensure("a chain key has its id", public_id(public) == key_id)
        with refusing("header-malformed"):
            ensure("an envelope has 1 to 64 stanzas", 1 <= len(envelope.stanzas) <= 64)
            for stanza in envelope.stanzas:
                check_stanza(stanza)
        for stanza in envelope.stanzas:
            seed = self.secret.seed_for(stanza)
            if seed and KeyPair(seed).public == stanza.public:
                info = bind("stanza", key_id, b"chain key" + self.origin)
                self.chain_keys[key_id] = KeyPair(seed).open_chain_key(info, stanza.sealed, public)
                vouching = Signer.of_seed(expand(seed, "vouch", 32))
                if vouching.signed(b"vouch", self.owner.public, stanza.vouch):
                    self.vouched = True

    def follow_links(self):
        waiting = list(self.chain_keys.values())
        for newer in waiting:  # which grows meanwhile
            for path in self.folder.glob(f"links/{newer.id.hex()}-*"):
                try:
                    older = self.open_link(path, newer)
                    if older.id not in self.chain_keys:
                        self.chain_keys[older.id] = older
                        waiting.append(older)
                except Refused as refused:
                    self.broken[path.name[65:]] = refused

    @refusing("chain-broken")
    def open_link(self, path, newer):
        link, _, _ = framed(path, b"SRM1LINK", "Link", "chain-broken")
        named = link.chain_id, link.newer_id, link.older_id.hex()
        ensure("a link has its own name", named == (self.id, newer.id, path.name[65:]))
        ensure("a chain key has its id", public_id(link.older_public) == link.older_id)
        info = bind("link", link.older_id, b"chain key" + self.origin)
        return newer.open_chain_key(info, link.sealed, link.older_public)

    # --- Session keys and commitments

    @refusing("point-damaged")
    def keys(self, record):
        """Return session key, metakey and dedup key of a session; a plain chain tells the last."""
        if self.suite == PLAIN:
            return None, None, record.sealed_keys or None
        if record not in self.session_keys:
            if record.chain_key_id not in self.chain_keys:
                closed = Refused("no-recipient", "the secret does not open this session")
                raise self.broken.get(record.chain_key_id.hex(), closed)
            context = b"session" + self.origin + record.session_id
            key, info = self.chain_keys[record.chain_key_id], bind("session keys", context)
            packed = key.open(info, record.sealed_keys)
            commitment = H(bind("session commitment", packed, context))
            ensure("keys are those committed to", commitment == record.commitment)
            *self.session_keys[record], seed = struct.unpack(">32s32s32sQ", packed)
            ensure("a chunker seed has its range", 0 < seed < 1 << 63)
        return self.session_keys[record]

    # --- Paged tables

    def table(self, root, span, record, only=None, first=0):
        """Yield what a table holds, or only the record that is asked for, with indexes."""
        if root.page is None:
            return
        with refusing("point-damaged"):
            ref, levels = root.page, root.levels
            ensure("a page has limits", levels <= 6, ref.offset >= 12, 1 <= ref.length <= MIB)
            page = stored(self.folder / "tables" / ref.object_id.hex(), ref.offset, ref.length)
            ensure("a page is what was signed", H(page) == ref.page_hash)
            leaf = f"list of ({record} or nil)"
            items = decode("Node", page).children if levels else decode(leaf, page)
            each, most = (span * 64 ** (levels - 1), 64) if levels else (1, span)
            ensure("a page is not too long", 1 <= len(items) <= most, items[-1] is not None)
        for at, item in enumerate(items):
            index = first + at * each
            if item is None or (only is not None and not index <= only < index + each):
                continue
            if levels:
                below = type_of("TableRoot")(levels - 1, item)
                yield from self.table(below, span, record, only, index)
            else:
                yield index, item

    # --- Journal

    def read_journal(self):
        """Read what belongs to the journal: every entry is signed by who came before it."""
        self.entries, refused = {}, {}
        paths = sorted(self.folder.glob("journal/" + 10 * "[0-9]"))
        marks = [path.name[5:] for path in self.folder.glob("journal/upto-" + 10 * "[0-9]")]
        paths = [path for path in paths if all(path.name <= mark for mark in marks)]
        for path in (path for path in paths if int(path.name) <= self.end):
            try:
                self.entries[int(path.name)] = self.read_entry(path)
            except Refused as why:
                refused[int(path.name)] = why
        # A state is signed, so nobody planted it. Only above it a missing number matters.
        states = [n for n, entry in self.entries.items() if hasattr(entry.body, "history")]
        self.last = max(states, default=0)
        self.newest = self.entries.get(self.last)
        found = self.entries.keys() | refused.keys()
        while self.last + 1 in found:
            self.last += 1
        for number in sorted(found):
            if number > self.last:
                say(f"chain {self.id.hex()}: entry {number} is behind a missing one: not used")
                self.entries.pop(number, None)
            elif number in refused:
                raise refused[number]
        self.find_owner()

    def find_owner(self):
        """Find whose the chain is, and see that who was succeeded signs no more."""
        named, line, first = self.identities, 0, self.header.identity
        self.identities = {name: one for name, one in named.items() if len(name) == 32}
        for number in sorted(self.entries):
            raw, body, _ = self.entries[number]
            if isinstance(body, type_of("SUCCESSION")):
                ensure("one line follows the other", body.before == line, outcome="forged")
                line, first = number, body.identity
            if isinstance(body, type_of("SUCCESSION") | type_of("IDENTITY")):
                name = Signer(body.identity, number).name
                self.identities.update({name: named[name]} if name in named else {})
            in_force = not raw.signer or named[raw.signer].line == line
            ensure(f"entry {number} is of the line in force", in_force, outcome="forged")
        self.line, self.owner = line, Signer(first)

    @refusing("forged")
    def read_entry(self, path):
        number, limit = int(path.name), 16 * MIB
        raw, encoded, signature = framed(path, b"SRM1JRNL", "RawEntry", most=limit)
        ensure("a known kind", raw.kind in BODIES, outcome="version-unsupported")
        with refusing("header-malformed"):
            body = decode(BODIES[raw.kind], raw.body)
        ensure("an entry has its own name", (raw.chain_id, raw.number) == (self.id, number))
        known, kind = self.identities, BODIES[raw.kind]
        if kind == "SUCCESSION":
            signer = Signer(body.identity, number, number)
            known = known | {signer.name: signer}
            same = body.header_hash == self.hash, raw.signer == signer.name
            ensure("a successor of this chain that signs itself", *same)
        if raw.signer or signature or kind != "CONDEMNATION":
            signer = known[raw.signer]
            ensure("a signed entry", signer.signed(b"journal entry", encoded, signature))
            self.identities = known
        if kind == "IDENTITY" and signer.place < 64:
            signer = Signer(body.identity, number, signer.line, signer.place + 1)
            self.identities[signer.name] = signer
        return Entry(raw, body, H(encoded))

    # --- Promise and withholding: rules for readers

    def judge(self):
        """Find the live points: what the newest history promises must be there."""
        history, promises = {}, {}
        if self.newest:
            history = dict(self.table(self.newest.body.history, 64, "HistoryRecord"))
            number, own = self.newest.raw.number, getattr(self.newest.body, "points", ())
            earlier = all(0 < one < number for one in history)
            ensure("history is of earlier entries", earlier, outcome="point-damaged")
            promises = {one: record.promised for one, record in history.items()}
            promises[number] = [point.point_id for point in own]
        self.known = {0: self.hash} | {n: entry.hash for n, entry in self.entries.items()}
        self.known |= {number: record.entry_hash for number, record in history.items()}
        for number, entry in self.entries.items():
            before = self.known.get(number - 1)
            follows = not entry.raw.signer or before in (None, entry.raw.previous_hash)
            same = entry.hash == self.known[number]
            ensure(f"entry {number} is of this history", follows, same, outcome="forked")
        self.live = []
        for number in filter(promises.get, promises):
            there = number in self.entries
            ensure(f"entry {number} is there, as promised", there, outcome="withheld")
            with refusing("point-damaged"):
                found = {point.point_id: point for point in self.entries[number].body.points}
                for point_id in promises[number]:
                    self.live.append((found[point_id], self.entries[number], self))

    def believed(self):
        """Return the chain as far as the secret or a fingerprint vouches for whose it is."""
        try:
            self.unlock()
        except Refused as why:
            if why.outcome == "forged" and self.line:
                say(f"chain {self.id.hex()} ends for you before entry {self.line}: {why}")
                root, name = self.folder.parents[1], self.folder.name
                return Chain(root, name, self.secret, self.fingerprints, self.line - 1).believed()
        return self

    def check_head(self, head):
        known = self.known.get(head.number)
        ensure(f"entry {head.number} was there", known is not None, outcome="rolled-back")
        ensure(f"entry {head.number} was this one", known == head.entry_hash, outcome="forked")


def open_chains(root, secret, fingerprints):
    """Return every chain that holds together, if none is missed."""
    framed(root / "strongroom-repository", b"SRM1REPO", "RepositoryMarker")
    chains, refused = {}, {}
    for path in sorted(root.glob("headers/" + 32 * "[0-9a-f]")):
        try:
            chains[path.name] = Chain(root, path.name, secret, fingerprints).believed()
        except Refused as why:
            say(f"chain {path.name}: {why}")
            refused[path.name] = why
    if not chains and refused:
        raise refused.popitem()[1]
    for chain in chains.values():
        for head in getattr(chain.newest and chain.newest.body, "older", ()):
            name = head.chain_id.hex()
            if name not in chains:
                raise refused.get(name, Refused("withheld", f"chain {name} is missing"))
            chains[name].check_head(head)
    return list(chains.values())


def points(chains):
    """Return point, entry and chain of every live point, oldest first."""
    live = [one for chain in chains for one in chain.live]
    return sorted(live, key=lambda one: one[1].raw.made_at)


# --- Session table; Ledgers; Blocks ----------------------------------------------------------


class State:
    """What one SESSION published: every block that its points use, by address."""

    @refusing("point-damaged")
    def __init__(self, chain, session):
        chain.unlock()
        self.chain, self.sessions = chain, dict(chain.table(session.sessions, 16, "SessionRecord"))
        self.own = self.sessions[session.slot]
        ensure("the own record is its own", self.own.session_id == session.session_id)
        public, sealed = session.chain_public, chain.suite == SEALED
        named = self.own.chain_key_id == (public_id(public) if sealed else public)
        ensure("a session has one chain key", named)
        names = {record.session_id for record in self.sessions.values()}
        ensure("a session has one slot", len(names) == len(self.sessions), 0 not in self.sessions)
        for one in self.sessions.values():
            keys = one.chain_key_id, one.commitment
            ensure("only plain sessions have no keys", all(keys) if sealed else not any(keys))
            told = one.sealed_keys if sealed else len(one.sealed_keys) in (0, 32)
            ensure("keys are sealed, or one is told", told)
        self.read = functools.lru_cache(8)(self.read)
        self.directory = functools.lru_cache(64)(self.directory)

    @refusing("point-damaged")
    def directory(self, slot, ordinal):
        """Return a pack's directory: as the ledger signs it, whatever the pack itself says."""
        pages = dict(self.chain.table(self.sessions[slot].ledger, 1, "LedgerPage", ordinal))
        found = decode("Directory", pages[ordinal].directory)
        columns = found.places, found.offsets, found.lengths, digests(found.hashes)
        blocks = {place: block for place, *block in zip(*columns, strict=True)}
        end = min(found.offsets)
        ensure("a pack has limits", found.size <= 256 * MIB, len(blocks) <= 16384)
        ensure("blocks follow a header", end in (80, 4096))
        for offset, length, _ in sorted(blocks.values()):
            ensure("blocks lie without gap or overlap", offset == end, length > 0)
            end += length
        ensure("blocks fill a pack", found.size == end, found.ordinal == ordinal)
        ensure("places ascend", found.places == sorted(blocks), max(blocks) < 1 << 16)
        return found, blocks

    @refusing("block-damaged")
    def read(self, address, block_class):
        """Return a block's raw content."""
        chain, record, number = self.chain, self.sessions[address.slot], address.number
        directory, blocks = self.directory(address.slot, number >> 16)
        ensure("a block has the expected class", directory.block_class == block_class)
        offset, length, digest = blocks[number & 0xFFFF]
        pack = directory.pack_id.hex()
        path = chain.folder / "packs" / pack[:2] / pack
        if not path.exists():
            path, offset = self.thinned(address.slot, directory, number & 0xFFFF)
        block = stored(path, offset, length)
        ensure(f"a block of pack {pack} is what was signed", H(block) == digest)
        if chain.suite == PLAIN:
            return unframed(block, sealed=False)
        session_key, metakey, _ = chain.keys(record)
        key = metakey if block_class == INDEX else session_key
        key = AESGCM(expand(key, "pack", 32, directory.pack_id))
        context = b"block" + bytes([chain.suite]) + chain.origin + record.session_id
        context += struct.pack(">QB", number, block_class)
        ensure("a nonce has its place", int.from_bytes(block[:3]) == number & 0xFFFF)
        return unframed(key.decrypt(block[:12], block[12:], context))

    def thinned(self, slot, directory, place):
        """Return what compaction left of a pack, and where a block lies in it."""
        pack = directory.pack_id.hex()
        named = (self.chain.folder / "packs" / pack[:2]).glob(pack + "-*")
        forms = {int(path.name[65:]): path for path in named if path.name[65:].isdigit()}
        for _, path in sorted(forms.items(), reverse=True):
            with contextlib.suppress(Refused), refusing("block-damaged"):
                found = self.thinned_trailer(path, slot, directory)
                return path, found[place]
        raise Refused("block-damaged", f"pack {pack} is there, or what is left of it")

    def thinned_trailer(self, path, slot, directory):
        """Return where the remaining blocks of a pack lie, by place."""
        size = path.stat().st_size
        ensure("a pack has limits", size <= 256 * MIB + 32 * MIB + 44)
        data = stored(path, 0, size)
        length = int.from_bytes(data[-44:-40])
        ensure("a trailer fits", 80 <= size - 44 - length, data[-8:] == b"SRM1PEND")
        trailer = data[size - 44 - length : size - 44]
        found = decode("ThinnedTrailer", trailer)
        pages = dict(
            self.chain.table(self.sessions[slot].ledger, 1, "LedgerPage", directory.ordinal)
        )
        signed = pages[directory.ordinal].directory
        ensure("a thinned pack has the signed directory", found.directory == signed)
        at = min(found.offsets)
        ensure("blocks follow a header", at in (80, 4096))
        ids = self.chain.origin + self.sessions[slot].session_id + directory.pack_id
        header = b"SRM1THIN" + ids + struct.pack(">IB", directory.ordinal, directory.block_class)
        ensure("a thinned pack has the pack's header", data[:at] == header.ljust(at, b"\0"))
        ensure("a footer is true", data[-40:-8] == H(data[:at] + trailer))
        lengths = dict(zip(directory.places, directory.lengths, strict=True))
        births = dict(zip(directory.places, directory.offsets, strict=True))
        where = dict(zip(found.places, found.offsets, strict=True))
        ensure("places ascend", found.places == sorted(where))
        for place in sorted(where, key=births.__getitem__):
            ensure("blocks keep their order and leave no gap", where[place] == at)
            at += lengths[place]
        ensure("trailer and footer fill the rest", at == size - 44 - length)
        return where

    @refusing("point-damaged")
    def page(self, address, notation):
        return decode(notation, self.read(address, INDEX))

    @refusing("block-damaged")
    def piece(self, piece):
        """Return the bytes of a piece: the content hash is the check from end to end."""
        data = self.read(piece.address, DATA)[piece.offset : piece.offset + piece.length]
        _, _, dedup_key = self.chain.keys(self.own)
        found = blake3(data, key=dedup_key).digest()
        ensure("a piece is what was read", len(data) == piece.length, found == piece.digest)
        return data

    # --- Restore point details

    @refusing("point-damaged")
    def details(self, point):
        details = point.details
        if self.chain.suite == SEALED:
            _, metakey, _ = self.chain.keys(self.own)
            key = expand(metakey, "value/point", 32, details[:32])
            context = b"session" + self.chain.origin + self.own.session_id + point.point_id
            details = AESGCM(key).decrypt(details[32:44], details[44:], context)
        found = decode("PointDetails", details)
        ensure("no index has more than 8 levels", found.root.levels <= 8)
        return found


def restore(chain, point, entry, target):
    """Restore a point, all of it or nothing."""
    state, target = State(chain, entry.body), Path(target)
    root = state.details(point).root
    write = {"Tree": write_tree, "Disk": write_disk, "Stream": write_stream}[type(root).__name__]
    partial = target.with_name(target.name + ".partial")
    empty = write is write_tree and target.is_dir() and not any(target.iterdir())
    ensure("nothing is overwritten", empty or not os.path.lexists(target), outcome="target")
    ensure("nothing is overwritten", not os.path.lexists(partial), outcome="target")
    try:
        with refusing("point-damaged"):
            write(state, root, partial)
            partial.rename(target)
    finally:
        shutil.rmtree(partial) if partial.is_dir() else partial.unlink(missing_ok=True)


# --- Trees of files --------------------------------------------------------------------------

LEAVE, DIRECTORY, FILE, SYMLINK, HARD_LINK, CHARACTER, BLOCK, FIFO, SOCKET = range(9)
NODES = {CHARACTER: stat.S_IFCHR, BLOCK: stat.S_IFBLK, FIFO: stat.S_IFIFO, SOCKET: stat.S_IFSOCK}


def tree_entries(state, levels, address):
    """Yield kind, name, attributes, time and content of every entry."""
    if levels == 0:
        yield from entries_of(state, state.page(address, "TreePage"))
        return
    for page in state.page(address, "TreeNode").pages:
        yield from tree_entries(state, levels - 1, page)


def entries_of(state, page):
    """Return the entries of a leaf: no column is too short, or has anything left over."""
    entries, pieces, chunk_lists = [], iter(pieces_of(page)), iter(page.chunk_lists)
    files = iter(list(zip(page.sizes, page.counts, strict=True)))
    columns = zip(page.kinds, page.names, page.rows, page.mtimes, strict=True)
    for at, (kind, name, row, mtime) in enumerate(columns):
        content = None
        if kind == FILE:
            size, count = next(files)
            ensure("a file has at most 16 pieces", -1 <= count <= 16)
            listed = list(itertools.islice(pieces, count)) if count >= 0 else next(chunk_lists)
            content = listed, size
        elif kind in (SYMLINK, HARD_LINK):
            content = page.links.pop(at)
        elif kind in (CHARACTER, BLOCK):
            content = page.devices.pop(at)
        entries.append((kind, name, page.attributes[row] if kind else None, mtime, content))
    left = [*files, *pieces, *chunk_lists, *page.links, *page.devices]
    ensure("the columns of a leaf fit", 1 <= len(entries) <= 1024, not left)
    return entries


def write_tree(state, root, target):
    """Write a tree into a new folder, working in the folder that is being filled.

    Names have one component, and what is there already is never opened: so no link is followed.
    """
    target.mkdir(0o700)
    top, above, last = os.fsencode(target.resolve()), [], b""
    entries = tree_entries(state, root.levels, root.page)
    with contextlib.chdir(target):
        for kind, name, row, mtime, content in entries:
            if kind == LEAVE:
                last, row, mtime = above.pop()
                os.chdir(".." if above else ".")
                write_attributes(last, row, mtime)
            else:
                first = kind == DIRECTORY and not above
                proper = name not in (b"", b".", b"..") and not re.search(rb"[/\0]", name)
                ensure("a name is a name", name == b"." if first else proper)
                ensure("names ascend", name > last)
                last = name
                if kind == DIRECTORY:
                    if not first:
                        os.mkdir(name, 0o700)
                    os.chdir(name)
                    above.append((name, row, mtime))
                    last = b""
                else:
                    write_entry(state, kind, name, content, top)
                    if kind != HARD_LINK:
                        write_attributes(name, row, mtime)
            if not above:
                break
        ensure("the last mark leaves the root", not above, next(entries, None) is None)


def write_entry(state, kind, name, content, top):
    if kind == FILE:
        with open(name, "xb") as file:
            write_pieces(state, file, *content)
    elif kind == SYMLINK:
        os.symlink(content, name)
    elif kind == HARD_LINK:
        parent, _, first = (top + b"/" + content).rpartition(b"/")
        ensure("a path stays within and follows no link", os.path.realpath(parent) == parent)
        os.link(parent + b"/" + first, name, follow_symlinks=False)
    else:
        os.mknod(name, NODES[kind] | 0o600, content or 0)


def write_attributes(name, row, mtime):
    if os.geteuid() == 0:
        os.lchown(name, row.uid, row.gid)
    for attribute in row.xattrs:
        try:
            os.setxattr(name, attribute.name, attribute.value, follow_symlinks=False)
        except OSError as error:
            say(f"{os.fsdecode(name)}: {os.fsdecode(attribute.name)} is not set: {error}")
    os.utime(name, ns=(mtime, mtime), follow_symlinks=False)
    if not os.path.islink(name):
        os.chmod(name, row.mode & 0o7777)


# --- Contents of large files -----------------------------------------------------------------

Piece = namedtuple("Piece", "address offset length digest")


def pieces_of(page):
    """Return the pieces of a page; a hole has no address."""
    hashes = digests(page.piece_hashes)
    columns = page.piece_blocks, page.piece_offsets, page.piece_lengths, hashes
    ensure("a block's index is in range", min(page.piece_blocks, default=0) >= -1)
    addresses = [*page.blocks, None]  # -1 is a hole, and so the last of these
    return [Piece(addresses[block], *rest) for block, *rest in zip(*columns, strict=True)]


def chunk_list(state, levels, address):
    """Yield the pieces that a chunk list holds."""
    ensure("no index has more than 8 levels", levels <= 8)
    if levels == 0:
        pieces = pieces_of(state.page(address, "ChunkPage"))
        ensure("a page has 1 to 4096 pieces", 1 <= len(pieces) <= 4096)
        yield from pieces
        return
    node = state.page(address, "ChunkNode")
    ensure("a node has 1 to 1024 pages", 1 <= len(node.pages) <= 1024)
    for page, length in zip(node.pages, node.lengths, strict=True):
        left = length
        for piece in chunk_list(state, levels - 1, page):
            left -= piece.length
            yield piece
        ensure("lengths add up", left == 0)


def write_pieces(state, file, pieces, size):
    if isinstance(pieces, type_of("ChunkList")):
        address = type_of("address")(pieces.slot, pieces.number)
        pieces = chunk_list(state, pieces.levels, address)
    at = 0
    for piece in pieces:
        at += piece.length
        ensure("lengths add up", at <= size)
        if piece.address is not None:
            file.seek(at - piece.length)
            file.write(state.piece(piece))
    ensure("lengths add up", at == size)
    file.truncate(size)


def write_stream(state, root, target):
    with target.open("xb") as file:
        pieces = chunk_list(state, root.levels, root.page) if root.page else ()
        write_pieces(state, file, pieces, root.size)


# --- Disks -----------------------------------------------------------------------------------

CLUSTER = 64 << 10


def disk_clusters(state, levels, address, first=0):
    """Yield number and place of every cluster that is stored."""
    if address is None:
        return
    if levels:
        children = state.page(address, "DiskNode").children
        ensure("a node has 64 children", len(children) <= 64)
        for at, child in enumerate(children):
            yield from disk_clusters(state, levels - 1, child, first + at * 64**levels)
        return
    leaf, end = state.page(address, "DiskLeaf"), 0
    hashes = digests(leaf.hashes)
    ensure("a cluster in a run has its hash", len(hashes) == sum(leaf.counts))
    columns = leaf.starts, leaf.counts, leaf.run_blocks, leaf.run_offsets
    for start, count, block, offset in zip(*columns, strict=True):
        ensure("runs ascend", end <= start < start + count <= 64)
        end = start + count
        for at in range(count):
            piece = Piece(leaf.blocks[block], offset + at * CLUSTER, CLUSTER, hashes.pop(0))
            yield first + start + at, piece


def write_disk(state, root, target):
    leaves = -(-root.size // (64 * CLUSTER))
    least = next(levels for levels in itertools.count() if 64**levels >= leaves)
    ensure("levels are as few as may be", root.levels == least)
    with target.open("xb") as file:
        for cluster, piece in disk_clusters(state, root.levels, root.page):
            ensure("a cluster lies on the disk", cluster * CLUSTER < root.size)
            file.seek(cluster * CLUSTER)
            file.write(state.piece(piece))
        file.truncate(root.size)


# --- The command -----------------------------------------------------------------------------


def run(repository, secret, target, chosen, fingerprints):
    secret = None if secret == "--plain" else Secret(Path(secret).read_text().rstrip("\n"))
    found = points(open_chains(Path(repository), secret, fingerprints))
    found = [live for live in found if live[0].point_id.hex().startswith(chosen)]
    if target == "--list":
        for point, entry, chain in found:
            with contextlib.suppress(Refused):
                details = State(chain, entry.body).details(point)
                print(point.point_id.hex(), details.taken_at, details.job, details.source)
        return
    ensure("one point is meant", found, not chosen or len(found) == 1, outcome="no-point")
    point, entry, chain = found[-1]
    restore(chain, point, entry, target)


def main(arguments):
    fingerprints = set()
    while arguments[:1] == ["--signer"]:
        fingerprints.add(arguments[1])
        del arguments[:2]
    if not 3 <= len(arguments) <= 4:
        sys.exit(__doc__)
    repository, secret, *chosen, target = arguments
    try:
        run(repository, secret, target, "".join(chosen), fingerprints)
    except Refused as refused:
        say(refused)
        sys.exit(20)


if __name__ == "__main__":
    main(sys.argv[1:])
