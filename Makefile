# Every target makes its own environment in .venv; nothing has to be installed first but Python >= 3.11.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The extractor of the learning benchmark's second task; seven minutes.
EASY := runs/pretrain-easy/artifact/checksums.json

.PHONY: demo test lint type docs bench bench-env bench-peers parity prove clean

demo: $(STAMP)
	$(BIN)/cryptoenv demo
	$(BIN)/cryptoenv report runs/demo

# As many processes as there are cores, four at most: each takes 1.5 GB.
test: $(STAMP)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .

type: $(STAMP)
	$(BIN)/mypy

# Warnings are errors: a broken link or a missing docstring fails.
docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "open build/docs/index.html"

bench: $(STAMP) $(EASY)
	$(BIN)/python -m benchmarks.learning --quick

$(EASY): | $(STAMP)
	$(BIN)/cryptoenv pretrain --recipe easy --out runs/pretrain-easy

bench-env: $(STAMP)
	$(BIN)/python -m benchmarks.env_speed

# The peers get an environment of their own.
bench-peers:
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install -c constraints.txt -e .
	.venv-peers/bin/python -m pip install gym-anytrading==2.0.0 gym-trading-env==0.3.5
	.venv-peers/bin/python -W ignore -m benchmarks.env_speed

parity: $(STAMP)
	test -x .venv-vectorbt/bin/python || $(PYTHON) -m venv .venv-vectorbt
	.venv-vectorbt/bin/python -m pip install vectorbt==1.2.0
	CRYPTOENV_VECTORBT_PYTHON=.venv-vectorbt/bin/python $(BIN)/python -m pytest tests/cryptoenv/trading/test_vectorbt_parity.py
	$(BIN)/python -m benchmarks.vectorbt_parity --python .venv-vectorbt/bin/python
	$(BIN)/python -m benchmarks.portfolio_parity --python .venv-vectorbt/bin/python

prove: $(STAMP) $(EASY)
	CRYPTOENV_KERNEL_STEPS=1000000 $(BIN)/python -m pytest -m "slow or not slow"
	$(BIN)/python -m benchmarks.learning

# torch first and alone, so that what follows builds on the pinned release. imitation 1.0.1 names gymnasium 0.29 and
# SB3 2.2 in its metadata but runs on the current ones: hence --no-deps.
$(STAMP): setup.cfg constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cryptoenv needs Python >= 3.11, found " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt torch
	$(BIN)/python -m pip install -c constraints.txt -e ".[all,distributed,docs,dev]"
	$(BIN)/python -m pip install --no-deps -c constraints.txt imitation
	touch $(STAMP)

clean:
	rm -rf $(VENV) .venv-* build dist *.egg-info runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f docs/reference/commands.md docs/reference/sample-report.html
