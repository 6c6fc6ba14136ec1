"""Encrypted backup jobs: sealed at the source, checked without keys, restored from one secret."""

__version__ = "0.1.0"
