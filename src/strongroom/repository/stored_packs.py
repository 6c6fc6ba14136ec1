"""Where a pack lies: as it was born, or as what compaction left of it.

Nothing that says so is signed, and nothing needs to be. A form of a pack carries the directory
that the ledger signed, and each block is compared with its signed hash when it is read: whoever
rewrites packs can hide a block, and never put another in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.crypto.content import fingerprint
from strongroom.errors import IntegrityError, MalformedError, ObjectMissingError
from strongroom.format import pack as packs
from strongroom.format import thinned
from strongroom.format.codec import HASH_LENGTH
from strongroom.model.phrases import counted
from strongroom.repository import layout
from strongroom.storage.reading import is_far

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from strongroom.format.pack import Directory, PackHeader
    from strongroom.storage.base import Storage

_MOST_GENERATIONS = 10**9
"""More than any pack is ever rewritten."""
_TAIL_BYTES = 64 << 10
_LISTINGS = 5
"""How often forms are listed where each is gone before it is read: compaction is at work."""


@dataclass(frozen=True, slots=True)
class Form:
    """One object that holds a pack, or what is left of it."""

    key: str
    size: int
    generation: int
    """0 where it is the whole pack; of thinned ones the highest is the newest."""


@dataclass(frozen=True, slots=True)
class StoredPack:
    """A form that was looked into."""

    form: Form
    header: PackHeader
    header_bytes: bytes
    encoded: bytes
    """The directory, as the ledger has it."""
    directory: Directory
    contents: bytes
    """Sealed; in a plain chain encoded."""
    offsets: Mapping[int, int]
    """Where the blocks lie that it holds, by place."""
    aside: int
    """Bytes that are no blocks."""

    @property
    def key(self) -> str:
        return self.form.key


def forms(storage: Storage, chain_id: bytes, pack_id: bytes) -> list[Form]:
    """Return the forms of a pack that are there: the whole one, then from the newest on."""
    listed = storage.list(layout.pack(chain_id, pack_id))
    return forms_of_all((info.key, info.size) for info in listed).get(pack_id, [])


def forms_of_all(sizes: Iterable[tuple[str, int]]) -> dict[bytes, list[Form]]:
    """Return what there is of each pack, of objects that were listed, the form that counts first.

    A whole pack holds everything; of thinned ones the newest is as good as any.
    """
    found: dict[bytes, list[Form]] = {}
    for key, size in sizes:
        name = layout.pack_form(key)
        if name is not None:
            found.setdefault(name[0], []).append(Form(key, size, name[1]))
    for several in found.values():
        several.sort(key=lambda form: (form.generation != 0, -form.generation))
    return found


def next_generation(forms: Iterable[Form]) -> int:
    """Return the generation that a new form of a pack is to have.

    Readers ask the highest first, and pass over what is no form: so one that somebody planted
    under a number that leaves no room above it is passed over here, too.
    """
    taken = {form.generation for form in forms}
    generation = 1 + max((one for one in taken if one < _MOST_GENERATIONS), default=0)
    while generation in taken:
        generation += 1
    return generation


def read_form(storage: Storage, form: Form, origin_id: bytes | None = None) -> StoredPack:
    """Look into a form; blocks are not read.

    Args:
        storage: Where it lies.
        form: Which.
        origin_id: The chain's; None where nobody knows.

    Raises:
        ObjectMissingError: it went away.
        IntegrityError: it is no whole form of the pack that its name says.
    """
    key, size = form.key, form.size
    # Where a request takes a while, footer and trailer come together, unless that is long.
    least = _TAIL_BYTES if is_far(storage) else packs.FOOTER_LENGTH
    begin = max(0, size - least)
    tail = storage.get(key, begin, size - begin)
    footer = tail[-packs.FOOTER_LENGTH :]
    length = packs.footer_trailer_length(footer, size, key)
    at = size - packs.FOOTER_LENGTH - length
    encoded = (
        tail[at - begin : at - begin + length] if at >= begin else storage.get(key, at, length)
    )
    if form.generation:
        header = storage.get(key, 0, thinned.header_length(encoded, key))
        directory, thin = thinned.read_trailer(header, encoded, footer, size, key)
        said, contents = thin.directory, thin.contents
        offsets = dict(zip(thin.places, thin.offsets, strict=True))
        head = thinned.read_header(header, key)
    else:
        header = storage.get(key, 0, packs.header_length(encoded, key))
        directory, trailer = packs.read_trailer(header, encoded, footer, size, key)
        said, contents = trailer.directory, trailer.contents
        offsets = dict(zip(directory.places, directory.offsets, strict=True))
        head = packs.read_header(header, key)
    named = layout.pack_form(key)
    if (
        named is None
        or head.pack_id != named[0]
        or (origin_id is not None and head.origin_id != origin_id)
    ):
        raise MalformedError(f"{key} was written as another pack: moved in storage")
    aside = len(header) + length + len(footer)
    return StoredPack(form, head, header, said, directory, contents, offsets, aside)


def find_pack(
    storage: Storage,
    chain_id: bytes,
    origin_id: bytes,
    directory: Directory,
    places: Collection[int],
) -> StoredPack:
    """Return a form of a pack that holds these blocks.

    One that is damaged or lacks a block is passed over while another has them.

    Args:
        storage: Where the pack lies.
        chain_id: In which chain.
        origin_id: The chain's.
        directory: The pack's, as the ledger has it.
        places: The blocks'.

    Raises:
        ObjectMissingError: no form holds them.
        IntegrityError: the only ones that might are damaged.
    """
    wanted = frozenset(places)
    for _ in range(_LISTINGS):
        found = forms(storage, chain_id, directory.pack_id)
        refused: MalformedError | None = None
        gone = False
        for form in found:
            try:
                stored = read_form(storage, form, origin_id)
            except ObjectMissingError:
                gone = True
                continue
            except MalformedError as error:
                refused = error
                continue
            if stored.directory == directory and stored.offsets.keys() >= wanted:
                return stored
        if not gone:
            if refused is not None:
                raise refused
            break
    key = layout.pack(chain_id, directory.pack_id)
    raise ObjectMissingError(
        f"{key} is missing, and nothing else holds {counted(len(wanted), 'block')} of it",
        object=key,
    )


def find_block(
    storage: Storage, chain_id: bytes, origin_id: bytes, directory: Directory, place: int
) -> bytes | None:
    """Return a block's stored bytes out of whichever form of its pack has them as signed.

    For a block that is damaged where it is looked for first: it may have been repaired beside
    that, in a storage that lets nothing be removed.
    """
    index = directory.places.index(place)
    length = directory.lengths[index]
    expected = directory.hashes[HASH_LENGTH * index : HASH_LENGTH * (index + 1)]
    for form in forms(storage, chain_id, directory.pack_id):
        try:
            stored = read_form(storage, form, origin_id)
            if stored.directory != directory or place not in stored.offsets:
                continue
            data = storage.get(stored.key, stored.offsets[place], length)
        except IntegrityError:
            continue
        if fingerprint(data) == expected:
            return data
    return None
