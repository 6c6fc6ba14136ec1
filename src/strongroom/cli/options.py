# ruff: noqa: ANN401 - click hands over what it parsed, and its own types say Any
"""Options that several commands take, and the kinds of value they have."""

from __future__ import annotations

import functools
import re
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from strongroom.cli.door import Door, SecretPlace
from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from click.shell_completion import CompletionItem

    from strongroom.control.access import Access
    from strongroom.control.context import Context
    from strongroom.model.floor import FloorChange

_SIZE: Final = re.compile(r"(\d+)\s*([KMG]?)(?:I?B)?", re.IGNORECASE)
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([mhdw])", re.IGNORECASE)
_FINGERPRINT: Final = re.compile(r"[a-z2-7]{4}(-[a-z2-7]{4}){7}")
_FACTORS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SPANS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST_SPAN: Final = 100 * 366 * 86_400


# --- kinds of value ---------------------------------------------------------------------------


class SizeType(click.ParamType[Any]):
    """A number of bytes with a binary unit: `512KiB`, `1M`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            self.fail(f"{value!r} is no size: write 512KiB or 1MiB", param, ctx)
        return int(match[1]) * _FACTORS[match[2].upper()]


class SpanType(click.ParamType[Any]):
    """A span of time: `90m`, `26h`, `2d`, `1w`."""

    name = "span"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = _SPAN.fullmatch(value.strip())
        seconds = float(match[1]) * _SPANS[match[2].lower()] if match else 0.0
        if match is None or seconds > _LONGEST_SPAN:
            self.fail(f"{value!r} is no span of time: write 90m, 26h, 2d or 1w", param, ctx)
        return timedelta(seconds=seconds)


class HoursType(SpanType):
    """A span of time in whole hours."""

    def convert(  # type: ignore[override] # click types this Any; the narrower kind is ours
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        hours = super().convert(value, param, ctx) / timedelta(hours=1)
        if hours < 1 or hours != int(hours):
            self.fail(f"{value!r} is no whole number of hours", param, ctx)
        return int(hours)


class FingerprintType(click.ParamType[Any]):
    """A signer's fingerprint, whole: a part of one is no proof of anything."""

    name = "fingerprint"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip().lower()
        if _FINGERPRINT.fullmatch(text) is None:
            self.fail(f"{value!r} is no fingerprint: copy all eight groups of four", param, ctx)
        return text


class OrNoneType(click.ParamType[Any]):
    """Another kind of value, or the word `none`, which takes a setting back."""

    NONE: Final = "none"

    def __init__(self, kind: click.ParamType[Any]) -> None:
        self._kind = kind
        self.name = f"{kind.name}|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return self.NONE if value == self.NONE else self._kind.convert(value, param, ctx)


def words_of(words: Iterable[str]) -> click.Choice[str]:
    """Return the kind of value that is one of some words, in capitals or not."""
    return click.Choice([str(word) for word in words], case_sensitive=False)


SIZE: Final = SizeType()
SPAN: Final = SpanType()
HOURS: Final = HoursType()
FINGERPRINT: Final = FingerprintType()
FILE: Final = click.Path(path_type=Path, dir_okay=False)
PLACE: Final = click.Path(path_type=Path)


def content_of(file: Path, largest: int) -> bytes:
    """Return what a file holds, or standard input where it is called `-`.

    Raises:
        InvalidInputError: it cannot be read, or is longer than `largest` bytes.
    """
    try:
        if str(file) == "-":
            data = sys.stdin.buffer.read(largest + 1)
        else:
            with file.open("rb") as stream:
                data = stream.read(largest + 1)
    except OSError as error:
        raise InvalidInputError(f"cannot read {file}: {error.strerror}") from error
    if len(data) > largest:
        raise InvalidInputError(f"{file} is longer than {largest >> 20} MiB")
    return data


