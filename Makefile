# The habits of this project. Every target works from a fresh clone with Python 3.11+.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: up test test-fast lint bench docs clean

up: .venv/installed        ## bring a registry up
	$(BIN)/regsetup up

test: .venv/installed      ## all tests; those that need an engine are skipped where none answers
	$(BIN)/pytest

test-fast: .venv/installed ## the fast subset, which needs nothing, on every core
	$(BIN)/pytest -q -n auto -m "not engine and not hosts and not slow" tests/unit tests/cli

lint: .venv/installed      ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/installed     ## measure the bundled registry beside Debian's docker-registry; minutes
	$(BIN)/python -m benchmarks.run

docs: .venv/installed      ## write what is generated: the reference; the recorded session, by root beside a free port 5000
	$(BIN)/python -m docs.generate
	$(BIN)/python -m docs.record

clean:                     ## remove what the targets made
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis htmlcov .coverage*

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e '.[test]'
	touch $@
