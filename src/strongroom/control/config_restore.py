"""An installation brought back from a backup of its configuration, and its keystore re-protected.

The new home is written beside the old one, made durable, and renamed: whatever instant a
restore ends in, there is the home of before, or the new one, or, between two renames, the old
one under another name. Running it again is always right.
"""

from __future__ import annotations

import shutil
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

from strongroom.catalog import jobs, passwords, repositories
from strongroom.catalog.database import Database
from strongroom.clock import from_microseconds
from strongroom.control import audit, config_backup, keys
from strongroom.control import repositories as repository_control
from strongroom.control.access import Access, storage_of, unlocker_of
from strongroom.control.views.configuration import ConfigBackupView, ConfigRestored, Reprotected
from strongroom.crypto.recipients import PasswordUnlocker
from strongroom.durable import sync_folder, write_new
from strongroom.errors import (
    ConfirmationNeededError,
    IntegrityError,
    InUseError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    StrongroomError,
    UnlockError,
    UnsupportedVersionError,
)
from strongroom.keystore import Exported, Keystore, reprotect
from strongroom.repository import configuration
from strongroom.repository.chain import Trust
from strongroom.repository.repository import Repository
from strongroom.storage.location import is_location, normalise

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.control.context import Context
    from strongroom.crypto.recipients import Unlocker
    from strongroom.format.configuration import Configuration
    from strongroom.repository.configuration import StoredConfiguration
    from strongroom.storage.base import Storage

CLONE_NOTICE: Final = (
    "if the old server still runs, stop it for good: two servers with one identity write two "
    "histories into one chain, and neither reads on after that"
)
FRESHNESS_NOTICE: Final = (
    "this is the newest backup here; whether a newer one is kept back, this machine cannot know"
)
_MAKING: Final = ".restoring"
_ASIDE: Final = ".before-restore"


def list_backups(ctx: Context, access: Access) -> tuple[ConfigBackupView, ...]:
    """Return the configuration backups in a repository, oldest first of each installation."""
    assert access.where is not None
    storage = storage_of(ctx, access.where)
    Repository.open(storage)
    unlocker = unlocker_of(ctx, access)
    found = []
    for installation, numbers in sorted(configuration.numbers(storage).items()):
        found += [_view(ctx, storage, installation, one, unlocker, access) for one in numbers]
    return tuple(found)


def _view(
    ctx: Context,
    storage: Storage,
    installation: bytes,
    number: int,
    unlocker: Unlocker | None,
    access: Access,
) -> ConfigBackupView:
    try:
        stored = configuration.read(storage, installation, number)
    except (IntegrityError, UnsupportedVersionError) as error:
        return ConfigBackupView(
            installation=installation.hex(),
            number=number,
            made_at=None,
            signer=None,
            hints=(),
            opens=None,
            problem=str(error),
        )
    opens, problem = None, None
    if unlocker is not None:
        opens = True
        try:
            configuration.open_configuration(
                stored, unlocker, keys.readers_trust(ctx, access.signers)
            )
        except UnlockError:
            opens = False
        except IntegrityError as error:
            opens, problem = False, str(error)
    return ConfigBackupView(
        installation=installation.hex(),
        number=number,
        made_at=from_microseconds(stored.backup.made_at),
        signer=stored.identity.fingerprint,
        hints=tuple(stanza.hint for stanza in stored.backup.stanzas if stanza.hint.isprintable()),
        opens=opens,
        problem=problem,
    )


