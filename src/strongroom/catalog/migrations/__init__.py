"""Migrations of the catalog, numbered in order; `run` applies them."""
