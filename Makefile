# `make demo`, `make test` and `make check` each set up what they need in .venv; a second call is quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test test-quick check format bench-quick clean

demo: $(READY)
	$(BIN)/fractal demo --output demo

test: $(READY)
	$(BIN)/python -m pytest --slow -n 2 --dist loadfile

test-quick: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-quick: $(READY)
	$(BIN)/python -m benchmarks.accuracy --quick

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("fractal needs Python 3.11 or later: make PYTHON=python3.11 …") if sys.version_info < (3, 11) else None'
	@echo "Setting up $(VENV): once, a few minutes …" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --constraint constraints.txt torch==2.13.0
	@$(PIP) install --constraint constraints.txt --editable '.[all]' --group test --group check
	@touch $@

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
