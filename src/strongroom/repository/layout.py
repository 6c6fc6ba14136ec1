"""Names of the objects in a repository (docs/format.md, "Objects and their names")."""

from __future__ import annotations

import re

from strongroom.errors import MalformedError

MARKER = "strongroom-repository"
HEADERS = "headers/"
LOCKS = "locks/"


def header(chain_id: bytes) -> str:
    return f"{HEADERS}{chain_id.hex()}"


def chain(chain_id: bytes) -> str:
    """Return the prefix of everything a chain has beside its header."""
    return f"chains/{chain_id.hex()}/"


def journal(chain_id: bytes) -> str:
    return f"{chain(chain_id)}journal/"


def entry(chain_id: bytes, number: int) -> str:
    return f"{journal(chain_id)}{number:010d}"


def entry_number(key: str) -> int:
    """Return the number in a journal entry's key.

    Raises:
        MalformedError: the key is not one that `entry` makes.
    """
    tail = key.rpartition("/")[2]
    if not re.fullmatch(r"[0-9]{10}", tail):
        raise MalformedError(f"{key} is no journal entry's name")
    return int(tail)


def envelopes(chain_id: bytes) -> str:
    return f"{chain(chain_id)}envelopes/"


def envelope(chain_id: bytes, chain_key_id: bytes, generation: int, copy: str) -> str:
    """Return the name of one of an envelope's two copies, `a` or `b`."""
    return f"{envelopes(chain_id)}{chain_key_id.hex()}-{generation:06d}-{copy}"


def links(chain_id: bytes) -> str:
    return f"{chain(chain_id)}links/"


def link(chain_id: bytes, newer_id: bytes, older_id: bytes) -> str:
    return f"{links(chain_id)}{newer_id.hex()}-{older_id.hex()}"


def all_session_keys(chain_id: bytes) -> str:
    return f"{chain(chain_id)}keys/"


def session_keys(chain_id: bytes, session_id: bytes) -> str:
    return f"{all_session_keys(chain_id)}{session_id.hex()}"


def packs(chain_id: bytes) -> str:
    return f"{chain(chain_id)}packs/"


def pack(chain_id: bytes, pack_id: bytes) -> str:
    name = pack_id.hex()
    return f"{packs(chain_id)}{name[:2]}/{name}"


def all_tables(chain_id: bytes) -> str:
    return f"{chain(chain_id)}tables/"


def tables(chain_id: bytes, object_id: bytes) -> str:
    return f"{all_tables(chain_id)}{object_id.hex()}"


def job_lock(job_id: bytes) -> str:
    return f"job-{job_id.hex()}"
