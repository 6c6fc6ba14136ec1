"""Doubles and contract suites for whoever builds on Strongroom."""
