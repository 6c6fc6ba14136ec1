"""What this release writes and what it reads.

A suite names every algorithm of a chain, so a reader knows from one number whether it can
go on. Magic numbers name the kind of an object and the major version of the format.
"""

from __future__ import annotations

from strongroom.errors import UnsupportedVersionError

FORMAT = 1

SUITE_SEALED = 1
"""AES-256-GCM, HKDF-SHA256, keyed BLAKE3, zstd; HPKE ML-KEM-768 + X25519; Ed25519 + ML-DSA-65."""
SUITE_PLAIN = 2
"""The same with nothing sealed and BLAKE3 unkeyed."""

REPOSITORY = b"SRM1REPO"
HEADER = b"SRM1HEAD"
ENTRY = b"SRM1JRNL"
ENVELOPE = b"SRM1ENVL"
LINK = b"SRM1LINK"
SESSION_KEYS = b"SRM1KEYS"
PACK = b"SRM1PACK"
PACK_END = b"SRM1PEND"
TABLES = b"SRM1TABL"
THINNED = b"SRM1THIN"
CONFIGURATION = b"SRM1CONF"
MIRROR = b"SRM1MIRR"
REQUEST = b"SRM1RQST"
RESPONSE = b"SRM1RESP"


def check_format(format_version: int, what: str) -> None:
    """Refuse what is of another format than this release's.

    Raises:
        UnsupportedVersionError: it is.
    """
    if format_version != FORMAT:
        raise UnsupportedVersionError(
            f"{what} has format {format_version}; this release reads format {FORMAT}"
        )


def check_suite(format_version: int, suite: int, what: str) -> None:
    """Refuse what this release cannot read.

    Raises:
        UnsupportedVersionError: a newer format, or algorithms unknown here.
    """
    if format_version != FORMAT or suite not in (SUITE_SEALED, SUITE_PLAIN):
        raise UnsupportedVersionError(
            f"{what} has format {format_version} and suite {suite}; "
            f"this release reads format {FORMAT}, suites {SUITE_SEALED} and {SUITE_PLAIN}"
        )
