"""A reader of Strongroom repositories that shares no code with Strongroom.

Written from docs/format.md alone, with standard primitives: it is the proof that the document
suffices, and the way to a backup when nothing else is left. It favours being read over speed.

    python reader.py REPOSITORY PASSWORD-FILE [POINT] TARGET

POINT is the beginning of an id, by default the newest point; TARGET is a folder that is empty or
not there yet (trees), or a file that is not there yet (disks, streams). `--list` in place of
TARGET lists points. PASSWORD-FILE holds a password, or a recovery kit, or the 64 hexadecimal
digits of its seed; `--plain` in its place reads unencrypted chains. `--signer FINGERPRINT` trusts
a signer.
"""

from __future__ import annotations

import base64
import os
import re
import struct
import sys
import unicodedata
from collections import namedtuple
from pathlib import Path

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import DecodeError, msgpack

CLUSTER = 65536
SESSION, CONDEMNATION, PROMISE, DEATH, IDENTITY = range(1, 6)


class Refused(Exception):
    """Why a repository is not believed, as one of the document's outcomes."""

    def __init__(self, outcome, message):
        super().__init__(f"{outcome}: {message}")
        self.outcome = outcome


def say(message):
    print(f"reader: {message}", file=sys.stderr)


def need(holds, outcome, message):
    if not holds:
        raise Refused(outcome, message)


# --- Conventions --------------------------------------------------------------------------------


def H(data):
    return blake3(data).digest()


def label(name):
    return b"strongroom/1/" + name.encode()


def bind(name, *parts):
    return label(name) + b"".join(struct.pack(">Q", len(part)) + part for part in parts)


def expand(key, name, length, salt=b""):
    return HKDF(hashes.SHA256(), length, salt or None, label(name)).derive(key)


def value(data, outcome="header-malformed"):
    try:
        found = msgpack.decode(data)
        need(msgpack.encode(found) == data, outcome, "not the one encoding of a value")
    except (DecodeError, ValueError, RecursionError) as error:
        raise Refused(outcome, f"no value: {error}") from error
    return found


def record(name, fields):
    made = namedtuple(name, fields)

    def read(found, outcome="header-malformed"):
        fits = isinstance(found, list) and len(found) == len(made._fields)
        need(fits, outcome, f"this is no {name}")
        return made(*found)

    return read


Header = record(
    "Header", "format_version suite chain_id job_id created_at identity previous recipients"
)
Envelope = record("Envelope", "chain_id chain_key_id public generation identity stanzas")
Stanza = record("Stanza", "kind recipient_id public salt memory_kib passes lanes hint sealed vouch")
Link = record("Link", "chain_id older_id older_public newer_id sealed")
RawEntry = record(
    "RawEntry", "format_version chain_id number kind previous_hash made_at signer body"
)
Session = record(
    "Session",
    "session_id slot base counter previous next_due older chain_public points sessions sets"
    " history",
)
Promise = record("Promise", "history reason")
Condemnation = record("Condemnation", "entries objects not_before")
Death = record("Death", "session_id heir")
Identity = record("Identity", "identity")
Point = record("Point", "point_id source_id kind details")
SessionRecord = record(
    "SessionRecord", "session_id chain_key_id sealed_keys commitment ledger packs"
)
History = record("History", "entry_hash promised held")
Directory = record("Directory", "pack_id ordinal block_class size places offsets lengths hashes")
Details = record(
    "Details",
    "job machine source parent reason taken_at finished_at size_bytes stored_bytes files warnings"
    " root recognition",
)
TreePage = record(
    "TreePage",
    "kinds names rows mtimes attributes sizes counts piece_blocks piece_offsets piece_lengths"
    " piece_hashes blocks chunk_lists links devices",
)
TreeNode = record("TreeNode", "pages recognition entries leaves leads enters firsts")
ChunkPage = record("ChunkPage", "blocks piece_blocks piece_offsets piece_lengths piece_hashes")
ChunkNode = record("ChunkNode", "pages lengths")
DiskLeaf = record("DiskLeaf", "blocks starts counts run_blocks run_offsets hashes")
BODIES = {
    SESSION: Session,
    CONDEMNATION: Condemnation,
    PROMISE: Promise,
    DEATH: Death,
    IDENTITY: Identity,
}
Entry = namedtuple("Entry", "raw body hash")
Keys = namedtuple("Keys", "session meta dedup")


# --- Framed objects -----------------------------------------------------------------------------


def framed(path, magic, limit):
    need(path.stat().st_size <= limit, "header-malformed", f"{path} is larger than it may be")
    return unframe(path.read_bytes(), magic)


