"""The command line: parses, makes one call into `control`, shows what comes back.

Nothing here decides anything about backups. Command modules are loaded when their noun is
named, and import `control` inside their functions: help and a mistyped word cost neither
SQLAlchemy nor cryptography (docs/decisions, "Start-up").
"""
