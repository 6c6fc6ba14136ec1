"""What a scrub found, as values and as text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

_MOST_LISTED: Final = 20
"""Points, or notes, that the text names one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Something that is not what was written, or is not there."""

    object: str
    """Its key in the repository."""
    what: str
    points: tuple[str, ...]
    """Ids of the restore points that it hurts; perhaps none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedPack:
    """A pack that is not whole, as the ledger of its session calls it."""

    chain: str
    pack: str
    slot: int
    """Of its session in the chain."""
    ordinal: int
    places: tuple[int, ...]
    """Of the blocks that points use and no object holds as signed; perhaps none."""
    missing: bool
    """No object holds anything of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something to know that is no damage."""

    object: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubbedChain:
    """One chain, as its signed history shows it."""

    chain: str
    sealed: bool
    signer: str
    """Fingerprint of the identity that signs it."""
    trusted: bool
    """Whether the signer was pinned, accepted, or is this installation's own."""
    points: int
    newest_entry: int
    packs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How far scrubs that read a sample each have come, this one included."""

    every_days: float
    """In so many days everything is to be read."""
    packs: int
    bytes: int
    """Of all packs."""
    read_now: int
    """Packs that this scrub has read."""
    read_packs: int
    """Packs that were read within those days."""
    read_bytes: int
    never_read: int
    """Packs that no scrub has read yet."""
    oldest_read_at: datetime | None
    """When the one was read whose reading lies back furthest, of those that were read."""
    oldest_days: int | None
    """How many days that lies back."""

    def text(self) -> str:
        """Return it for people."""
        lines = [
            f"sample: {self.read_now:,} of {counted(self.packs, 'pack')} read now; within "
            f"{self.every_days:g} days {self.read_packs:,} of {self.packs:,}, which is "
            f"{self.read_bytes:,} of {self.bytes:,} bytes"
        ]
        if self.oldest_days is not None:
            lines.append(f"the oldest reading lies {counted(self.oldest_days, 'day')} back")
        if self.never_read:
            lines.append(f"{counted(self.never_read, 'pack')} not read yet")
        return "; ".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubReport:
    """What a scrub found."""

    repository: str
    objects: int
    bytes_read: int
    chains: tuple[ScrubbedChain, ...]
    damaged: tuple[Damage, ...]
    notes: tuple[Note, ...]
    packs: tuple[DamagedPack, ...] = ()
    """Those that are not whole: what `damaged` says of them for people, for whoever repairs."""
    coverage: Coverage | None = None
    """Where only a sample of the packs was read."""

    @property
    def ok(self) -> bool:
        """Whether every byte that was read is what was written."""
        return not self.damaged

    @property
    def points(self) -> tuple[str, ...]:
        """Every point that is hurt, each once."""
        return tuple(dict.fromkeys(point for one in self.damaged for point in one.points))

    def text(self) -> str:
        """Return the report for people."""
        lines = [
            f"repository {self.repository}: {counted(self.objects, 'object')}, "
            f"{counted(self.bytes_read, 'byte')}"
        ]
        for chain in self.chains:
            kind = "sealed" if chain.sealed else "not encrypted"
            known = "" if chain.trusted else ", which is not known here"
            lines.append(
                f"chain {chain.chain[:12]}: {kind}, {counted(chain.points, 'point')} in "
                f"{counted(chain.packs, 'pack')}, signed by {chain.signer}{known}"
            )
        for damage in self.damaged:
            lines.append(f"DAMAGED {damage.object}: {damage.what}")
            if damage.points:
                lines.append(
                    f"  hurts {counted(len(damage.points), 'point')}: {some(damage.points)}"
                )
        lines.extend(f"note: {note.object}: {note.what}" for note in self.notes[:_MOST_LISTED])
        if len(self.notes) > _MOST_LISTED:
            lines.append(f"note: and {len(self.notes) - _MOST_LISTED:,} more of these")
        if self.coverage is not None:
            lines.append(self.coverage.text())
        if self.ok:
            read = "that was read " if self.coverage is not None else ""
            lines.append(f"every byte {read}is what was written")
        else:
            lines.append(
                f"damaged: {counted(len(self.damaged), 'object')}; "
                f"hurt: {counted(len(self.points), 'point')}"
            )
        return "\n".join(lines)


@dataclass(slots=True)
class Findings:
    """What has been found so far."""

    damaged: list[Damage] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    packs: list[DamagedPack] = field(default_factory=list)

    def damage(self, key: str, what: str, points: Iterable[str] = ()) -> None:
        """Note what is not what was written, and the points that it hurts."""
        self.damaged.append(Damage(object=key, what=what, points=tuple(dict.fromkeys(points))))

    def note(self, key: str, what: str) -> None:
        """Note what is no damage."""
        self.notes.append(Note(object=key, what=what))


def some(points: tuple[str, ...]) -> str:
    """Return the ids of points, or of so many as fit."""
    shown = ", ".join(point[:12] for point in points[:_MOST_LISTED])
    return shown if len(points) <= _MOST_LISTED else f"{shown}, …"
