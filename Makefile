# Daily work. Every target sets up what it needs first, and doing so twice costs nothing.

.DEFAULT_GOAL := help
.PHONY: help install develop test lint format types layers coverage bench demo lock clean
BIN := .venv/bin

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install:  ## .venv/bin/strongroom, ready to run; needs no root
	@sh scripts/setup.sh run

develop:  ## and all that the checks and tests need
	@sh scripts/setup.sh develop

test:  ## every check and every test, as continuous integration runs them
	@./test

lint: develop  ## formatting and ruff's rules
	$(BIN)/ruff format --check
	$(BIN)/ruff check

format: develop  ## format, and fix what ruff can fix safely
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

types: develop  ## mypy, strict
	$(BIN)/mypy

layers: develop  ## who may import whom
	$(BIN)/lint-imports

coverage: develop  ## which lines and branches the tests reach
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage report --skip-covered --show-missing

bench: develop  ## measure beside restic and borg; QUICK=1 takes a tenth of it
	@sh bench/run.sh

demo:  ## encrypted backups from beginning to end
	@./demo

lock: develop  ## write the lock files anew; UPGRADE=1 takes newer versions
	$(BIN)/uv pip compile $(if $(UPGRADE),--upgrade) --quiet --extra all --group build --group dev \
		--output-file requirements-dev.lock pyproject.toml
	$(BIN)/uv pip compile $(if $(UPGRADE),--upgrade) --quiet --extra all --group build \
		--constraint requirements-dev.lock --output-file requirements.lock pyproject.toml

clean:  ## remove all that is made, .venv included
	rm -rf .venv .coverage .hypothesis .*_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
