# SPDX-License-Identifier: GPL-2.0-or-later
#
# make demo    a tour on the bundled captures and on live programs; needs no root
# make test    the tests, after installing the real peers where that is allowed (PEERS=no: leave them);
#              one process a core and one more, at most four, each with whole files (PYTEST_ARGS='-n 0': one)
# make docs    build/docs/index.html, the documentation; a warning is an error
# make check-peers   the bundled suite against the real programs, whole (make test has a short form of it)
# make lint    ruff and mypy
# make format  let ruff rewrite the sources
# make bench   what start-up costs, as ratios
# make wheel   dist/firstbyte-*.whl
# make clean   remove everything that these made
#
# PYTHON=python3.12 make ... chooses another interpreter for a new environment.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

VENV := .venv
BIN := $(VENV)/bin
PEERS := yes
PYTEST_ARGS :=
# More than four at once, and tests that start real programs slow each other down.
AT_ONCE := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The tests start hundreds of processes: each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help:
	@sed -n 's/^# make/make/p' Makefile

# One stamp for each set of packages, as old as the pyproject.toml that it was installed from.

INSTALL := $(BIN)/python -m pip install --quiet --editable

$(BIN)/pip: tools/venv
	tools/venv $(VENV)
	@touch $@

$(VENV)/.runs: pyproject.toml $(BIN)/pip
	$(INSTALL) '.[lab]'
	@touch $@

$(VENV)/.develops: $(VENV)/.runs
	$(INSTALL) '.[dev]'
	@touch $@

$(VENV)/.documents: $(VENV)/.runs
	$(INSTALL) '.[docs]'
	@touch $@

# All of them in one go, for the pipeline.
.PHONY: everything
everything: $(BIN)/pip
	$(INSTALL) '.[dev,docs]'
	@touch $(VENV)/.runs $(VENV)/.develops $(VENV)/.documents

.PHONY: docs
docs: $(VENV)/.documents
	@$(BIN)/python -m sphinx -W --keep-going -q -b html -d build/doctrees docs build/docs
	@echo build/docs/index.html

.PHONY: demo
demo: $(VENV)/.runs
	@$(BIN)/firstbyte demo

# Needs nothing but Python's own library, so it may run while pip does.
.PHONY: peers
peers: $(BIN)/pip
	@PYTHONPATH=. $(BIN)/python tools/debian.py $(if $(filter no,$(PEERS)),--list,--install)

.PHONY: test
test: $(VENV)/.develops peers
	@$(BIN)/python -m pytest $(AT_ONCE) $(PYTEST_ARGS)

.PHONY: check-peers
check-peers: $(VENV)/.develops peers
	@mkdir -p build
	@$(BIN)/firstbyte check peers --junit build/check-peers.xml $(CHECK_ARGS)

.PHONY: lint
lint: $(VENV)/.develops
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

.PHONY: format
format: $(VENV)/.develops
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: bench
bench: $(VENV)/.runs
	@$(BIN)/python tests/benchmarks/startup.py

.PHONY: wheel
wheel: $(VENV)/.runs
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

.PHONY: clean
clean:
	rm -rf $(VENV) build dist firstbyte-demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find dissect tests tools notebooks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
