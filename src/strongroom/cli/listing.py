"""Lines and JSON of what a point holds, and of how two points differ."""

from __future__ import annotations
