# `make demo`, `make test` and `make check` each set up what they need in .venv; a second call is quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test browser-and-database test-quick test-lots fuzz lowest check format bench-quick docs dist clean

demo: $(READY)
	$(BIN)/fractal demo --output demo

test: $(READY) browser-and-database
	$(BIN)/python -m pytest --slow -n 2 --dist loadfile

test-quick: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The same tests with many more repetitions and larger data where a little of the same serves every day.
test-lots: $(READY) browser-and-database
	FRACTAL_TEST_LOTS=1 $(BIN)/python -m pytest --slow -n 2 --dist loadfile

fuzz: $(READY)
	FUZZ_SECONDS=200 FUZZ_CASES=1000000 FUZZ_SEED=$${FUZZ_SEED:-1} $(BIN)/python -m pytest tests/fuzz -s -n 0 --timeout 900

# The lowest versions that pyproject.toml declares, in an environment of their own, under the quick suite. torch is the
# pinned build for CPUs throughout: wheels of its lowest version bring gigabytes of libraries for GPUs.
LOWEST ?= .venv-lowest
lowest:
	@test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt uv torch==2.13.0
	echo 'torch==2.13.0' > $(LOWEST)/overrides.txt
	$(LOWEST)/bin/uv pip install --python $(LOWEST)/bin/python --resolution lowest-direct --overrides $(LOWEST)/overrides.txt \
		--editable '.[all]'
	$(LOWEST)/bin/uv pip install --python $(LOWEST)/bin/python --overrides $(LOWEST)/overrides.txt --group lowest
	$(LOWEST)/bin/python -m pytest -p no:cacheprovider -n 2 --dist loadfile

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

# The site is built from docs/ alone: no request leaves the page. Broken links fail the build.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "build/site/index.html"

# Wheel and sdist, the same bytes each time; checked: metadata, and that no test and no data is in the wheel.
dist: $(READY)
	@$(PIP) install --constraint constraints.txt --group dist
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*
	@$(BIN)/python -c "import glob, sys, zipfile; names = zipfile.ZipFile(glob.glob('dist/*.whl')[0]).namelist(); \
	strange = [n for n in names if not n.startswith('fractal')]; sys.exit(f'in the wheel: {strange}' if strange else 0)"

bench-quick: $(READY)
	$(BIN)/python -m benchmarks.accuracy --quick

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("fractal needs Python 3.11 or later: make PYTHON=python3.11 …") if sys.version_info < (3, 11) else None'
	@echo "Setting up $(VENV): once, a few minutes …" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --constraint constraints.txt torch==2.13.0
	@$(PIP) install --constraint constraints.txt --editable '.[all]' --group test --group check --group docs
	@touch $@

clean:
	rm -rf $(VENV) $(LOWEST) build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
