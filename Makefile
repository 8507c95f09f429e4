# make demo: search, explain, prune, export and verify on scikit-learn's digits; results in kerasnas-demo/
# make test: lint, types, import contracts and all tests
# make test-edge: of these the tests of the edge kit, in an environment without TensorFlow
# Each makes its own virtual environment first. PYTHON and VENV may be given: make demo PYTHON=python3.12 VENV=/tmp/venv

PYTHON ?= python3
VENV ?= .venv
EDGE ?= .venv-edge
PAGE := export/web/node_modules/playwright-core/package.json
BIN := $(VENV)/bin
# compat: found from the folder that holds the clone, too, where a folder of the same name would hide it.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt \
       --config-settings editable_mode=compat

.PHONY: demo test test-edge fast-test lint clean

demo: $(VENV)/.ready
	$(BIN)/kerasnas demo --out kerasnas-demo

test: lint test-edge
	$(BIN)/pytest -n 2 --dist loadfile

# What goes onto a device: no TensorFlow here. The page is tested where there are node, npm and Chromium.
test-edge: $(EDGE)/.ready $(PAGE)
	$(EDGE)/bin/pytest export

# The tests that take less than about ten seconds each.
fast-test: $(VENV)/.ready-dev
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

lint: $(VENV)/.ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.venv $(EDGE)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "kerasnas needs Python 3.11 or later; pass one as make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(@D)
	touch $@

$(VENV)/.ready: $(VENV)/.venv pyproject.toml constraints.txt
	@echo "installing kerasnas and TensorFlow into $(VENV); a few minutes"
	$(PIP) --editable .
	touch $@

$(VENV)/.ready-dev: $(VENV)/.venv pyproject.toml constraints.txt
	@echo "installing kerasnas, TensorFlow, JAX and the test tools into $(VENV); a few minutes"
	$(PIP) --editable '.[dev]'
	touch $@ $(VENV)/.ready

$(EDGE)/.ready: $(EDGE)/.venv export/runner/requirements.txt constraints.txt
	$(EDGE)/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt \
	  --requirement export/runner/requirements.txt onnx pytest
	touch $@

$(PAGE): export/web/package-lock.json
	@npm ci --prefix export/web --ignore-scripts --no-audit --no-fund && touch $@ || \
	  echo "npm could not fetch what the page needs: it is not tested"

clean:
	rm -rf $(VENV) $(EDGE) export/web/node_modules export/web/dist kerasnas-demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