def encrypt_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Complete what `--encrypt` takes."""
    scheme, colon, name = incomplete.partition(":")
    if not colon:
        return [word for word in ("password:", "kms:", "none") if word.startswith(scheme)]
    complete = kms_names if scheme == "kms" else password_names
    return [f"{scheme}:{found}" for found in complete(ctx, parameter, name)]


# --- secrets ----------------------------------------------------------------------------------


def secret_options(
    prefix: str = "",
    what: str = "the password",
    into: str = "place",
    noun: str = "password",
    *,
    several: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `--password-file`, `--password-env` and `--password-command`.

    The function gets one `SecretPlace` as its argument `into`, or, with `several`, a tuple of
    those that were named. Never an option that takes the secret itself: arguments stand in the
    process list. Other secrets have another `noun`.
    """
    stem = f"--{prefix}{noun}"
    key = f"{prefix}{noun}".replace("-", "_")

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_place(*args: Any, **kwargs: Any) -> Any:
            files, variables, commands = (
                kwargs.pop(f"{key}_{kind}") for kind in ("file", "env", "command")
            )
            for variable in variables if several else (variables,):
                if variable is not None:
                    # Before anything runs that could inherit it.
                    click.get_current_context().ensure_object(Door).withhold(variable)
            kwargs[into] = (
                (
                    *(SecretPlace(file, None, None) for file in files),
                    *(SecretPlace(None, variable, None) for variable in variables),
                    *(SecretPlace(None, None, command) for command in commands),
                )
                if several
                else SecretPlace(files, variables, commands)
            )
            return function(*args, **kwargs)

        again = "; several times" if several else ""
        for kind, metavar, text, type_ in (
            ("command", "C", f"Run C; its first line is {what}{again}.", None),
            ("env", "V", f"Variable V holds {what}{again}.", None),
            ("file", "F", f"File F holds {what}{again}.", FILE),
        ):
            with_place = click.option(
                f"{stem}-{kind}", metavar=metavar, type=type_, multiple=several, help=text
            )(with_place)
        return with_place

    return decorate


# --- reading ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reading:
    """What the options of a reading command said."""

    places: tuple[SecretPlace, ...]
    recovery_keys: tuple[Path, ...]
    kms: tuple[str, ...]
    where: str | None
    signers: tuple[str, ...]
    allow_unencrypted: bool

    def access(self, door: Door, *, given_up: bool = False) -> Access:
        """Return it as the control plane takes it; with points given up where they are wanted."""
        from strongroom.control.access import Access

        return Access(
            where=self.where,
            secrets=tuple(map(door.secret, self.places)),
            recovery_keys=self.recovery_keys,
            kms=self.kms,
            signers=self.signers,
            allow_unencrypted=self.allow_unencrypted,
            given_up=given_up,
        )


@dataclass(frozen=True, slots=True)
class Given:
    """The secrets that a command was given beside what is stored."""

    places: tuple[SecretPlace, ...]
    recovery_keys: tuple[Path, ...]
    kms: tuple[str, ...]

    def access(self, door: Door) -> Access:
        """Return them as the control plane takes them."""
        from strongroom.control.access import Access

        secrets = tuple(map(door.secret, self.places))
        return Access(secrets=secrets, recovery_keys=self.recovery_keys, kms=self.kms)