def unframe(data, magic):
    if data[:3] + data[4:8] == magic[:3] + magic[4:] and data[3:4].isdigit():
        need(data[:8] == magic, "version-unsupported", f"format {data[3:4].decode()}")
    need(data[:8] == magic and len(data) >= 46, "header-malformed", "another kind of object")
    (length,) = struct.unpack_from(">I", data, 8)
    need(length + 46 <= len(data), "header-malformed", "cut short")
    (signed,) = struct.unpack_from(">H", data, 12 + length)
    end = 14 + length + signed
    need(end + 32 == len(data), "header-malformed", "lengths that do not add up")
    need(H(data[:end]) == data[end:], "header-malformed", "changed or damaged in storage")
    return data[12 : 12 + length], data[14 + length : end]


# --- Identities and signatures ------------------------------------------------------------------


class Signer:
    def __init__(self, public):
        need(len(public) == 32 + 1952, "forged", "this is no signer's public half")
        self.public = public
        self.id = H(bind("signing public", public))
        text = base64.b32encode(self.id[:20]).decode().lower()
        self.fingerprint = "-".join(text[at : at + 4] for at in range(0, len(text), 4))

    def check(self, domain, message, signature):
        bound = bind("signature", domain.encode(), self.id, message)
        try:
            ed = ed25519.Ed25519PublicKey.from_public_bytes(self.public[:32])
            ed.verify(signature[:64], bound)
            ml = mldsa.MLDSA65PublicKey.from_public_bytes(self.public[32:])
            ml.verify(signature[64:], bound)
        except (InvalidSignature, ValueError):
            raise Refused("forged", f"this {domain} is not signed by {self.fingerprint}") from None

    def signed(self, domain, message, signature):
        try:
            self.check(domain, message, signature)
        except Refused:
            return False
        return True


def vouching(seed):
    seed = expand(seed, "vouch", 32)
    ed = ed25519.Ed25519PrivateKey.from_private_bytes(expand(seed, "sign/ed25519", 32))
    ml = mldsa.MLDSA65PrivateKey.from_seed_bytes(expand(seed, "sign/ml-dsa-65", 32))
    return Signer(ed.public_key().public_bytes_raw() + ml.public_key().public_bytes_raw())


# --- Recipients, stanzas, envelopes, links ------------------------------------------------------

SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class KeyPair:
    def __init__(self, seed):
        both = expand(seed, "hpke", 96)
        kem = mlkem.MLKEM768PrivateKey.from_seed_bytes(both[:64])
        curve = x25519.X25519PrivateKey.from_private_bytes(both[64:])
        self.seed = seed
        self.private = hpke.MLKEM768X25519PrivateKey(kem, curve)
        self.public = kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
        self.id = key_id(self.public)

    def open(self, info, sealed, outcome):
        try:
            return SUITE.decrypt(sealed, self.private, info)
        except (InvalidTag, ValueError):
            raise Refused(outcome, "what was sealed to a key does not open with it") from None


def key_id(public):
    return H(bind("hpke public", public))


class Secret:
    """A password, or the seed of a recovery key."""

    def __init__(self, text):
        self.password = unicodedata.normalize("NFC", text).encode()
        self.seed = bytes.fromhex(text) if re.fullmatch("[0-9a-fA-F]{64}", text) else None
        kit = re.search(r"^\s*secret\s+([a-z2-7 -]+)$", text, re.MULTILINE | re.IGNORECASE)
        if kit and text.lstrip().lower().startswith("strongroom recovery kit"):
            letters = re.sub("[ -]", "", kit[1]).upper()
            self.seed = base64.b32decode(letters + "=" * (-len(letters) % 8))

    def key_pair(self, stanza):
        """Return the key pair the stanza was sealed to, or None if it is not for this secret."""
        if stanza.kind == "recovery":
            seed = self.seed
        elif stanza.kind == "password":
            within = (
                len(stanza.salt) == 16
                and 65536 <= stanza.memory_kib <= 1048576
                and 3 <= stanza.passes <= 10
                and 4 <= stanza.lanes <= 8
            )
            need(within, "header-malformed", "a stanza's derivation is beyond the limits")
            seed = Argon2id(
                salt=stanza.salt,
                length=32,
                iterations=stanza.passes,
                lanes=stanza.lanes,
                memory_cost=stanza.memory_kib,
            ).derive(self.password)
        else:
            seed = None
        pair = seed and KeyPair(seed)
        if not pair or pair.public != stanza.public:
            return None
        need(pair.id == stanza.recipient_id, "envelope-altered", "a stanza's id")
        return pair


