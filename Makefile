# Everything a newcomer needs is two commands: `make demo` and `make test`.
# They need python3 (3.11 or newer), make and a package index; they set up the rest.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Tests wait more than they compute: two at a time take two thirds of the time on two cores.
WORKERS ?= 2

.PHONY: help setup demo test thorough lint format bench docs lock clean

help:
	@echo "make demo    set up, fetch the 1.5B model, solve a task in the sandbox, find it again in memory"
	@echo "make test    set up, fetch the smallest model, run all tests"
	@echo "make thorough  judge all pairs of tests and programs as CPython does, and all forgeries"
	@echo "make lint    ruff, mypy --strict, import directions"
	@echo "make bench   measure Crucible's own overhead"
	@echo "make docs    rewrite docs/cli.md from the commands' help"
	@echo "make lock    resolve the newest versions and rewrite requirements.lock"

setup: $(READY)

$(READY): requirements.lock pyproject.toml scripts/system-packages.sh
	@sh scripts/system-packages.sh $(PYTHON)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked packages into $(VENV) (about 2 GB, a minute or two) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: $(READY)
	@$(BIN)/python scripts/demo.py

test: $(READY)
	@$(BIN)/crucible models pull smollm2-135m
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

thorough: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --thorough tests/security/judge/test_differential.py tests/security/judge/test_forgeries.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python -m benchmarks.overhead

docs: $(READY)
	$(BIN)/typer crucible.main utils docs --name crucible --title "Command line" --output docs/cli.md

lock:
	sh scripts/lock.sh $(PYTHON)

clean:
	rm -rf $(VENV) .demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