def given_options(
    what: str,
    prefix: str = "",
    kit: str = "Open with this recovery kit, or share and others",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what adds options for secrets of all kinds; the function gets one `Given`.

    Args:
        what: What the passwords are.
        prefix: Of the options for passwords and KMS: `old-`.
        kit: What a recovery kit is for.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_given(*args: Any, places: tuple[SecretPlace, ...], **kwargs: Any) -> Any:
            kwargs["given"] = Given(places, kwargs.pop("recovery_keys"), kwargs.pop("kms"))
            return function(*args, **kwargs)

        with_options: Callable[..., Any] = with_given
        for option in (
            recovery_key_option(kit),
            kms_option(prefix),
            secret_options(prefix, what, into="places", several=True),
        ):
            with_options = option(with_options)
        return with_options

    return decorate


def given_up_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--given-up`."""
    return click.option(
        "--given-up",
        is_flag=True,
        help="Also points that retention let go and that are still there; name them by id.",
    )(function)


def reading_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what every command that opens points takes; the function gets one `Reading`."""

    @secret_options(what="a password of the backups", into="places", several=True)
    @functools.wraps(function)
    def with_reading(*args: Any, places: tuple[SecretPlace, ...], **kwargs: Any) -> Any:
        kwargs["reading"] = Reading(
            places,
            kwargs.pop("recovery_keys"),
            kwargs.pop("kms"),
            kwargs.pop("repository", None),
            kwargs.pop("signers"),
            kwargs.pop("allow_unencrypted"),
        )
        return function(*args, **kwargs)

    for option in (
        click.option(
            "--allow-unencrypted",
            is_flag=True,
            help="Accept points that are not encrypted although a secret is given.",
        ),
        signer_option,
        kms_option(),
        recovery_key_option(),
        repository_option,
    ):
        with_reading = option(with_reading)
    return with_reading


limit_option = click.option(
    "--limit",
    metavar="RATES",
    help="How fast to read: 10MB/s, or none. [default: what 'repository edit' has set]",
)


copy_limit_option = click.option(
    "--limit",
    metavar="RATES",
    help="How fast to read, and to write: 10MB/s, or none. [default: what 'repository edit' has "
    "set]",
)


def kms_option(prefix: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what adds `--kms`; the function gets `kms`."""
    return click.option(
        f"--{prefix}kms",
        "kms",
        metavar="NAME",
        multiple=True,
        shell_complete=kms_names,
        help="Open with this KMS of the catalog; several times.",
    )


def recovery_key_option(
    what: str = "Open with this recovery kit, or share and others",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what adds `--recovery-key`; the function gets `recovery_keys`."""
    return click.option(
        "--recovery-key",
        "recovery_keys",
        type=FILE,
        multiple=True,
        metavar="FILE",
        help=f"{what}; several times.",
    )


old_secret_options = given_options(
    "an old password, where none is stored",
    "old-",
    "Open old keys with this kit, or share and others",
)


def signer_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--signer`; the function gets `signers`."""
    return click.option(
        "--signer",
        "signers",
        multiple=True,
        type=FINGERPRINT,
        metavar="FINGERPRINT",
        help="Believe this signer and no other; may be said several times.",
    )(function)


def floor_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the floor of a keeper; the function gets `least_points` and `least_days`."""
    for option in (
        click.option(
            "--keep-at-least-days",
            "least_days",
            type=click.IntRange(0),
            metavar="D",
            help="Never go under the points of D days, whatever is signed.",
        ),
        click.option(
            "--keep-at-least-points",
            "least_points",
            type=click.IntRange(0),
            metavar="N",
            help="Never go under N points of a source, whatever is signed.",
        ),
    ):
        function = option(function)
    return function


def floor_of(points: int | None, days: int | None) -> FloorChange | None:
    """Return what was said of a floor; None where nothing was."""
    if points is None and days is None:
        return None
    from strongroom.model.floor import FloorChange

    return FloorChange(points, days)


def repository_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--repository`."""
    return click.option(
        "--repository",
        metavar="R",
        shell_complete=repository_names,
        help="Read there: a repository's name or its location. A location needs no home.",
    )(function)


def repository_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument R, which `--repository R` may say instead; the function gets `where`."""

    @functools.wraps(function)
    def with_where(*args: Any, **kwargs: Any) -> Any:
        named = [word for word in (kwargs["where"], kwargs.pop("repository")) if word is not None]
        if len(named) != 1:
            raise click.UsageError("name one repository", click.get_current_context())
        kwargs["where"] = named[0]
        return function(*args, **kwargs)

    return click.argument("where", metavar="R", required=False, shell_complete=repository_names)(
        with_where
    )


def link_later_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--link-later`."""
    return click.option(
        "--link-later",
        is_flag=True,
        help="Go on without the present secret: until it is given, both are needed to restore.",
    )(function)


def confirmation_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--yes` and `--dry-run`."""
    function = click.option("--yes", is_flag=True, help="Do not ask.")(function)
    return click.option("--dry-run", is_flag=True, help="Show the plan and do nothing.")(function)


# --- completion -------------------------------------------------------------------------------

Completer = Any  # click's type for these changes between its releases


def _names(list_names: Callable[[Context], Iterable[str]]) -> Completer:
    def complete(
        ctx: click.Context, _: click.Parameter, incomplete: str
    ) -> list[CompletionItem | str]:
        door = ctx.ensure_object(Door)
        try:
            with door.context() as context:
                if not context.has_catalog:
                    return []
                return [name for name in list_names(context) if name.startswith(incomplete)]
        except Exception:  # noqa: BLE001 - a half-typed line is no place for any error
            return []

    return complete


def _repositories(ctx: Context) -> Iterable[str]:
    from strongroom.control import repositories

    return [view.name for view in repositories.list_all(ctx)]


def _jobs(ctx: Context) -> Iterable[str]:
    from strongroom.control import jobs

    return [view.name for view in jobs.list_all(ctx)]


def _copy_jobs(ctx: Context) -> Iterable[str]:
    from strongroom.control import copy_jobs

    return [view.name for view in copy_jobs.list_all(ctx)]


def _passwords(ctx: Context) -> Iterable[str]:
    from strongroom.control import passwords

    return [view.name for view in passwords.list_all(ctx)]


def _credentials(ctx: Context) -> Iterable[str]:
    from strongroom.catalog import credentials

    return [row.name for row in credentials.all_rows(ctx.database)]


def _kms(ctx: Context) -> Iterable[str]:
    from strongroom.control import kms

    return [view.name for view in kms.list_all(ctx)]


def _points(ctx: Context) -> Iterable[str]:
    return [f"{name}@latest" for name in _jobs(ctx)]


def _sessions(ctx: Context) -> Iterable[str]:
    from strongroom.control import history

    return [view.id for view in history.list_sessions(ctx, None, 20)]


repository_names: Completer = _names(_repositories)
job_names: Completer = _names(_jobs)
copy_job_names: Completer = _names(_copy_jobs)
password_names: Completer = _names(_passwords)
kms_names: Completer = _names(_kms)
credential_names: Completer = _names(_credentials)
point_names: Completer = _names(_points)
session_names: Completer = _names(_sessions)
