# Two commands: `make demo` and `make test`. `make check` lints, types and checks the import walls.
# EXTRA=gpu installs faiss-gpu in place of faiss-cpu.

PYTHON ?= python3
EXTRA  ?= cpu
BIN    := .venv/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check format clean

demo: .venv/.installed
	$(BIN)/circumplex demo

test: .venv/.installed-dev
	$(BIN)/python -m pytest

check: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv home build *.egg-info

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Circumplex needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": call make with PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing (about 1 GB, a few minutes on a first run) ..."
	$(PIP) -e '.[$(EXTRA)]'
	@touch $@

.venv/.installed-dev: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing with the tools for development ..."
	$(PIP) -e '.[$(EXTRA),postgres,dev]'
	@touch $@ .venv/.installed
