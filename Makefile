# `make demo` and `make test` need nothing but Python >= 3.11: each makes .venv, installs what it needs
# and runs; a second call reuses what is there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# IMDLBenCo needs numpy below 2 and albumentations 1.3: an environment of its own.
PARITY := .venv-parity
# Python compiles what it imports; to compile all that is installed takes a minute more. It has to keep what it compiled,
# also where the surroundings say otherwise: hundreds of processes import the same.
export PYTHONDONTWRITEBYTECODE :=
INSTALL := $(BIN)/pip install --disable-pip-version-check --quiet --no-compile --editable
# One BLAS thread a test process: two processes share two cores without fighting.
TEST_ENV := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
WORKERS ?= 2
# A worker that crashes is a failure; replaced, it would leave the others waiting for ever (pytest-xdist with loadfile).
SIDE_BY_SIDE := -n $(WORKERS) --dist loadfile --max-worker-restart 0

.PHONY: demo test unit browser torture lint format bench peers parity clean

demo: $(VENV)/.demo
	$(BIN)/boxpromptiml demo --out demo-output

test: $(VENV)/.test $(VENV)/.chromium lint
	$(TEST_ENV) $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not torture"

unit: $(VENV)/.test
	$(TEST_ENV) $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow and not torture"

browser: $(VENV)/.test $(VENV)/.chromium
	$(TEST_ENV) $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m browser

torture: $(VENV)/.test $(VENV)/.chromium
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

peers: $(VENV)/.test $(PARITY)/.ready
	$(BIN)/python -m benchmarks.peers

parity: $(PARITY)/.ready
	$(TEST_ENV) $(PARITY)/bin/python -m parity

$(PARITY)/.ready: pyproject.toml parity/requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13) and "numpy 1.26 wants Python 3.11 or 3.12; set PYTHON=python3.12")'
	$(PYTHON) -m venv $(PARITY)
	$(PARITY)/bin/pip install --disable-pip-version-check --quiet --requirement parity/requirements.txt --editable .
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(INSTALL) '.[train,demo]'
	touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(INSTALL) '.[train,teachers,demo,web,serve,openvino,quantize,bulk,dev]'
	touch $@ $(VENV)/.demo

# Debian's Chromium, for the tests of the page. Where it can't be installed they skip, and say so.
$(VENV)/.chromium: | $(VENV)/bin/python
	@if command -v chromium || command -v chromium-browser || command -v google-chrome; then touch $@; \
	elif test "$$(id -u)" = 0 && command -v apt-get && apt-get update -qq \
	  && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; then touch $@; \
	else echo "no Chromium, and it cannot be installed here (apt-get as root): the browser tests will skip"; fi

clean:
	rm -rf $(VENV) $(PARITY) demo-output build dist .mypy_cache .ruff_cache
