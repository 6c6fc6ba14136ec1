"""One module a noun; `cli.main` knows which noun lives where."""