def restore(
    ctx: Context,
    access: Access,
    *,
    number: int | None = None,
    installation: str | None = None,
    replace: bool = False,
    yes: bool = False,
) -> ConfigRestored:
    """Bring an installation back: its catalog, and its keystore under this machine's key.

    Args:
        ctx: Surroundings, with nothing opened yet.
        access: The repository's location, and a secret.
        number: Which backup; the newest by default.
        installation: Whose, or the beginning of it; needed where there are several.
        replace: Move a home that holds something out of the way.
        yes: That was confirmed.

    Raises:
        InUseError: there is a home with something in it.
        ConfirmationNeededError: it is to be replaced, and nobody said yes.
        NotFoundError: there is no such backup.
        UnvouchedError: nothing vouches for who signed it.
    """
    assert access.where is not None
    settings = ctx.settings
    _check_home(settings.home, settings.catalog_file, replace=replace, yes=yes)
    storage = ctx.storage(access.where, known=False)
    repository = Repository.open(storage)
    stored = _chosen(storage, installation, number)
    unlocker = unlocker_of(ctx, access) or _asked(ctx, stored)
    # Of this machine's own catalog nothing counts: it is what is being replaced.
    believed = Trust(pinned=frozenset(map(keys.normal_fingerprint, access.signers)))
    content = configuration.open_configuration(stored, unlocker, believed)
    if number is None:
        configuration.check_history(storage, stored)
    _write_home(ctx, content, stored)
    aside = _put_in_place(settings.home)
    _follow_move(ctx, repository, access.where)
    answered, notices = _take_in_repositories(ctx)
    audit.record(
        ctx,
        "configuration.restored",
        needed=False,
        installation=stored.backup.installation_id.hex(),
        number=stored.backup.number,
    )
    return ConfigRestored(
        home=str(settings.home),
        installation=stored.backup.installation_id.hex(),
        number=stored.backup.number,
        made_at=from_microseconds(stored.backup.made_at),
        signer=stored.identity.fingerprint,
        jobs=tuple(job.name for job in jobs.all_jobs(ctx.database)),
        moved_aside=str(aside) if aside else None,
        repositories=answered,
        notices=(*notices, *((FRESHNESS_NOTICE,) if number is None else ()), CLONE_NOTICE),
    )


def reprotect_keystore(
    ctx: Context, old_key_file: Path | None, old_machine_id: str | None
) -> Reprotected:
    """Seal the home's keystore under this machine's key, made if there is none.

    Args:
        ctx: Surroundings, with nothing opened yet.
        old_key_file: What it is sealed under; None where the key file is the same.
        old_machine_id: Id of the machine it was sealed on; None where that is the same.

    Raises:
        KeystoreLockedError: they do not open it.
    """
    settings = ctx.settings
    machine_id = old_machine_id.strip().encode() if old_machine_id is not None else None
    old = keys.old_machine_key(settings, old_key_file, machine_id)
    new = keys.machine_key(settings)
    records = 0
    if new != old:
        records = reprotect(settings.keystore_file, old, new)
        audit.record(ctx, "keystore.reprotected", needed=False, records=records)
    return Reprotected(records=records, key_file=str(settings.key_file), changed=new != old)


# --- which one ------------------------------------------------------------------------------


def _chosen(storage: Storage, installation: str | None, number: int | None) -> StoredConfiguration:
    found = {
        one: numbers
        for one, numbers in configuration.numbers(storage).items()
        if one.hex().startswith((installation or "").lower())
    }
    if not found:
        raise NotFoundError(
            f"there is no configuration backup in {storage.location}"
            + (f" of installation {installation}" if installation else "")
        )
    if len(found) > 1:
        listed = ", ".join(one.hex()[:12] for one in sorted(found))
        raise InvalidInputError(
            f"there are configuration backups of several installations: {listed}",
            hint="'strongroom config list' shows whose they are; --installation chooses",
        )
    [(chosen, numbers)] = found.items()
    if number is not None and number not in numbers:
        raise NotFoundError(f"there is no configuration backup number {number}")
    try:
        return configuration.read(storage, chosen, numbers[-1] if number is None else number)
    except IntegrityError as error:
        error.hint = "'strongroom config list' shows the others; --number takes one of them"
        raise


def _asked(ctx: Context, stored: StoredConfiguration) -> Unlocker:
    hints = "; ".join(stanza.hint for stanza in stored.backup.stanzas if stanza.hint.isprintable())
    return PasswordUnlocker(ctx.secrets.get("password of the configuration backup", hint=hints))


