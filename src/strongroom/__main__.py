"""`python -m strongroom`, and what the installed command calls."""

from __future__ import annotations

import sys

from strongroom.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
