# `make demo` and `make test` need nothing but Python >= 3.11: each makes .venv, installs what it needs
# and runs; a second call reuses what is there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One BLAS thread a test process: two processes share two cores without fighting.
TEST_ENV := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
WORKERS ?= 2

.PHONY: demo test unit torture lint format bench clean

demo: $(VENV)/.demo
	$(BIN)/boxpromptiml demo --out demo-output

test: $(VENV)/.test lint
	$(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not torture"

unit: $(VENV)/.test
	$(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow and not torture"

torture: $(VENV)/.test
	$(TEST_ENV) $(BIN)/python -m pytest -m torture

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --disable-pip-version-check --quiet --editable '.[train,demo]'
	touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --disable-pip-version-check --quiet --editable '.[train,teachers,demo,dev]'
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) demo-output build dist .mypy_cache .ruff_cache
