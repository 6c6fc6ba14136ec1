"""What to say of a name that nothing has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable


def not_found(noun: str, name: str, known: Iterable[str], hint: str) -> NotFoundError:
    """Return the error for a name that is not there, with the one that was perhaps meant."""
    # Imported for an error alone: it takes longer than most commands' other imports.
    from difflib import get_close_matches

    near = get_close_matches(name, [*known], n=1)
    meant = f"did you mean '{near[0]}'? " if near else ""
    return NotFoundError(f"there is no {noun} {name}", hint=meant + hint, **{noun: name})
