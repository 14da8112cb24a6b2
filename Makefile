# `make demo`, `make test` and `make check` each set up what they need in .venv; a second call is quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test browser-and-database test-quick check format bench-quick clean

demo: $(READY)
	$(BIN)/fractal demo --output demo

test: $(READY) browser-and-database
	$(BIN)/python -m pytest --slow -n 2 --dist loadfile

test-quick: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The studio's tests drive Chromium and start a PostgreSQL; where they cannot be installed, those tests skip and say so.
browser-and-database:
	@missing=; command -v chromium >/dev/null || missing=chromium; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	if [ -n "$$missing" ] && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		echo "Installing $$missing for the tests …" >&2; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; } >/dev/null 2>&1 \
		|| echo "They could not be installed: the tests that need them skip." >&2; \
	elif [ -n "$$missing" ]; then echo "Not here: $$missing. The tests that need them skip; as root, make test installs them." >&2; fi

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
