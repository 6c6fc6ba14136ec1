"""The data plane: moves blocks between sources and repositories; knows no jobs and no users."""
