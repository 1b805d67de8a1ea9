# Everything a newcomer or CI runs; each target makes and uses .venv by itself.
#   make demo    probe the bundled model, then compare it with and without the plan
#   make test    the test suite          make check   lint, format, types
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: venv demo test check

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: venv
	$(BIN)/python data_samples/demo.py

test: venv
	$(BIN)/python -m pytest -q

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy halfv_core probe cli
