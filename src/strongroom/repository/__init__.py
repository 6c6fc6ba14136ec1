"""Where backups live: chains, journals, packs; what may be read, written and removed."""
