"""The public tables of a chain's state: sessions, block sets, ledgers and history.

All four are `paging.Table`s. A journal entry of a session refers to the first, the second and
the fourth; a ledger hangs on its session's record.

* **Sessions**, by slot: every session whose blocks the state uses, dead ones taken over
  included; its sealed keys, the commitment to them, and its ledger.
* **Block sets**, by slot: which blocks of each session the job's whole state uses, as one
  record a pack. Public, since keyless care decides by them; they hold numbers only.
* **Ledgers**, by pack ordinal: the directory of every pack as it was born.
* **History**, by entry number: hash of every journal entry so far, and which of its points
  retention still promises.
"""

from __future__ import annotations

from strongroom.errors import MalformedError
from strongroom.format.block import MAX_PLACES
from strongroom.format.codec import Hash, Id, MaybeHash, Number, Value
from strongroom.format.paging import TableRoot

SESSION_SPAN = 16
SET_SPAN = 64
PACK_SET_SPAN = 32
LEDGER_SPAN = 1
"""A directory is a page of its own: it may hold thousands of blocks."""
HISTORY_SPAN = 64


class SessionRecord(Value, frozen=True):
    """A session whose blocks a state uses."""

    session_id: Id
    chain_key_id: MaybeHash
    """The chain key its keys are sealed to; empty in a plain chain."""
    sealed_keys: bytes
    """In a plain chain that was made from a sealed one: its dedup key, for anybody to read."""
    commitment: MaybeHash
    """Binds this session to one set of keys: what opens must match it."""
    ledger: TableRoot
    packs: Number
    """How many ordinals its ledger has."""


class LedgerPage(Value, frozen=True):
    """One pack's directory, as the very bytes that the pack's trailer holds."""

    directory: bytes


class PackSet(Value, frozen=True):
    """Which blocks of one pack a state uses."""

    used: bytes
    """A bitmap of places, least significant bit first, without trailing zero bytes."""


class SessionSet(Value, frozen=True):
    """Which blocks of one session a state uses."""

    packs: TableRoot
    """`PackSet`s by pack ordinal; a pack without one has no used block."""


class HistoryRecord(Value, frozen=True):
    """One journal entry as later entries remember it."""

    entry_hash: Hash
    promised: list[Id]
    """Ids of its points that retention keeps: a reader must find them."""
    held: list[Id]
    """Those of them that an operator holds."""


def bitmap(places: int) -> bytes:
    """Return the bitmap of `places`, an integer whose bit i stands for place i."""
    return places.to_bytes((places.bit_length() + 7) // 8, "little")


def places_of(used: bytes) -> int:
    """Return the places of a bitmap as an integer whose bit i stands for place i.

    Raises:
        MalformedError: longer than a pack has places, or not the one way to write its set.
    """
    if len(used) > MAX_PLACES // 8 or used[-1:] == b"\0":
        raise MalformedError(f"a bitmap of {len(used)} bytes is too long or ends in zeros")
    return int.from_bytes(used, "little")
