"""Which paths of a tree an operator means.

    /srv/www          what lies there, and everything below it
    /srv/*.html       `*`, `?` and `[…]` stay within one name
    /srv/**/cache     `**` stands for any number of names
    *.html            without a slash: by name, at any depth
    www/index.html    without a leading slash: below the source's own path

A directory that matches brings all it holds. Paths are compared as bytes, so names that are
no UTF-8 are meant by what Python makes of them on a command line.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.engine.index_reader import Path

_WILD = re.compile(rb"[*?\[]")


def source_path(source: str) -> tuple[bytes, ...]:
    """Return the names of the path that a source such as `files:/srv/www` was read from."""
    value = os.fsencode(source.partition(":")[2])
    return tuple(name for name in os.path.normpath(value).split(b"/") if name not in (b"", b"."))


class Selection:
    """Patterns over the paths of one tree, and which of them were met.

    Paths are tuples of names below the source's root; `()` is the root itself.
    """

    def __init__(self, patterns: Sequence[str], base: Sequence[bytes]) -> None:
        """Understand the patterns.

        Args:
            patterns: As the operator wrote them; none at all selects everything.
            base: The names of the source's own path.

        Raises:
            InvalidInputError: a pattern is empty.
        """
        self._patterns = tuple(patterns)
        self._base = tuple(base)
        self._met: set[int] = set()
        self._literal: dict[Path, int] = {}
        self._globs: list[tuple[int, re.Pattern[bytes]]] = []
        self._scopes: set[Path] | None = set()
        for index, pattern in enumerate(self._patterns):
            self._add(index, os.fsencode(pattern))

    @property
    def everything(self) -> bool:
        """Whether nothing was said, so all is meant."""
        return not self._patterns

    @property
    def scopes(self) -> list[Path] | None:
        """Paths below which all that is meant lies; None where it may be anywhere."""
        if self.everything or self._scopes is None or () in self._scopes:
            return None
        return sorted(self._scopes)

    def _add(self, index: int, pattern: bytes) -> None:
        names = tuple(name for name in pattern.split(b"/") if name not in (b"", b"."))
        if not names and not pattern.startswith(b"/"):
            raise InvalidInputError(
                f"{self._patterns[index]!r} matches no path", hint="give a path or a pattern"
            )
        absolute = pattern.startswith(b"/")
        if not any(map(_WILD.search, names)):
            self._add_path(index, names, absolute=absolute)
            return
        if not absolute and len(names) == 1:
            names = (b"**", *names)
        elif absolute:
            # Held against the whole path, so the source's own is put in front of what it holds.
            self._globs.append((index, _expression(names, self._base)))
            self._limit(_fixed(names, self._base))
            return
        self._globs.append((index, _expression(names, ())))
        self._limit(_fixed(names, ()))

    def _add_path(self, index: int, names: tuple[bytes, ...], *, absolute: bool) -> None:
        if absolute:
            depth = len(self._base)
            if names[:depth] == self._base:
                self._literal[names[depth:]] = index
                self._limit(names[depth:])
            elif self._base[: len(names)] == names:
                # Something above the source means the whole source.
                self._literal[()] = index
                self._limit(())
            return
        self._literal[names] = index
        self._limit(names)

    def _limit(self, path: Path | None) -> None:
        if path is None:
            self._scopes = None
        elif self._scopes is not None:
            self._scopes.add(path)

    def matches(self, path: Path) -> bool:
        """Tell whether this path itself is meant, not only through a directory above it."""
        if self.everything:
            return True
        found = False
        index = self._literal.get(path)
        if index is not None:
            self._met.add(index)
            found = True
        if self._globs:
            joined = b"/".join(path)
            for index, expression in self._globs:
                if expression.fullmatch(joined):
                    self._met.add(index)
                    found = True
        return found

    def covers(self, path: Path) -> bool:
        """Tell whether this path is meant, itself or through a directory above it."""
        return any(self.matches(path[:end]) for end in range(len(path) + 1))

    def unmet(self) -> list[str]:
        """Return the patterns that nothing has matched so far."""
        return [pattern for index, pattern in enumerate(self._patterns) if index not in self._met]


def _fixed(names: tuple[bytes, ...], base: tuple[bytes, ...]) -> Path | None:
    """Return the path below the source that all matches lie below; None if there is none."""
    fixed: list[bytes] = []
    for name in names:
        if _WILD.search(name):
            break
        fixed.append(name)
    if tuple(fixed[: len(base)]) != base:
        return None
    return tuple(fixed[len(base) :]) or None


def _expression(names: tuple[bytes, ...], base: tuple[bytes, ...]) -> re.Pattern[bytes]:
    """Return what matches a path below the source, its names joined by slashes.

    Where the pattern is absolute, the part of it that covers `base` is taken off first, in
    every way that fits: `**` may cover any number of the base's names.
    """
    tails = _tails(names, base)
    return re.compile(b"|".join(b"(?:" + _translate(tail) + b")" for tail in tails) or b"(?!)")


def _tails(names: tuple[bytes, ...], base: tuple[bytes, ...]) -> list[tuple[bytes, ...]]:
    """Return what of a pattern is left for paths below `base`."""
    if not base:
        return [names]
    if not names:
        # The pattern ends above the source: it means a directory that holds the source.
        return [()]
    if names[0] == b"**":
        return [*_tails(names, base[1:]), *(_tails(names[1:], base) if names[1:] else [()])]
    if re.fullmatch(_name(names[0]), base[0], re.DOTALL):
        return _tails(names[1:], base[1:])
    return []


def _translate(names: tuple[bytes, ...]) -> bytes:
    parts: list[bytes] = []
    for place, name in enumerate(names):
        last = place == len(names) - 1
        if name == b"**":
            # At the end everything below is meant; elsewhere any directories, or none.
            parts.append(rb"(?s:.+)" if last else rb"(?:[^/]+/)*")
        else:
            parts.append(_name(name) + (b"" if last else b"/"))
    return b"".join(parts)


def _name(pattern: bytes) -> bytes:
    """Return the expression for one name of a pattern."""
    parts: list[bytes] = []
    at = 0
    while at < len(pattern):
        character = pattern[at : at + 1]
        at += 1
        if character == b"*":
            if not parts or parts[-1] != b"[^/]*":
                parts.append(b"[^/]*")
        elif character == b"?":
            parts.append(b"[^/]")
        elif character == b"[" and (end := _class_end(pattern, at)) > 0:
            inside = pattern[at:end].replace(b"\\", b"\\\\").replace(b"[", b"\\[")
            negated = inside[:1] in (b"!", b"^")
            inside = inside[1:] if negated else inside
            if inside.startswith(b"]"):
                inside = b"\\" + inside
            parts.append((b"[^/" if negated else b"[") + inside + b"]")
            at = end + 1
        else:
            parts.append(re.escape(character))
    return b"".join(parts)


def _class_end(pattern: bytes, at: int) -> int:
    """Return where a class of characters that begins at `at` ends, or -1: a lone bracket."""
    end = at
    if pattern[end : end + 1] in (b"!", b"^"):
        end += 1
    if pattern[end : end + 1] == b"]":
        end += 1
    return pattern.find(b"]", end)