# --- Chains -------------------------------------------------------------------------------------


class Chain:
    """One chain, from its header to its blocks."""

    def __init__(self, root, chain_id):
        self.id = chain_id
        self.folder = root / "chains" / chain_id.hex()
        body, signature = framed(root / "headers" / chain_id.hex(), b"SRM1HEAD", 2 << 20)
        header = self.header = Header(value(body))
        known = header.format_version == 1 and header.suite in (1, 2)
        need(known, "version-unsupported", f"suite {header.suite}")
        need(header.chain_id == chain_id, "forged", "the header of another chain")
        self.sealed = header.suite == 1
        need(len(header.recipients) == 32 * self.sealed, "header-malformed", "recipients")
        self.first_signer = Signer(header.identity)
        self.first_signer.check("chain header", body, signature)
        self.header_hash = H(body)
        self.signers = {self.first_signer.id: self.first_signer}
        self.introduced_by = {}
        self.trusted = set()
        self.chain_keys = {}
        self.session_keys = {}
        self.entries = {}
        self.read_journal()

    # Journal

    def read_journal(self):
        names = sorted(path.name for path in self.folder.glob("journal/*"))
        need(all(re.fullmatch("[0-9]{10}", one) for one in names), "header-malformed", "a name")
        for number in map(int, names):
            path = self.folder / f"journal/{number:010d}"
            body, signature = framed(path, b"SRM1JRNL", 16 << 20)
            raw = RawEntry(value(body))
            known = raw.format_version == 1 and raw.kind in BODIES
            need(known, "version-unsupported", f"entry {number} of kind {raw.kind}")
            placed = raw.chain_id == self.id and raw.number == number
            need(placed, "forged", f"entry {number} is from elsewhere")
            if raw.signer:
                need(raw.signer in self.signers, "forged", f"a stranger signs entry {number}")
                self.signers[raw.signer].check("journal entry", body, signature)
            else:
                unsigned = raw.kind == CONDEMNATION and not signature
                need(unsigned, "forged", f"entry {number} is not signed")
            entry = Entry(raw, BODIES[raw.kind](value(raw.body)), H(body))
            self.entries[number] = entry
            if raw.kind == IDENTITY:
                signer = Signer(entry.body.identity)
                self.signers.setdefault(signer.id, signer)
                self.introduced_by.setdefault(signer.id, []).append(raw.signer)

    def live_points(self):
        """Return every point that is promised, with its entry: promise and withholding."""
        speaking = [n for n, one in self.entries.items() if one.raw.kind in (SESSION, PROMISE)]
        if not speaking:
            return []
        newest = max(speaking)
        self.rely_on(newest)
        number = newest + 1
        while number in self.entries:
            raw = self.entries[number].raw
            follows = not raw.signer or raw.previous_hash == self.entries[number - 1].hash
            need(follows, "forked", f"entry {number} follows another history")
            number += 1
        if number <= max(self.entries):
            say(f"entry {number} is missing; what is behind it is left out")
        if 1 in self.entries:
            follows = self.entries[1].raw.previous_hash == self.header_hash
            need(follows, "forked", "the first entry follows another header")
        points = []
        for number, item in self.table(self.entries[newest].body.history, 64):
            remembered = History(item)
            entry = self.entries.get(number)
            if entry is None:
                need(not remembered.promised, "withheld", f"entry {number} is promised and missing")
                continue
            need(entry.hash == remembered.entry_hash, "forked", f"entry {number} is another")
            if remembered.promised:
                need(entry.raw.kind == SESSION, "header-malformed", "points of no session")
                self.rely_on(number)
                mine = [Point(one) for one in entry.body.points]
                points += [(one, entry) for one in mine if one.point_id in remembered.promised]
        if self.entries[newest].raw.kind == SESSION:
            entry = self.entries[newest]
            points += [(Point(one), entry) for one in entry.body.points]
        return points

    def check_known(self, number, entry_hash):
        """Find an entry that is known from elsewhere, here or in what the newest history says."""
        if number in self.entries:
            found = self.entries[number].hash
        else:
            speaking = [n for n, one in self.entries.items() if one.raw.kind in (SESSION, PROMISE)]
            need(speaking, "rolled-back", f"entry {number} is not there")
            item = self.find(self.entries[max(speaking)].body.history, 64, number)
            need(item is not None, "rolled-back", f"entry {number} is neither there nor remembered")
            found = History(item).entry_hash
        need(found == entry_hash, "forked", f"entry {number} is another than was seen")

    def rely_on(self, number):
        signer = self.entries[number].raw.signer
        need(signer in self.trusted, "forged", f"nobody vouches for the signer of entry {number}")

    # Whom to trust

    def trust(self, fingerprints, vouched):
        """Trust goes forward: from what is pinned or vouched for to what that introduces."""
        self.trusted = {
            signer.id
            for signer in self.signers.values()
            if signer.fingerprint in fingerprints or vouched(signer)
        }
        for introduced, by in self.introduced_by.items():  # in the journal's order
            if self.trusted.intersection(by):
                self.trusted.add(introduced)
        need(
            self.first_signer.id in self.trusted,
            "forged",
            f"nobody vouches for the signer {self.first_signer.fingerprint}",
        )

    # Keys

    def unlock(self, secret, fingerprints):
        """Open one chain key with the secret and the older ones through links."""
        context = b"chain key" + self.id
        best = {}
        broken = set()
        for path in sorted(self.folder.glob("envelopes/*")):
            try:
                body, signature = framed(path, b"SRM1ENVL", 2 << 20)
                envelope = Envelope(value(body))
                placed = (
                    envelope.chain_id == self.id
                    and path.name.startswith(envelope.chain_key_id.hex() + "-")
                    and envelope.chain_key_id == key_id(envelope.public)
                )
                need(placed, "envelope-altered", f"{path.name} is of something else")
                signer = Signer(envelope.identity)
                need(signer.id in self.signers, "envelope-altered", "signed by a stranger")
                signer.check("envelope", body, signature)
            except Refused as refused:
                broken.add(path.name[:64])
                say(f"{path.name}: {refused}")
                continue
            held = best.get(envelope.chain_key_id)
            if held is None or held.generation < envelope.generation:
                best[envelope.chain_key_id] = envelope
        lost = [name for name in broken if bytes.fromhex(name) not in best]
        need(best and not lost, "envelope-altered", "no intact envelope of a chain key")
        for envelope in best.values():
            stanzas = [Stanza(one) for one in envelope.stanzas]
            need(1 <= len(stanzas) <= 64, "header-malformed", "too many stanzas")
            for stanza in stanzas:
                pair = secret.key_pair(stanza)
                if pair is None:
                    continue
                info = bind("stanza", envelope.chain_key_id, context)
                chain_key = KeyPair(pair.open(info, stanza.sealed, "envelope-altered"))
                need(chain_key.public == envelope.public, "envelope-altered", "another chain key")
                voucher = vouching(pair.seed)
                self.trust(
                    fingerprints, lambda one: voucher.signed("vouch", one.public, stanza.vouch)
                )
                signer = Signer(envelope.identity)
                need(
                    signer.id in self.trusted, "forged", "nobody vouches for the envelope's signer"
                )
                self.chain_keys.setdefault(chain_key.id, chain_key)
                break
        need(self.chain_keys, "no-recipient", "the secret opens no envelope of this chain")
        pending = list(self.chain_keys.values())
        while pending:
            newer = pending.pop()
            for path in self.folder.glob(f"links/{newer.id.hex()}-*"):
                link = Link(value(framed(path, b"SRM1LINK", 2 << 20)[0]))
                same = link.chain_id == self.id and link.newer_id == newer.id
                need(same, "chain-broken", f"{path.name} links something else")
                info = bind("link", link.older_id, context)
                older = KeyPair(newer.open(info, link.sealed, "chain-broken"))
                named = older.public == link.older_public and older.id == link.older_id
                need(named, "chain-broken", f"{path.name} holds another chain key")
                if older.id not in self.chain_keys:
                    self.chain_keys[older.id] = older
                    pending.append(older)

    def keys(self, session):
        """Return the keys of a session's record, opened and compared with its commitment."""
        known = self.session_keys.get(session.session_id)
        if known is None:
            pair = self.chain_keys.get(session.chain_key_id)
            need(pair, "no-recipient", "a session is sealed to a chain key that does not open")
            context = b"session" + self.id + session.session_id
            packed = pair.open(bind("session keys", context), session.sealed_keys, "point-damaged")
            commitment = H(bind("session commitment", packed, context))
            holds = len(packed) == 104 and commitment == session.commitment
            need(holds, "point-damaged", "a session's keys are not those it committed to")
            known = Keys(packed[:32], packed[32:64], packed[64:96])
            self.session_keys[session.session_id] = known
        return known

    # Paged tables

    def page(self, reference):
        object_id, offset, length, page_hash = reference
        need(len(object_id) == 16 and 0 < length <= 1 << 20, "point-damaged", "a reference")
        try:
            with (self.folder / "tables" / object_id.hex()).open("rb") as file:
                file.seek(offset)
                data = file.read(length)
        except FileNotFoundError:
            raise Refused("point-damaged", "a tables object is missing") from None
        need(H(data) == page_hash, "point-damaged", "a page of a table is not what was signed")
        return value(data, "point-damaged")

    def table(self, root, span, index=None):
        """Yield index and record, of the whole table or where `index` is."""
        levels, top = root
        need(0 <= levels <= 6, "point-damaged", "a table too deep")
        stack = [(levels, 0, top)]
        while stack:
            level, first, reference = stack.pop()
            if reference is None:
                continue
            page = self.page(reference)
            step = span * 64 ** (level - 1) if level else 1
            items = page[0] if level else page
            need(0 < len(items) <= (64 if level else span), "point-damaged", "a page too long")
            below = []
            for place, item in enumerate(items):
                at = first + place * step
                if item is None or (index is not None and not at <= index < at + step):
                    continue
                if level:
                    below.append((level - 1, at, item))
                else:
                    yield at, item
            stack.extend(reversed(below))

    def find(self, root, span, index):
        return next((item for _, item in self.table(root, span, index)), None)

    # Restore points

    def details(self, point, entry):
        data = point.details
        if self.sealed:
            item = self.find(entry.body.sessions, 16, entry.body.slot)
            need(item is not None, "point-damaged", "the session has no record")
            session = SessionRecord(item, "point-damaged")
            own = (
                session.session_id == entry.body.session_id
                and key_id(entry.body.chain_public) == session.chain_key_id
            )
            need(own, "point-damaged", "the record is of another session")
            context = b"session" + self.id + session.session_id + point.point_id
            key = expand(self.keys(session).meta, "value/point", 32, data[:32])
            try:
                data = AESGCM(key).decrypt(data[32:44], data[44:], context)
            except (InvalidTag, ValueError):
                raise Refused("point-damaged", "the point's details do not open") from None
        return Details(value(data, "point-damaged"), "point-damaged")


