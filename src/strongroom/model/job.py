"""A job: the standing order that says what is backed up, where to, who may read it, kept how long.

Values only. What a change of a job means for its next session is `model.transition`'s to say;
which points its retention keeps is `model.retention`'s.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from strongroom.errors import InvalidInputError
from strongroom.model.gfs import Month, Week, Weekday
from strongroom.model.ids import ID_LENGTH, checked_name
from strongroom.model.phrases import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

if TYPE_CHECKING:
    from strongroom.model.rate import Timetable

MIB: Final = 1 << 20
DEFAULT_BLOCK_SIZE: Final = MIB
SMALLEST_BLOCK_SIZE: Final = MIB // 4
LARGEST_BLOCK_SIZE: Final = 8 * MIB


class SourceKind(StrEnum):
    """The kinds of source a job can have."""

    FILES = "files"
    """A tree of files."""
    IMAGE = "image"
    """A raw image file or a block device."""
    COMMAND = "command"
    """What a command prints, as one object."""


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One source of a job, as the operator wrote it, and the id that its points carry."""

    source_id: bytes
    """Random; public in restore points, where the spec itself is sealed."""
    kind: SourceKind
    value: str
    """A path, absolute; or a command, run by bash unless it is a JSON list of arguments."""

    def __post_init__(self) -> None:
        if len(self.source_id) != ID_LENGTH:
            raise ValueError(f"a source id has {ID_LENGTH} bytes")

    @classmethod
    def parse(cls, text: str, source_id: bytes) -> SourceSpec:
        """Return the source that `files:PATH`, `image:PATH` or `command:TEXT` names.

        Raises:
            InvalidInputError: it names no kind, says nothing after it, has a path that is not
                absolute, or a JSON list that is no argument vector.
        """
        kind, colon, value = text.partition(":")
        if not colon or kind not in tuple(SourceKind):
            raise InvalidInputError(
                f"{text!r} names no source",
                hint="write files:/path, image:/path or command:'…'",
                source=text,
            )
        if not value.strip() or "\0" in value:
            raise InvalidInputError(
                f"source {text!r} says nothing after {kind}:",
                hint="write files:/path, image:/path or command:'…'",
                source=text,
            )
        if not _is_text(value):
            raise InvalidInputError(
                f"source {text!r} is not UTF-8",
                hint="name its parent folder: names inside a source may be any bytes",
            )
        if kind != SourceKind.COMMAND and not value.startswith("/"):
            raise InvalidInputError(
                f"source {text!r} needs an absolute path", hint="start it with /", source=text
            )
        spec = cls(source_id, SourceKind(kind), value)
        spec.arguments()
        return spec

    def arguments(self) -> tuple[str, ...] | None:
        """Return a command's argument vector, or None where bash is to run the text.

        Raises:
            InvalidInputError: it begins like a JSON list and is no list of words.
        """
        if self.kind != SourceKind.COMMAND or not self.value.lstrip().startswith('["'):
            return None
        try:
            words = json.loads(self.value)
        except ValueError as error:
            raise InvalidInputError(f"source {self} is no JSON list: {error}") from error
        if not all(isinstance(word, str) for word in words):
            raise InvalidInputError(f"source {self} is no list of words")
        return tuple(words)

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


