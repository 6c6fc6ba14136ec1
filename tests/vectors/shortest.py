"""The shortest way back: a repository read in 205 lines, written from docs/format.md alone.

    python shortest.py REPOSITORY PASSWORD-FILE TARGET

TARGET becomes a folder with the newest session of each sealed chain that the password opens. This
believes the storage: no signature is checked, so it cannot tell who made what it restores, or what
is withheld. Wherever that matters, or anything is damaged, use reader.py or Strongroom itself, and
for plain chains, recovery kits, older points, owners, extended attributes and special files.
"""

import os
import sys
import unicodedata
from functools import lru_cache
from pathlib import Path

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf import argon2, hkdf
from msgspec import msgpack

MIB, CLUSTER, SESSION, DATA, INDEX = 1 << 20, 64 << 10, 1, 0, 1
LEAVE, DIRECTORY, FILE, SYMLINK, HARD_LINK = range(5)
HPKE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
ZSTD = zstandard.ZstdDecompressor(max_window_size=16 * MIB)


def ensure(rule, *holds):
    if not all(holds):
        raise ValueError(f"it has to be so: {rule}")


def bind(name, *parts):
    return b"strongroom/1/" + name.encode() + b"".join(len(p).to_bytes(8) + p for p in parts)


def unseal(key, name, salt, sealed, context):
    subkey = hkdf.HKDF(hashes.SHA256(), 32, salt, bind(name)).derive(key)
    return AESGCM(subkey).decrypt(sealed[:12], sealed[12:], context)


def private_half_and_id(seed):
    both = hkdf.HKDF(hashes.SHA256(), 96, bytes(32), bind("hpke")).derive(seed)
    kem = mlkem.MLKEM768PrivateKey.from_seed_bytes(both[:64])
    curve = x25519.X25519PrivateKey.from_private_bytes(both[64:])
    public = b"".join(key.public_key().public_bytes_raw() for key in (kem, curve))
    return hpke.MLKEM768X25519PrivateKey(kem, curve), blake3(bind("hpke public", public)).digest()