# --- Blocks -------------------------------------------------------------------------------------


class Blocks:
    """Blocks as one entry's session table leads to them."""

    def __init__(self, chain, body):
        self.chain = chain
        self.body = body
        self.records = {}
        self.directories = {}
        self.last = (None, None)

    def content_hash(self, address, data):
        """Return the content hash of data; the dedup key is the same in all sessions."""
        if not self.chain.sealed:
            return H(data)
        return blake3(data, key=self.chain.keys(self.session(address[0])).dedup).digest()

    def session(self, slot):
        if slot not in self.records:
            item = self.chain.find(self.body.sessions, 16, slot)
            need(item is not None, "point-damaged", f"no session has slot {slot}")
            self.records[slot] = SessionRecord(item, "point-damaged")
        return self.records[slot]

    def directory(self, slot, ordinal):
        if (slot, ordinal) not in self.directories:
            item = self.chain.find(self.session(slot).ledger, 1, ordinal)
            need(item is not None, "point-damaged", f"the ledger lacks pack {ordinal}")
            found = Directory(value(item[0], "point-damaged"), "point-damaged")
            count = len(found.places)
            fits = (
                found.ordinal == ordinal
                and count == len(found.offsets) == len(found.lengths)
                and len(found.hashes) == 32 * count
                and found.places == sorted(set(found.places))
                and 0 < sum(found.lengths) <= 256 << 20
                and all(length > 0 for length in found.lengths)
            )
            need(fits, "point-damaged", "a directory whose columns do not fit")
            self.directories[slot, ordinal] = found
        return self.directories[slot, ordinal]

    def read(self, address, block_class):
        address = tuple(address)
        if self.last[0] == (address, block_class):
            return self.last[1]
        slot, number = address
        ordinal, place = number >> 16, number & 0xFFFF
        directory = self.directory(slot, ordinal)
        held = place in directory.places and directory.block_class == block_class
        need(held, "block-damaged", f"no block {number} of class {block_class} in slot {slot}")
        index = directory.places.index(place)
        name = directory.pack_id.hex()
        try:
            with (self.chain.folder / "packs" / name[:2] / name).open("rb") as file:
                file.seek(directory.offsets[index])
                stored = file.read(directory.lengths[index])
        except FileNotFoundError:
            raise Refused("block-damaged", f"pack {name} is missing") from None
        intact = H(stored) == directory.hashes[32 * index : 32 * index + 32]
        need(intact, "block-damaged", f"block {number} in pack {name} is not what was signed")
        if self.chain.sealed:
            stored = self.open(self.session(slot), directory, number, stored)
        self.last = ((address, block_class), unframed(stored))
        return self.last[1]

    def open(self, session, directory, number, stored):
        chain = self.chain
        keys = chain.keys(session)
        key = keys.meta if directory.block_class else keys.session
        data = b"block\x01" + chain.id + session.session_id
        data += struct.pack(">QB", number, directory.block_class)
        nonce = stored[:12]
        placed = nonce[:3] == struct.pack(">I", number & 0xFFFF)[1:]
        need(placed, "block-damaged", f"block {number} was sealed for another place")
        try:
            aead = AESGCM(expand(key, "pack", 32, directory.pack_id))
            return aead.decrypt(nonce, stored[12:], data)
        except (InvalidTag, ValueError):
            raise Refused("block-damaged", f"block {number} does not open") from None

    def page(self, address):
        return value(self.read(address, 1), "point-damaged")


