"""Bytes and values as docs/format.md says: no I/O, and no keys but through `crypto`."""
