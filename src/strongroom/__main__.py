"""`python -m strongroom`, and what the installed command calls."""

from __future__ import annotations

import sys

try:
    from strongroom.cli.main import main
except KeyboardInterrupt:
    # Before anything is there that could say so.
    sys.exit(130)

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
