"""Where Strongroom keeps its state, and the few things that are set outside jobs.

Read from the environment and, if it is there, from `config.toml` in the home; the environment
wins. Reading changes nothing and creates nothing: a command that only reads a repository must
leave no trace.

    home/catalog.db        jobs, repositories, sessions (catalog)
    home/keystore          secrets, sealed under the key file (keystore)
    home/config.toml       optional: key_file, key_passphrase_file, log, quarantine_hours,
                           syslog
    home/strongroom.log    what happened
    home/audit.log         who used keys and changed settings (control.audit_log)
    home/cache/            rebuildable

A plain dataclass: `pydantic-settings` takes 180 ms to import, more than `--help` may take
(docs/decisions, "Start-up").
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from strongroom.errors import InvalidInputError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

HOME_VARIABLE: Final = "STRONGROOM_HOME"
KEY_FILE_VARIABLE: Final = "STRONGROOM_KEY_FILE"
KEY_PASSPHRASE_VARIABLE: Final = "STRONGROOM_KEY_PASSPHRASE_FILE"  # noqa: S105 - a name
CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
"""Set by systemd for a service that is handed credentials."""
LOG_VARIABLE: Final = "STRONGROOM_LOG"
SYSLOG_VARIABLE: Final = "STRONGROOM_SYSLOG"
GUARDS_VARIABLE: Final = "STRONGROOM_GUARDS"
DEFAULT_GUARDS: Final = Path("/run/strongroom-guard")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
DEFAULT_QUARANTINE_HOURS: Final = 24
_IN_FILE: Final = {"key_file", "key_passphrase_file", "log", "quarantine_hours", "syslog"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for one command."""

    home: Path
    key_file: Path
    """Seals the keystore; outside the home, so that a copy of the home alone opens nothing."""
    key_passphrase_file: Path | None = None
    """A passphrase that the keystore asks for beside the key file, where the operator wants it."""
    credentials: Path | None = None
    """Where systemd puts what it hands to this service; a key there stands in for the file."""
    log_level: str = "info"
    quarantine_hours: int = DEFAULT_QUARANTINE_HOURS
    """How long prune waits between condemning an object and removing it."""

    syslog: str | None = None
    """Where audit records go as well: unix:/path, udp://host:port or tcp://host:port."""
    guards: Path = DEFAULT_GUARDS
    """Where the guards of folders that are vaults listen."""

    @property
    def catalog_file(self) -> Path:
        return self.home / "catalog.db"

    @property
    def keystore_file(self) -> Path:
        return self.home / "keystore"

    @property
    def log_file(self) -> Path:
        return self.home / "strongroom.log"

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    @property
    def home_exists(self) -> bool:
        """Whether anything was ever set up here."""
        return self.catalog_file.exists()


def load(environment: Mapping[str, str] | None = None, home: Path | None = None) -> Settings:
    """Return the settings of this command.

    Args:
        environment: The process's own by default.
        home: What `--home` said; stands above everything.

    Raises:
        InvalidInputError: a setting is not one, or has a value it cannot have.
        RefusedError: the home's file of settings is there and cannot be read.
    """
    given = os.environ if environment is None else environment
    chosen = home or _path(given.get(HOME_VARIABLE)) or _platform_folder("data")
    chosen = chosen.expanduser().absolute()
    file = _read_file(chosen / "config.toml")
    key_file = (
        _path(given.get(KEY_FILE_VARIABLE))
        or _path(_text(file, "key_file"))
        or _platform_folder("config") / "key"
    )
    passphrase = _path(given.get(KEY_PASSPHRASE_VARIABLE)) or _path(
        _text(file, "key_passphrase_file")
    )
    level = given.get(LOG_VARIABLE) or _text(file, "log") or "info"
    if level.lower() not in LOG_LEVELS:
        raise InvalidInputError(
            f"there is no log level {level!r}", hint=f"choose one of {', '.join(LOG_LEVELS)}"
        )
    quarantine = file.get("quarantine_hours", DEFAULT_QUARANTINE_HOURS)
    if not isinstance(quarantine, int) or isinstance(quarantine, bool) or quarantine < 0:
        raise InvalidInputError(f"quarantine_hours cannot be {quarantine!r}")
    return Settings(
        chosen,
        key_file.expanduser().absolute(),
        passphrase.expanduser().absolute() if passphrase else None,
        _path(given.get(CREDENTIALS_VARIABLE)),
        level.lower(),
        quarantine,
        given.get(SYSLOG_VARIABLE) or _text(file, "syslog"),
        _path(given.get(GUARDS_VARIABLE)) or DEFAULT_GUARDS,
    )


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _platform_folder(kind: str) -> Path:
    import platformdirs

    find = platformdirs.user_data_dir if kind == "data" else platformdirs.user_config_dir
    try:
        return Path(find("strongroom", appauthor=False))
    except RuntimeError as error:
        raise InvalidInputError(
            "this user has no home folder to keep jobs and keys in",
            hint=f"set HOME, or {HOME_VARIABLE} and {KEY_FILE_VARIABLE}",
        ) from error


def _read_file(path: Path) -> dict[str, object]:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise RefusedError(
            f"cannot read {path}: {error.strerror}",
            hint=f"run it as the user who owns {path.parent}, or name another home with --home",
        ) from error
    import tomllib

    try:
        values: dict[str, object] = tomllib.loads(data.decode())
    except ValueError as error:
        raise InvalidInputError(f"{path} is no TOML: {error}") from error
    unknown = sorted(set(values) - _IN_FILE)
    if unknown:
        raise InvalidInputError(f"{path} sets {', '.join(unknown)}, which is no setting")
    return values


def _text(values: Mapping[str, object], name: str) -> str | None:
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidInputError(f"{name} cannot be {value!r}", hint="write it in quotes")
    return value
