# Fresh machine, Python 3.11+, git and make: `make app` opens the dashboard, `make test` runs every test.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup app test check bench docs browser clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "latentlens needs Python 3.11 or newer: install it, or run make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,check,docs,topology]'
	touch $(READY)

app: setup
	$(BIN)/latentlens app

# $LATENTLENS_BROWSER, or a chromium or google-chrome on the PATH; otherwise Debian's, where it may be installed.
browser:
	@if [ -n "$$LATENTLENS_BROWSER" ]; then \
		test -x "$$LATENTLENS_BROWSER" || { echo "LATENTLENS_BROWSER is $$LATENTLENS_BROWSER, which cannot be run"; exit 1; }; \
	elif command -v chromium >/dev/null || command -v google-chrome >/dev/null; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	elif command -v apt-get >/dev/null && sudo -n true 2>/dev/null; then \
		sudo -n apt-get update -qq && sudo -n DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else \
		echo "the browser tests need the package chromium: install it, or set LATENTLENS_BROWSER to a Chromium"; exit 1; \
	fi

test: setup browser
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# One thread a core: the ratios hold on a noisy machine, the seconds do not.
bench: setup
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only --timeout=0 --benchmark-columns=min,median,rounds

docs: setup
	$(BIN)/sphinx-build --fail-on-warning --quiet -b html docs docs/_build/html

clean:
	rm -rf $(VENV) docs/_build .mypy_cache .ruff_cache .import_linter_cache
