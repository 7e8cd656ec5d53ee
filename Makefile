# Every target makes its own environment in .venv; nothing has to be installed first but Python >= 3.11.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint type bench prove clean

demo: $(STAMP)
	$(BIN)/cryptoenv demo

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .

type: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m benchmarks.learning --quick

prove: $(STAMP)
	$(BIN)/python -m pytest -m "slow or not slow"
	$(BIN)/python -m benchmarks.learning

# torch first and alone, so that what follows builds on the pinned release. imitation 1.0.1 names gymnasium 0.29 and
# SB3 2.2 in its metadata but runs on the current ones: hence --no-deps.
$(STAMP): setup.cfg constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cryptoenv needs Python >= 3.11, found " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt torch
	$(BIN)/python -m pip install -c constraints.txt -e ".[all,dev]"
	$(BIN)/python -m pip install --no-deps -c constraints.txt imitation
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
