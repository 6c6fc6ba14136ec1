"""Objects by key in one place. Knows no backups and sees no keys."""