def unframed(frame):
    need(len(frame) >= 9, "block-damaged", "shorter than a frame")
    codec, raw_length, length = struct.unpack_from(">BII", frame)
    possible = raw_length <= 16 << 20 and 9 + length <= len(frame) and codec in (0, 1)
    need(possible, "block-damaged", "a frame that cannot be")
    need(not any(frame[9 + length :]), "block-damaged", "padding that is not zero")
    payload = frame[9 : 9 + length]
    if codec == 1:
        try:
            size = zstandard.frame_content_size(payload)
            need(size in (-1, raw_length), "block-damaged", "compressed from another length")
            payload = zstandard.ZstdDecompressor(max_window_size=16 << 20).decompress(
                payload, max_output_size=raw_length, allow_extra_data=False
            )
        except zstandard.ZstdError as error:
            raise Refused("block-damaged", f"does not decompress: {error}") from None
    need(len(payload) == raw_length, "block-damaged", "another length than it claims")
    return payload


# --- Contents: pieces, chunk lists, disks -------------------------------------------------------


def pieces_of(page, start=0, count=None):
    """Yield address (or None for a hole), offset, length and hash of pieces of a page."""
    end = len(page.piece_blocks) if count is None else start + count
    for at in range(start, end):
        block, offset, length = (
            page.piece_blocks[at],
            page.piece_offsets[at],
            page.piece_lengths[at],
        )
        possible = -1 <= block < len(page.blocks) and offset >= 0 and length > 0
        need(possible, "point-damaged", "a piece that cannot be")
        content_hash = page.piece_hashes[32 * at : 32 * at + 32]
        yield (None if block == -1 else page.blocks[block]), offset, length, content_hash