# --- the home -------------------------------------------------------------------------------


def _check_home(home: Path, catalog: Path, *, replace: bool, yes: bool) -> None:
    if not catalog.exists():
        return
    with closing(Database.open(catalog)) as database:
        held = [f"job {job.name}" for job in jobs.all_jobs(database)]
        held += [f"password {row.name}" for row in passwords.all_rows(database)]
        held += [f"repository {row.name}" for row in repositories.all_rows(database)]
    if held and not replace:
        raise InUseError(
            f"{home} is set up already, with {', '.join(held)}",
            hint="restore on a machine where nothing is set up, or name another home with --home; "
            "--replace moves this one out of the way",
            users=held,
        )
    if held and not yes:
        raise ConfirmationNeededError(
            f"{home}, with {', '.join(held)}, would be moved aside",
            hint="say --yes if that is meant",
        )


def _write_home(ctx: Context, content: Configuration, stored: StoredConfiguration) -> None:
    """Write the new home beside the present one, durably."""
    home = ctx.settings.home
    making = _beside(home, _MAKING)
    try:
        if making.exists():
            shutil.rmtree(making)  # of a restore that died
        making.mkdir(mode=0o700, parents=True)
        write_new(making / ctx.settings.catalog_file.name, content.catalog)
        own_settings = home / "config.toml"
        if own_settings.exists():
            write_new(making / own_settings.name, own_settings.read_bytes())
    except OSError as error:
        raise RefusedError(f"cannot write {making}: {error.strerror}") from error
    with closing(Database.open(making / ctx.settings.catalog_file.name)) as database:
        # Not what the settings are worth: the next command's end stores a backup of this machine.
        config_backup.remember(database, stored.seen, stored.backup.made_at, b"")
    keystore = Keystore(making / ctx.settings.keystore_file.name, keys.machine_key(ctx.settings))
    keystore.take_in(Exported(content.records, content.metakeys))
    sync_folder(making)


def _put_in_place(home: Path) -> Path | None:
    """Let the new home take the place of what is there; return where that is now."""
    aside = None
    try:
        if home.exists() and any(home.iterdir()):
            aside = next(
                one
                for number in range(1, 10_000)
                if not (one := _beside(home, f"{_ASIDE}-{number}")).exists()
            )
            home.rename(aside)
        _beside(home, _MAKING).rename(home)
        sync_folder(home.parent)
    except OSError as error:
        raise RefusedError(f"cannot put the new home at {home}: {error.strerror}") from error
    return aside


def _beside(home: Path, suffix: str) -> Path:
    return home.with_name(home.name + suffix)


# --- repositories ---------------------------------------------------------------------------


def _follow_move(ctx: Context, repository: Repository, where: str) -> None:
    """Know the repository that the backup came from where it is, if it is not where it was."""
    row = repositories.by_id(ctx.database, repository.repository_id)
    if row is None or not is_location(where):
        return
    with suppress(StrongroomError):
        if Repository.open(ctx.storage(row.location)).repository_id == row.repository_id:
            return
    repositories.move(ctx.database, row.repository_id, normalise(where))


def _take_in_repositories(ctx: Context) -> tuple[tuple[str, ...], list[str]]:
    """Rescan every repository that answers, and tell of the others."""
    answered: list[str] = []
    notices: list[str] = []
    for row in repositories.all_rows(ctx.database):
        try:
            details = repository_control.rescan(ctx, row.name)
        except StrongroomError as error:
            notices.append(
                f"repository {row.name} does not answer at {row.location}: {error}; if it is "
                f"elsewhere now, 'strongroom repository add {row.name} LOCATION' says where, and "
                f"'strongroom repository rescan {row.name}' takes in what it holds"
            )
            continue
        answered.append(row.name)
        notices += [f"repository {row.name}: {warning}" for warning in details.warnings]
    return tuple(answered), notices
