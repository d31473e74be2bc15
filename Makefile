# The verbs of the project. Needs make and Python 3.11 or later; everything else comes from requirements.lock.

PYTHON ?= python3
PY := .venv/bin/python
CODE := $(wildcard src tests benchmarks examples)

.DEFAULT_GOAL := setup
.PHONY: setup check test demo bench soak docs

PAGE := src/penstock/interfaces/web/static/index.html

# .venv with the pinned packages and Penstock itself, editable, and the page built. Does nothing while nothing changed.
setup: .venv/.stamp $(PAGE)

$(PAGE): $(wildcard web/*.* web/src/* web/src/*/*) | .venv/.stamp
	@web/build.sh

.venv/.stamp: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Penstock needs Python 3.11 or later; name it: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv .venv || \
		{ rm -rf .venv; echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "installing the packages of requirements.lock into .venv (a minute or two)"
	@$(PY) -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(PY) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Lint, format, types (Python and the page) and the house rules.
check: setup
	$(PY) -m ruff check $(CODE)
	$(PY) -m ruff format --check $(CODE)
	$(PY) -m mypy $(CODE)
	web/build.sh check
	$(PY) -m pytest -q tests/test_tidy.py

# Everything that a change must pass: `check`, then all tests with real servers (installed when missing, as root). They
# wait for processes about as long as they compute: three at once keep two cores busy.
test: check
	tests/servers.sh
	$(PY) -m pytest -q -n 3 --dist loadfile

# The flights of New York, 2013, as a stream.
demo: setup
	$(PY) -m examples.flights

# The full benchmark run; writes docs/benchmarks.md. For one of its parts: `.venv/bin/python -m benchmarks --help`.
bench: setup
	$(PY) -m benchmarks

# Many kills, seeds and rows. Takes as long as you let it.
soak: setup
	tests/servers.sh
	$(PY) -m pytest -q -m soak

# Write the generated pages under docs/ again, then check every page.
docs: setup
	PENSTOCK_UPDATE=1 $(PY) -m pytest -q tests/test_docs.py
