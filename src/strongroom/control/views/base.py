"""What every answer of the control plane is."""

from __future__ import annotations

import msgspec


class View(msgspec.Struct, frozen=True):
    """A value of the control plane; a `Struct`, as every start makes the classes that it needs."""