class Chain:
    def __init__(self, folder, password):
        self.folder, self.keys, seeds, self.block = folder, {}, [], lru_cache(8)(self.block)
        self.origin = self.framed(folder.parents[1] / "headers" / folder.name, b"SRM1HEAD")[3]
        context = b"chain key" + self.origin
        for path in folder.glob("envelopes/*-a"):
            _, key_id, _, _, _, stanzas = self.framed(path, b"SRM1ENVL")
            passwords = [stanza for stanza in stanzas if stanza[0] == "password"]
            for _, recipient_id, _, salt, m, t, p, _, sealed, _ in passwords:
                ensure("a derivation has limits", m <= MIB, t <= 10, p <= 8)
                kdf = argon2.Argon2id(salt=salt, length=32, iterations=t, lanes=p, memory_cost=m)
                private, derived_id = private_half_and_id(kdf.derive(password))
                if derived_id == recipient_id:
                    seeds.append(HPKE.decrypt(sealed, private, bind("stanza", key_id, context)))
        for seed in seeds:  # which become more meanwhile
            private, key_id = private_half_and_id(seed)
            for path in folder.glob(f"links/{key_id.hex()}-*") if key_id not in self.keys else ():
                _, older_id, _, _, sealed = self.framed(path, b"SRM1LINK")
                seeds.append(HPKE.decrypt(sealed, private, bind("link", older_id, context)))
            self.keys[key_id] = private

    def restore(self, target):
        for path in sorted(self.folder.glob("journal/" + 10 * "[0-9]"), reverse=True):
            *_, kind, _, _, _, body = self.framed(path, b"SRM1JRNL")
            if kind == SESSION:
                _, slot, *_, points, self.sessions, _, _ = msgpack.decode(body)
                if self.record(*self.sessions, 16, slot)[1] in self.keys:
                    for point_id, _, _, details in points:
                        self.restore_point(slot, point_id, details, target / point_id.hex())
                    return
        print(f"{self.folder.name}: the password opens no session of this chain")

    def restore_point(self, slot, point_id, details, target):
        context, _, (_, metakey) = self.session(slot)
        details = unseal(metakey, "value/point", details[:32], details[32:], context + point_id)
        job, machine, source, *_, (kind, levels, address, *size), _ = msgpack.decode(details)
        print(f"{target.name}: {source!r} of {machine!r}, job {job!r}")
        write = {"tree": self.write_tree, "disk": self.write_disk, "stream": self.write_file}[kind]
        write(os.fsencode(target), self.leaves(levels, address), *size)

    def stored(self, name, offset, length, most):
        ensure(f"what is read of {name} has a limit", 0 < length <= most)
        with (self.folder / name).open("rb") as file:
            return os.pread(file.fileno(), length, offset)

    def framed(self, path, magic):
        data = self.stored(path, 0, path.stat().st_size, 16 * MIB)
        ensure(f"{path} is whole", data[:8] == magic, blake3(data[:-32]).digest() == data[-32:])
        return msgpack.decode(data[12 : 12 + int.from_bytes(data[8:12])])

    def record(self, levels, page, span, index):
        object_id, offset, length, digest = page
        data = self.stored(f"tables/{object_id.hex()}", offset, length, MIB)
        ensure("a page is the one named", blake3(data).digest() == digest, 0 <= levels <= 6)
        items = msgpack.decode(data)
        if levels == 0:
            return items[index]
        child, index = divmod(index, span * 64 ** (levels - 1))
        return self.record(levels - 1, items[0][child], span, index)

    def session(self, slot):
        session_id, key_id, sealed, _, ledger, _ = self.record(*self.sessions, 16, slot)
        context = b"session" + self.origin + session_id
        packed = HPKE.decrypt(sealed, self.keys[key_id], bind("session keys", context))
        return context, ledger, (packed[:32], packed[32:64])  # the keys by class of block

    def block(self, slot, number, block_class):
        context, ledger, keys = self.session(slot)
        [directory] = self.record(*ledger, 1, number >> 16)
        pack_id, _, _, _, places, offsets, lengths, _ = msgpack.decode(directory)
        at, pack = number & 0xFFFF, f"packs/{pack_id.hex()[:2]}/{pack_id.hex()}"
        length = lengths[places.index(at)]
        if not (self.folder / pack).exists():  # then the newest of its thinned forms
            pack = max(self.folder.glob(pack + "-*"), key=lambda path: int(path.name[65:]))
            data = pack.read_bytes()
            *_, places, offsets = msgpack.decode(data[-44 - int.from_bytes(data[-44:-40]) : -44])
        sealed = self.stored(pack, offsets[places.index(at)], length, 17 * MIB)
        place = b"block\1" + context[7:] + number.to_bytes(8) + bytes([block_class])  # both ids
        frame = unseal(keys[block_class], "pack", pack_id, sealed, place)
        codec, size, end = frame[0], int.from_bytes(frame[1:5]), 9 + int.from_bytes(frame[5:9])
        ensure("a codec and a length that are known", codec in (0, 1), size <= 16 * MIB)
        raw = ZSTD.stream_reader(frame[9:end]).read(size) if codec == 1 else frame[9:end]
        ensure("raw content has its length", len(raw) == size)
        return raw

    def leaves(self, levels, address, number=0):
        """Yield number and content of an index's leaves; nodes of all kinds name pages first."""
        ensure("no index has more than 8 levels", 0 <= levels <= 8)
        page = msgpack.decode(self.block(*address, INDEX)) if address else [()]
        if levels == 0 and address:
            yield number, page
        for at, below in enumerate(page[0] if levels else ()):
            yield from self.leaves(levels - 1, below, number * 64 + at)

    def write_disk(self, path, leaves, size, _):
        with open(path, "xb") as file:
            for leaf, (blocks, *runs, _) in leaves:
                for start, count, block, offset in zip(*runs, strict=True):
                    run = self.block(*blocks[block], DATA)[offset : offset + count * CLUSTER]
                    file.seek((leaf * 64 + start) * CLUSTER)
                    ensure("a run lies in its block", file.write(run) == count * CLUSTER)
            file.truncate(size)

    def write_file(self, path, leaves, size):
        with open(path, "xb") as file:
            for _, (blocks, *pieces, _) in leaves:
                for block, offset, length in zip(*pieces, strict=True):
                    if block != -1:
                        file.write(self.block(*blocks[block], DATA)[offset : offset + length])
                    file.seek(length if block == -1 else 0, os.SEEK_CUR)
            ensure("pieces add up to the size", file.tell() == size)
            file.truncate(size)

    def write_tree(self, top, leaves, _):
        """Write a tree whose root is `top`; what is there already is never opened or replaced."""
        above = []
        for _, (kinds, names, rows, mtimes, attributes, sizes, counts, *others) in leaves:
            *pieces, _, blocks, lists, links, _ = others
            pieces, files = zip(*pieces, strict=True), zip(sizes, counts, strict=True)
            lists = (self.leaves(levels, address) for levels, *address in lists)
            for at, (kind, name, row) in enumerate(zip(kinds, names, rows, strict=True)):
                if kind == LEAVE:
                    path, mode, mtime = above.pop()
                else:
                    ensure("a name is a name", name not in (b"", b".."), b"/" not in name)
                    path = above[-1][0] + b"/" + name if above else top
                    mode, mtime = attributes[row][0], mtimes[at]
                if kind == DIRECTORY:
                    os.mkdir(path, 0o700)
                    above.append((path, mode, mtime))
                elif kind == FILE:
                    size, count = next(files)
                    few = zip(*[next(pieces) for _ in range(count)], strict=True)
                    content = next(lists) if count == -1 else [(0, (blocks, *few, b""))]
                    self.write_file(path, content, size)
                elif kind == SYMLINK:
                    os.symlink(links[at], path)
                elif kind == HARD_LINK:
                    parent, first = os.path.split(top + b"/" + links[at])
                    ensure("a path follows no link", os.path.realpath(parent) == parent)
                    os.link(parent + b"/" + first, path, follow_symlinks=False)
                if kind in (LEAVE, FILE):
                    os.chmod(path, mode)
                if kind in (LEAVE, FILE, SYMLINK):
                    os.utime(path, ns=(mtime, mtime), follow_symlinks=False)


if __name__ == "__main__":
    repository, password_file, target = map(Path, sys.argv[1:])
    password = unicodedata.normalize("NFC", password_file.read_text().rstrip("\n")).encode()
    target.mkdir(0o700)
    for folder in repository.resolve().glob("chains/" + 32 * "[0-9a-f]"):
        Chain(folder, password).restore(target.resolve())
