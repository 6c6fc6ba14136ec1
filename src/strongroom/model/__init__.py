"""Values and pure policy: no I/O, no keys."""
