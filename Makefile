# make demo   trains a teacher and a student on the CPU, without a download
# make test   runs the tests                make test-all  those that take long, too
# make check  lint and types            make format  lays out the code
# make wheel-test  builds a wheel and runs the tests against it, elsewhere
# make clean  removes .venv and what building left behind; experiments/ stays
#
# The environment is .venv, made when a target needs it and renewed when setup.py changes.
# Another interpreter: make test PYTHON=/path/to/python3.14 VENV=.venv314

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	command -v $$p >/dev/null 2>&1 && \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' 2>/dev/null && \
	echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install demo test test-all check format wheel-test clean

# Installed with the test tools; the usual one while developing.
install: $(VENV)/test.stamp

demo: $(VENV)/run.stamp
	$(BIN)/python run.py --config_loss slade

# Two processes, as every test uses one core; the tests of a file share what their fixtures trained.
PYTEST := python -m pytest -n 2 --dist loadfile

test: $(VENV)/test.stamp
	$(BIN)/$(PYTEST)

test-all: $(VENV)/test.stamp
	$(BIN)/$(PYTEST) -m "long or not long"

check: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/codespell
	$(BIN)/cffconvert --validate

format: $(VENV)/test.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The tests against the built wheel, in a folder without the checkout's own sources or configs.
# DIST must lie outside the checkout, where git and python would find the sources after all.
DIST ?= /tmp/slade-plugin-wheel
wheel-test: $(VENV)/test.stamp
	rm -rf build $(DIST) && mkdir -p $(DIST)/elsewhere
	$(BIN)/python -m build --wheel --outdir $(DIST) .
	git archive HEAD | tar -x -C $(DIST)/elsewhere --exclude slade_plugin --exclude bench_configs
	$(BIN)/python -m pip install --quiet --no-deps --target $(DIST)/elsewhere $(DIST)/*.whl
	diff -r -x __pycache__ bench_configs $(DIST)/elsewhere/slade_plugin/bench_configs
	ln -s slade_plugin/bench_configs $(DIST)/elsewhere/bench_configs
	cd $(DIST)/elsewhere && git init --quiet && git add -A && $(abspath $(BIN))/$(PYTEST)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || \
		{ echo "No Python from 3.11 on found; name one: make $(MAKECMDGOALS) PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: setup.py | $(BIN)/python
	$(BIN)/python -m pip install -e .
	touch $@

$(VENV)/test.stamp: setup.py | $(BIN)/python
	$(BIN)/python -m pip install -e '.[test]'
	touch $@ $(VENV)/run.stamp