def chunk_list(blocks, levels, address):
    need(0 <= levels <= 8, "point-damaged", "a chunk list too deep")
    page = blocks.page(address)
    if levels == 0:
        yield from pieces_of(ChunkPage(page, "point-damaged"))
        return
    for child in ChunkNode(page, "point-damaged").pages:
        yield from chunk_list(blocks, levels - 1, child)


def write_pieces(fd, blocks, pieces, size):
    at = 0
    for address, offset, length, content_hash in pieces:
        if address is not None:
            data = blocks.read(address, 0)[offset : offset + length]
            need(len(data) == length, "point-damaged", "a piece reaches beyond its block")
            right = blocks.content_hash(address, data) == content_hash
            need(right, "point-damaged", "a piece has another content than its name says")
            write_all(fd, data, at)
        at += length
    need(at == size, "point-damaged", f"the pieces are {at} bytes of {size}")
    os.ftruncate(fd, size)


def write_all(fd, data, at):
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, at)
        view, at = view[done:], at + done


def write_disk(fd, blocks, levels, page, size):
    leaves = -(-size // (64 * CLUSTER))
    need(0 <= levels <= 8 and leaves <= 64**levels, "point-damaged", "a disk of other levels")
    os.ftruncate(fd, size)
    stack = [(levels, 0, page)]
    while stack:
        level, index, address = stack.pop()
        if address is None:
            continue
        found = blocks.page(address)
        if level:
            need(len(found[0]) <= 64, "point-damaged", "a node too long")
            stack += [(level - 1, index * 64 + i, child) for i, child in enumerate(found[0])]
            continue
        leaf = DiskLeaf(found, "point-damaged")
        hashed = end = 0
        runs = zip(leaf.starts, leaf.counts, leaf.run_blocks, leaf.run_offsets, strict=True)
        for start, count, block, offset in runs:
            possible = end <= start and 0 < count and start + count <= 64 and offset >= 0
            need(possible and 0 <= block < len(leaf.blocks), "point-damaged", "a run")
            end = start + count
            raw = blocks.read(leaf.blocks[block], 0)
            for cluster in range(count):
                data = raw[offset + cluster * CLUSTER : offset + (cluster + 1) * CLUSTER]
                name = leaf.hashes[32 * hashed : 32 * hashed + 32]
                hashed += 1
                right = len(data) == CLUSTER
                right = right and blocks.content_hash(leaf.blocks[block], data) == name
                need(right, "point-damaged", "a cluster has another content than its name says")
                at = (index * 64 + start + cluster) * CLUSTER
                need(at < size, "point-damaged", "a cluster beyond the disk's end")
                write_all(fd, data[: size - at], at)


# --- Trees of files -----------------------------------------------------------------------------


def tree_pages(blocks, levels, address):
    need(0 <= levels <= 8, "point-damaged", "a tree too deep")
    page = blocks.page(address)
    if levels == 0:
        yield TreePage(page, "point-damaged")
        return
    for child in TreeNode(page, "point-damaged").pages:
        yield from tree_pages(blocks, levels - 1, child)


class TreeWriter:
    """Restores a tree below a folder that is new, and never through a symbolic link."""

    def __init__(self, blocks, target):
        self.blocks = blocks
        Path(target).mkdir(parents=True, exist_ok=True)
        need(not any(Path(target).iterdir()), "target", f"{target} is not empty")
        self.top = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        self.open = []
        """Open directories: descriptor, attributes, mtime."""
        self.seen_root = False

    def write(self, page):
        files = pieces = lists = 0
        fits = len(page.kinds) == len(page.names) == len(page.rows) == len(page.mtimes)
        need(fits and page.kinds, "point-damaged", "columns that do not fit")
        for index, kind in enumerate(page.kinds):
            name, mtime = page.names[index], page.mtimes[index]
            if kind == 0:
                need(self.open, "point-damaged", "leaves a directory that it never entered")
                fd, row, directory_mtime = self.open.pop()
                self.attributes(fd, row, directory_mtime)
                os.close(fd)
                continue
            row = page.attributes[page.rows[index]]
            self.check_name(kind, name)
            parent = self.open[-1][0] if self.open else self.top
            if kind == 1:
                if name != b".":
                    os.mkdir(name, 0o700, dir_fd=parent)
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                self.open.append((os.open(name, flags, dir_fd=parent), row, mtime))
            elif kind == 2:
                size, count = page.sizes[files], page.counts[files]
                files += 1
                if count == -1:
                    depth, *address = page.chunk_lists[lists]
                    found = chunk_list(self.blocks, depth, address)
                    lists += 1
                else:
                    found = pieces_of(page, pieces, count)
                    pieces += count
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                fd = os.open(name, flags, 0o600, dir_fd=parent)
                write_pieces(fd, self.blocks, found, size)
                self.attributes(fd, row, mtime)
                os.close(fd)
            elif kind == 3:
                os.symlink(page.links[index], name, dir_fd=parent)
                self.owner(parent, name, row)
                os.utime(name, ns=(mtime, mtime), dir_fd=parent, follow_symlinks=False)
            elif kind == 4:
                self.hard_link(page.links[index], parent, name)
            elif kind in (5, 6, 7, 8):
                form = {5: 0o020000, 6: 0o060000, 7: 0o010000, 8: 0o140000}[kind]
                os.mknod(name, form | 0o600, page.devices.get(index, 0), dir_fd=parent)
                self.owner(parent, name, row)
                os.chmod(name, row[0], dir_fd=parent)
                os.utime(name, ns=(mtime, mtime), dir_fd=parent, follow_symlinks=False)
            else:
                raise Refused("point-damaged", f"an entry of kind {kind}")
        counts = (files, pieces, lists)
        whole = (len(page.sizes), len(page.piece_blocks), len(page.chunk_lists))
        need(counts == whole, "point-damaged", "columns that do not fit")

    def check_name(self, kind, name):
        root = kind == 1 and name == b"." and not self.seen_root
        good = name and b"/" not in name and b"\0" not in name and name not in (b".", b"..")
        need(root or good, "point-damaged", f"a name that no directory can hold: {name!r}")
        need(self.open or not self.seen_root, "point-damaged", "an entry beside the root")
        self.seen_root = True

    def hard_link(self, path, parent, name):
        *folders, last = path.split(b"/")
        need(b".." not in folders and last not in (b"", b".."), "point-damaged", "a link's path")
        at = os.dup(self.top)
        for folder in folders:
            below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        os.link(last, name, src_dir_fd=at, dst_dir_fd=parent, follow_symlinks=False)
        os.close(at)

    def owner(self, parent, name, row):
        if os.geteuid() == 0:
            os.chown(name, row[1], row[2], dir_fd=parent, follow_symlinks=False)

    def attributes(self, fd, row, mtime):
        mode, uid, gid, _, _, xattrs = row
        if os.geteuid() == 0:
            os.fchown(fd, uid, gid)
        os.fchmod(fd, mode)
        for key, content in xattrs:
            try:
                os.setxattr(fd, key, content)
            except OSError as error:
                say(f"{key!r}: {error.strerror}")
        os.utime(fd, ns=(mtime, mtime))

    def finish(self):
        need(not self.open and self.seen_root, "point-damaged", "the tree ends too early")
        os.close(self.top)


# --- Repository ---------------------------------------------------------------------------------


def open_chains(root, secret, fingerprints):
    """Return the chains that the secret opens; without a secret, the plain ones."""
    body, _ = framed(root / "strongroom-repository", b"SRM1REPO", 2 << 20)
    need(value(body)[0] == 1, "version-unsupported", "the repository's version")
    chains, refused = [], []
    for path in sorted((root / "headers").iterdir()):
        chain = Chain(root, bytes.fromhex(path.name))
        if chain.sealed != (secret is not None):
            say(f"passing over chain {path.name}: other encryption")
            continue
        try:
            if secret is None:
                signer = chain.first_signer
                say(f"{path.name} is signed by {signer.fingerprint}")
                pinned = fingerprints or {signer.fingerprint}
                chain.trust(pinned, lambda one: False)
            else:
                chain.unlock(secret, fingerprints)
            chains.append(chain)
        except Refused as error:
            if error.outcome != "no-recipient":
                raise
            refused.append(error)
    if not chains and refused:
        raise refused[0]
    return chains


def check_older(root, chains):
    """See that no older chain is withheld that a newer one of the same job counts on."""
    for chain in chains:
        sessions = [one for one in chain.entries.values() if one.raw.kind == SESSION]
        for chain_id, number, entry_hash in sessions[-1].body.older if sessions else ():
            known = (root / "headers" / chain_id.hex()).exists()
            need(known, "withheld", f"chain {chain_id.hex()} is missing")
            Chain(root, chain_id).check_known(number, entry_hash)


def points(chains):
    found = [(point, entry, chain) for chain in chains for point, entry in chain.live_points()]
    return sorted(found, key=lambda one: one[1].raw.made_at)


def restore(chain, point, entry, target):
    details = chain.details(point, entry)
    blocks = Blocks(chain, entry.body)
    kind, levels, page, *rest = details.root
    if kind == "tree":
        writer = TreeWriter(blocks, target)
        for leaf in tree_pages(blocks, levels, page):
            writer.write(leaf)
        writer.finish()
        return
    fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if kind == "disk":
            write_disk(fd, blocks, levels, page, rest[0])
        elif kind == "stream":
            found = chunk_list(blocks, levels, page) if page is not None else ()
            write_pieces(fd, blocks, found, rest[0])
        else:
            raise Refused("version-unsupported", f"an index of kind {kind}")
    finally:
        os.close(fd)


def main(arguments):
    fingerprints = set()
    while "--signer" in arguments:
        at = arguments.index("--signer")
        fingerprints.add(arguments[at + 1])
        del arguments[at : at + 2]
    if not 3 <= len(arguments) <= 4:
        print(__doc__, file=sys.stderr)
        return 2
    repository, password, *chosen, target = arguments
    text = None if password == "--plain" else Path(password).read_text().rstrip("\n")
    secret = None if text is None else Secret(text)
    try:
        root = Path(repository)
        chains = open_chains(root, secret, fingerprints)
        check_older(root, chains)
        found = points(chains)
        if target == "--list":
            for point, entry, chain in found:
                details = chain.details(point, entry)
                print(point.point_id.hex(), details.taken_at, details.job, details.source)
            return 0
        if chosen:
            found = [one for one in found if one[0].point_id.hex().startswith(chosen[0])]
            need(len(found) == 1, "no-point", f"{len(found)} points begin with {chosen[0]}")
        need(found, "no-point", "there is no point")
        point, entry, chain = found[-1]
        restore(chain, point, entry, target)
    except Refused as refused:
        say(refused)
        return 20
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
