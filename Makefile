# Every target sets up its own virtual environment, and only again when pyproject.toml changed.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
ONLY ?=
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run test soak bench check clean

run: $(VENV)/.base
	$(BIN)/headgate serve --host 127.0.0.1 --port 8080 --root ./uploads $(ARGS)

# In two rounds: most tests side by side (three at a time: many of them wait), then those that measure with the machine to
# themselves. With ARGS, one round.
test: $(VENV)/.test
ifeq ($(strip $(ARGS)),)
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile -m "not alone"
	$(BIN)/python -m pytest -m alone
else
	$(BIN)/python -m pytest $(ARGS)
endif

soak: $(VENV)/.test
	$(BIN)/python -W error tests/soak.py $(ARGS)

bench: $(VENV)/.bench
	PYTHONPATH=tests $(BIN)/python -m bench --only $(ONLY) $(ARGS)

check: $(VENV)/.check
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("headgate needs Python 3.11 or newer; name one with: make PYTHON=python3.13" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Without ensurepip there is no pip: on Debian and Ubuntu, apt install python3-venv"; exit 1; }

$(VENV)/.base: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[cli]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[test]'
	@touch $@ $(VENV)/.base

$(VENV)/.bench: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[bench]'
	@touch $@ $(VENV)/.base

$(VENV)/.check: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[check]'
	@touch $@ $(VENV)/.base
