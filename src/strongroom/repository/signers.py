"""Whose signatures count in a chain, as its own entries say.

    header ──▶ first line ──SUCCESSION──▶ second line ──▶ …

A *line* is an identity and those that it introduces, one signed by the other. It begins with the
header, or with a SUCCESSION: another server took the chain over. A SUCCESSION is signed by the
identity that it brings in, so it proves nothing by itself; but it fixes all that came before it,
so whoever believes that identity believes the rest for its sake. Who signed before signs no
more.

An entry says where its signer is introduced, so nobody walks through the journal to find it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from strongroom.crypto.signing import SigningPublicKey
from strongroom.errors import ForgedError, IntegrityError, ObjectMissingError
from strongroom.format.journal import IdentityBody, SuccessionBody, introduction, signer_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.format.journal import Entry
    from strongroom.repository.chain import Chain

LONGEST_LINE: Final = 64
"""Identities in one line: whoever reads an entry reads the introductions of its signer."""


@dataclass(frozen=True, slots=True)
class Signer:
    """An identity that a chain names."""

    identity: SigningPublicKey
    name: bytes
    """What entries call it."""
    line: int
    """Number of the SUCCESSION that its line begins with; 0 for the header's."""
    place: int = 1
    """Its place in the line."""


class Signers:
    """The identities that a chain names, each looked up once."""

    def __init__(self, chain: Chain, founder: SigningPublicKey) -> None:
        """Know nobody but the header's identity yet."""
        self._chain = chain
        self.founder = Signer(founder, founder.id, 0)
        self._known = {self.founder.name: self.founder}

    def of(self, entry: Entry) -> Signer:
        """Return who an entry says has signed it; the signature is the caller's to check.

        Raises:
            ForgedError: nobody before the entry introduces them.
        """
        name = entry.raw.signer
        if isinstance(entry.body, SuccessionBody):
            return self._successor(entry, entry.body)
        if introduction(name) >= entry.number:
            raise self._unknown(entry.number)
        return self._known.get(name) or self._introduced(name, entry.number)

    def named(self, name: bytes) -> Signer:
        """Return the signer that entries call so; it has been met before."""
        return self._known[name]

    def _introduced(self, name: bytes, number: int) -> Signer:
        try:
            entry = self._chain.entry(introduction(name))
        except ObjectMissingError:
            raise self._unknown(number) from None
        if name in self._known:
            return self._known[name]  # a SUCCESSION makes its signer known when it is read
        by = self.named(entry.raw.signer) if entry.raw.signer else None
        if by is None or not isinstance(entry.body, IdentityBody):
            raise self._unknown(number)
        identity = SigningPublicKey(entry.body.identity)
        if identity.id != name[:32] or by.place == LONGEST_LINE:
            raise self._unknown(number)
        found = self._known[name] = Signer(identity, name, by.line, by.place + 1)
        return found

    def _successor(self, entry: Entry, body: SuccessionBody) -> Signer:
        identity = SigningPublicKey(body.identity)
        name = signer_name(identity.id, entry.number)
        if entry.raw.signer != name or body.before >= entry.number:
            raise ForgedError(
                f"entry {entry.number} of chain {self._chain.name} brings in a signer that did "
                "not sign it"
            )
        if body.header_hash != self._chain.root_hash:
            raise ForgedError(
                f"entry {entry.number} of chain {self._chain.name} was made for another header"
            )
        return Signer(identity, name, entry.number)

    def remember(self, signer: Signer) -> None:
        """Know a signer, once an entry of theirs has a signature that holds."""
        self._known[signer.name] = signer

    def _unknown(self, number: int) -> ForgedError:
        return ForgedError(
            f"entry {number} of chain {self._chain.name} is signed by an identity that no earlier "
            "entry introduces"
        )

    def line_of(self, entry: Entry) -> int:
        """Return the line that signed an entry of this chain."""
        return self.named(entry.raw.signer).line

    def lines_to(self, line: int) -> tuple[int, ...]:
        """Return the lines up to one, the header's first.

        Raises:
            ForgedError: a SUCCESSION names one before it that is none.
        """
        found: list[int] = []
        while line:
            found.append(line)
            body = self._chain.entry(line).body
            if not isinstance(body, SuccessionBody):
                raise self._unknown(line)
            line = body.before
        return (0, *reversed(found))

    def beginning(self, line: int) -> Signer:
        """Return the identity that a line begins with."""
        if not line:
            return self.founder
        return self.named(self._chain.entry(line).raw.signer)

    def introduced(self, first: int = 0) -> Iterator[Signer]:
        """Yield all that the entries from `first` on introduce, the newest first."""
        for number in reversed(self._chain.listing):
            if number < first:
                break
            entry = self._chain.entry(number)
            if isinstance(entry.body, SuccessionBody):
                yield self.named(entry.raw.signer)
            elif isinstance(entry.body, IdentityBody):
                name = signer_name(SigningPublicKey(entry.body.identity).id, number)
                try:
                    yield self._known.get(name) or self._introduced(name, number + 1)
                except IntegrityError:
                    continue  # beyond the longest line: it introduces nobody
