"""Names of the objects in a repository (docs/format.md, "Objects and their names")."""

from __future__ import annotations

import re

MARKER = "strongroom-repository"
HEADERS = "headers/"
LOCKS = "locks/"
CONFIGURATIONS = "config/"


def header(chain_id: bytes) -> str:
    return f"{HEADERS}{chain_id.hex()}"


def chain(chain_id: bytes) -> str:
    """Return the prefix of everything a chain has beside its header."""
    return f"chains/{chain_id.hex()}/"


def journal(chain_id: bytes) -> str:
    return f"{chain(chain_id)}journal/"


def entry(chain_id: bytes, number: int) -> str:
    return f"{journal(chain_id)}{number:010d}"


def entry_number(key: str) -> int | None:
    """Return the number in a journal entry's key.

    None where it is not a key that `entry` makes, or a note of a copy has: nobody's entry then.
    """
    found = re.fullmatch(r"chains/[0-9a-f]{32}/(?:journal|mirror)/([0-9]{10})", key)
    return (int(found[1]) or None) if found else None


def copied_up_to(chain_id: bytes, number: int) -> str:
    """Return the name of the mark that entries above `number` are still being copied."""
    return f"{journal(chain_id)}upto-{number:010d}"


def copied_up_to_number(key: str) -> int | None:
    """Return the number in a key that `copied_up_to` makes; None where it makes no such key."""
    found = re.fullmatch(r"chains/[0-9a-f]{32}/journal/upto-([0-9]{10})", key)
    return int(found[1]) if found else None


def mirror_notes(chain_id: bytes) -> str:
    return f"{chain(chain_id)}mirror/"


def mirror_note(chain_id: bytes, number: int) -> str:
    return f"{mirror_notes(chain_id)}{number:010d}"


def envelopes(chain_id: bytes) -> str:
    return f"{chain(chain_id)}envelopes/"


def envelope(chain_id: bytes, chain_key_id: bytes, generation: int, copy: str) -> str:
    """Return the name of one of an envelope's two copies, `a` or `b`."""
    return f"{envelopes(chain_id)}{chain_key_id.hex()}-{generation:06d}-{copy}"


def envelope_parts(key: str) -> tuple[bytes, int] | None:
    """Return the id of the chain key that an envelope's name says it holds, and its generation.

    None where it is not a name that `envelope` makes: nobody's envelope then.
    """
    found = re.fullmatch(r"([0-9a-f]{64})-([0-9]{6,})-[ab]", key.rpartition("/")[2])
    return (bytes.fromhex(found[1]), int(found[2])) if found else None


def envelope_key(key: str) -> bytes | None:
    """Return the id of the chain key of `envelope_parts`."""
    parts = envelope_parts(key)
    return None if parts is None else parts[0]


def links(chain_id: bytes) -> str:
    return f"{chain(chain_id)}links/"


def link(chain_id: bytes, newer_id: bytes, older_id: bytes) -> str:
    return f"{links(chain_id)}{newer_id.hex()}-{older_id.hex()}"


def link_keys(key: str) -> tuple[bytes, bytes] | None:
    """Return the ids of the newer and the older chain key that a link's name says it joins.

    None where it is not a name that `link` makes: nobody's link then.
    """
    found = re.fullmatch(r"([0-9a-f]{64})-([0-9a-f]{64})", key.rpartition("/")[2])
    return (bytes.fromhex(found[1]), bytes.fromhex(found[2])) if found else None


def all_session_keys(chain_id: bytes) -> str:
    return f"{chain(chain_id)}keys/"


def session_keys(chain_id: bytes, session_id: bytes) -> str:
    return f"{all_session_keys(chain_id)}{session_id.hex()}"


def packs(chain_id: bytes) -> str:
    return f"{chain(chain_id)}packs/"


def pack(chain_id: bytes, pack_id: bytes) -> str:
    name = pack_id.hex()
    return f"{packs(chain_id)}{name[:2]}/{name}"


def thinned(chain_id: bytes, pack_id: bytes, generation: int) -> str:
    return f"{pack(chain_id, pack_id)}-{generation:06d}"


def pack_form(key: str) -> tuple[bytes, int] | None:
    """Return the pack's id, and the generation of a thinned one, that a name says; 0: whole.

    None where it is not a name that `pack` or `thinned` makes.
    """
    found = re.fullmatch(r"(?:.*/)?([0-9a-f]{2})/(\1[0-9a-f]{62})(?:-([0-9]{6,}))?", key, re.ASCII)
    if found is None or (found[3] and not int(found[3])):
        return None
    return bytes.fromhex(found[2]), int(found[3] or 0)


def all_tables(chain_id: bytes) -> str:
    return f"{chain(chain_id)}tables/"


def tables(chain_id: bytes, object_id: bytes) -> str:
    return f"{all_tables(chain_id)}{object_id.hex()}"


def tables_id(name: str) -> bytes:
    """Return the id that the last part of a tables object's key is, or nothing."""
    try:
        found = bytes.fromhex(name)
    except ValueError:
        return b""
    return found if len(found) == 16 else b""


def job_lock(job_id: bytes) -> str:
    return f"job-{job_id.hex()}"


def care_lock(chain_id: bytes) -> str:
    return f"care-{chain_id.hex()}"


def configurations(installation_id: bytes) -> str:
    return f"{CONFIGURATIONS}{installation_id.hex()}/"


def configuration(installation_id: bytes, number: int) -> str:
    return f"{configurations(installation_id)}{number:010d}"


def configuration_of(key: str) -> tuple[bytes, int] | None:
    """Return installation and number that a configuration backup's name says.

    None where it is not a name that `configuration` makes: nobody's backup then.
    """
    found = re.fullmatch(r"config/([0-9a-f]{32})/([0-9]{10})", key)
    return (bytes.fromhex(found[1]), int(found[2])) if found and int(found[2]) else None