def _is_text(value: str) -> bool:
    """Tell whether `value` came from the command line as UTF-8: other bytes are surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


@dataclass(frozen=True, slots=True)
class NoEncryption:
    """The operator said `none`."""

    def __str__(self) -> str:
        return "none"


@dataclass(frozen=True, slots=True)
class PasswordEncryption:
    """Sealed for a password of the catalog, and for the recovery key if there is one."""

    name: str

    def __str__(self) -> str:
        return f"password:{self.name}"


@dataclass(frozen=True, slots=True)
class KmsEncryption:
    """Sealed for a key at a KMS, and for the recovery key if there is one."""

    name: str
    """Of the KMS in the catalog."""
    local_half: bool = False
    """A local half is needed too, so that a quantum computer alone opens nothing."""

    def __str__(self) -> str:
        return f"kms:{self.name}"


Encryption: TypeAlias = NoEncryption | PasswordEncryption | KmsEncryption


def parse_encryption(text: str, *, local_half: bool = False) -> Encryption:
    """Return what `none`, `password:NAME` or `kms:NAME` means.

    Args:
        text: What the operator wrote.
        local_half: Whether a KMS's key is to need a local half beside it.

    Raises:
        InvalidInputError: it is anything else.
    """
    scheme, _, name = text.partition(":")
    if scheme == "kms" and name:
        return KmsEncryption(checked_name("KMS", name), local_half)
    if local_half:
        raise InvalidInputError(
            "a local half goes beside the key of a KMS", hint="say --encrypt kms:NAME with it"
        )
    if text == "none":
        return NoEncryption()
    if scheme == "password" and name:
        return PasswordEncryption(checked_name("password", name))
    raise InvalidInputError(
        f"{text!r} does not say how to encrypt",
        hint="write password:NAME, kms:NAME, or none for backups that anybody can read",
        encrypt=text,
    )


class Compression(StrEnum):
    """How hard to press before sealing."""

    NONE = "none"
    FAST = "fast"
    BALANCED = "balanced"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """Which points a job keeps: the union of its rules."""

    keep_last: int | None = None
    """The newest this many of every source, not counting those that a flag keeps."""
    keep_days: int | None = None
    """Everything younger than this many days."""
    keep_weekly: int | None = None
    """One point a week for this many weeks; what the flags mean is `model.gfs`'s to say."""
    keep_monthly: int | None = None
    """One a month for this many months."""
    keep_yearly: int | None = None
    """One a year for this many years."""
    weekly_on: Weekday = Weekday.SUNDAY
    monthly_on: Week = Week.FIRST
    yearly_in: Month = Month.JANUARY

    def __post_init__(self) -> None:
        for rule, most in _MOST.items():
            number = getattr(self, rule)
            what = f"--{rule.replace('_', '-')}"
            if number is not None and number < 1:
                raise InvalidInputError(f"{what} {number} keeps nothing", hint="say 1 or more")
            if number is not None and number > most:
                raise InvalidInputError(f"{what} {number} is too many", hint=f"say {most} or less")
        if self.keep_last is None and self.keep_days is None:
            raise InvalidInputError(
                "a retention without a rule keeps nothing but weekly, monthly and yearly points"
                if self.has_flags
                else "a retention without a rule keeps nothing",
                hint="say --keep-days or --keep-last",
            )

    @property
    def has_flags(self) -> bool:
        """Whether some points are to be kept for long."""
        return any((self.keep_weekly, self.keep_monthly, self.keep_yearly))

    def changed(self, rules: Mapping[str, int | str | None]) -> RetentionRules:
        """Return these rules with others in place of some.

        Args:
            rules: By name of the field; days, weeks and months as words.

        Raises:
            InvalidInputError: the rules cannot be like that.
        """
        values: dict[str, Any] = {}
        for rule, value in rules.items():
            kind = _WORDS.get(rule)
            try:
                values[rule] = value if kind is None else kind(str(value))
            except ValueError:
                raise InvalidInputError(
                    f"--{rule.replace('_', '-')} {value} is none of {', '.join(kind or ())}"
                ) from None
        return replace(self, **values)

    def __str__(self) -> str:
        parts: list[str] = []
        if self.keep_last is not None:
            parts.append(f"the newest {self.keep_last}")
        if self.keep_days is not None:
            parts.append(f"{self.keep_days} days")
        text = " and ".join(parts)
        flags = (
            ("weekly", self.keep_weekly, "week", f"on {self.weekly_on.capitalize()}"),
            ("monthly", self.keep_monthly, "month", f"in its {self.monthly_on} week"),
            ("yearly", self.keep_yearly, "year", f"in {self.yearly_in.capitalize()}"),
        )
        for word, number, unit, when in flags:
            if number is not None:
                text += f"; {word} ({when}) for {counted(number, unit)}"
        return text


_MOST: Final = {
    "keep_last": 1_000_000,
    "keep_days": 1_000_000,
    "keep_weekly": 9_999,
    "keep_monthly": 999,
    "keep_yearly": 999,
}
_WORDS: Final[Mapping[str, type[Weekday | Week | Month]]] = {
    "weekly_on": Weekday,
    "monthly_on": Week,
    "yearly_in": Month,
}
NUMBERS: Final = tuple(_MOST)
"""Names of the rules of a retention that say how much is kept."""
RULES: Final = (*NUMBERS, *_WORDS)
"""Names of all of them."""


DEFAULT_RETENTION: Final = RetentionRules(keep_days=14)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The standing order. Its id outlives a change of everything else."""

    name: str
    job_id: bytes
    repository: str
    """Name of a repository in the catalog."""
    sources: tuple[SourceSpec, ...]
    encryption: Encryption
    exclude: tuple[str, ...] = ()
    """Patterns in gitignore's syntax."""
    one_file_system: bool = False
    exclude_caches: bool = True
    """Leave out folders that carry a CACHEDIR.TAG."""
    compression: Compression = Compression.BALANCED
    block_size: int = DEFAULT_BLOCK_SIZE
    """Bytes of a disk read and sealed as one on a first read."""
    retention: RetentionRules = DEFAULT_RETENTION
    full_every_points: int | None = None
    """Start a new chain when the present one has this many points of every source."""
    full_every_days: int | None = None
    """Start a new chain when the present one is this old."""
    expect_every_hours: int | None = None
    """How often it is meant to run: readers of a repository learn when the next point was due."""
    limit: Timetable | None = None
    """How fast its sessions may read and write in the repository."""
    pre_script: str | None = None
    post_script: str | None = None
    on_failure: str | None = None
    recovery: bool = True
    """Seal for the recovery key too, if there is one: protection from a lost password."""
    secret_to_read: bool = False
    """Its points are read only with a secret that is given, whatever the keystore holds."""

    def __post_init__(self) -> None:
        checked_name("job", self.name)
        if len(self.job_id) != ID_LENGTH:
            raise ValueError(f"a job id has {ID_LENGTH} bytes")
        if not self.sources:
            raise InvalidInputError(
                f"job {self.name} has no source", hint="say --source files:/path"
            )
        seen: set[str] = set()
        for source in map(str, self.sources):
            if source in seen:
                raise InvalidInputError(f"job {self.name} has source {source} twice")
            seen.add(source)
        size = self.block_size
        if size & (size - 1) or not SMALLEST_BLOCK_SIZE <= size <= LARGEST_BLOCK_SIZE:
            raise InvalidInputError(
                f"a block size of {size} bytes is not possible",
                hint="choose a power of two from 256 KiB to 8 MiB",
            )
        for what, number in (
            ("--full-every-points", self.full_every_points),
            ("--full-every-days", self.full_every_days),
            ("--expect-every", self.expect_every_hours),
        ):
            if number is not None and number < 1:
                raise InvalidInputError(f"{what} {number} is too small", hint="say 1 or more")

    @property
    def encrypted(self) -> bool:
        return not isinstance(self.encryption, NoEncryption)
