"""Recovery kits and shares as files: written once, read from whatever holds them.

A file may be a kit or one share, as a text or as a page. All of them lead to one kit, so that
whoever needs one need not know in which form its owner keeps it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from strongroom.control import recovery_kit, recovery_page, recovery_shares
from strongroom.durable import sync_folder, write_new
from strongroom.errors import ConflictError, InvalidInputError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from strongroom.control.recovery_kit import RecoveryKit
    from strongroom.control.recovery_shares import KitShare

_LARGEST: Final = 1 << 20
"""Bytes; a longer file is neither."""
_MOST_FILES: Final = 64


def read_kit(files: Sequence[Path]) -> RecoveryKit:
    """Return the kit that is in a file, or that shares in several give together.

    Raises:
        InvalidInputError: a file cannot be read or holds neither, or they do not go together.
        UnsupportedVersionError: a newer release wrote one.
    """
    kits, shares = _read(files)
    if len(kits) > 1 or (kits and shares):
        raise InvalidInputError(
            "give one recovery kit, or shares of one recovery key, and not several keys"
        )
    return kits[0] if kits else recovery_shares.join_shares(shares)


def read_kits(files: Sequence[Path]) -> list[RecoveryKit]:
    """Return the kits that are in files, and those that shares in them give, each once.

    Raises:
        InvalidInputError: a file cannot be read or holds neither, or shares of a key are too few.
        UnsupportedVersionError: a newer release wrote one.
    """
    if not files:
        return []
    kits, shares = _read(files)
    by_key: dict[str, list[KitShare]] = {}
    for share in shares:
        by_key.setdefault(share.key_id, []).append(share)
    kits += map(recovery_shares.join_shares, by_key.values())
    return list({kit.key_id: kit for kit in kits}.values())


def _read(files: Sequence[Path]) -> tuple[list[RecoveryKit], list[KitShare]]:
    if not 0 < len(files) <= _MOST_FILES:
        raise InvalidInputError(f"1 to {_MOST_FILES} files make a recovery key, not {len(files)}")
    kits: list[RecoveryKit] = []
    shares: list[KitShare] = []
    for file in files:
        text = _text(file)
        try:
            if recovery_kit.title_of(text, recovery_shares.TITLE):
                shares.append(recovery_shares.parse_share(text))
            else:
                kits.append(recovery_kit.parse_kit(text))
        except InvalidInputError as error:
            if len(files) == 1:
                raise
            raise InvalidInputError(f"{file}: {error}", hint=error.hint) from error
    return kits, shares


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except OSError as error:
        raise InvalidInputError(f"cannot read the recovery key {file}: {error.strerror}") from error
    if len(data) > _LARGEST:
        raise InvalidInputError(f"{file} is too long for a recovery kit")
    return recovery_page.text_of(data.decode(errors="replace"))


def write_all(texts: Mapping[Path, str]) -> None:
    """Write new files that only their owner can read, durably: all of them, or none.

    Raises:
        ConflictError: there is one of them.
        RefusedError: one cannot be written.
    """
    written: list[Path] = []
    try:
        for file, text in texts.items():
            _write_once(file, text)
            written.append(file)
    except BaseException:
        # Half a set of shares protects nothing, and looks as if it did.
        for file in written:
            with suppress(OSError):
                file.unlink()
        raise


def make_folder(folder: Path) -> None:
    """Make a folder for shares where there is none.

    Raises:
        RefusedError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise RefusedError(f"cannot make the folder {folder}: {error.strerror}") from error


def _write_once(file: Path, text: str) -> None:
    try:
        write_new(file, text.encode("ascii"))
    except FileExistsError as error:
        raise ConflictError(
            f"there is a file {file} already", hint="a kit is written once, to a new file"
        ) from error
    except OSError as error:
        raise RefusedError(f"cannot write {file}: {error.strerror}") from error
    try:
        sync_folder(file.parent)
    except OSError as error:
        with suppress(OSError):
            file.unlink()
        raise RefusedError(f"cannot write {file}: {error.strerror}") from error
