# make demo: search, explain, prune, export and verify on scikit-learn's digits; results in kerasnas-demo/
# make test: lint, types, import contracts and all tests
# Each makes its own virtual environment first. PYTHON and VENV may be given: make demo PYTHON=python3.12 VENV=/tmp/venv

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# compat: found from the folder that holds the clone, too, where a folder of the same name would hide it.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt \
       --config-settings editable_mode=compat

.PHONY: demo test fast-test lint clean

demo: $(VENV)/.ready
	$(BIN)/kerasnas demo --out kerasnas-demo

test: lint
	$(BIN)/pytest -n 2 --dist loadfile

# The tests that take less than about ten seconds each.
fast-test: $(VENV)/.ready-dev
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

lint: $(VENV)/.ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "kerasnas needs Python 3.11 or later; pass one as make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.ready: $(VENV)/.venv pyproject.toml constraints.txt
	@echo "installing kerasnas and TensorFlow into $(VENV); a few minutes"
	$(PIP) --editable .
	touch $@

$(VENV)/.ready-dev: $(VENV)/.venv pyproject.toml constraints.txt
	@echo "installing kerasnas, TensorFlow, JAX and the test tools into $(VENV); a few minutes"
	$(PIP) --editable '.[dev]'
	touch $@ $(VENV)/.ready

clean:
	rm -rf $(VENV) kerasnas-demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
