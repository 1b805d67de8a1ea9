# Everything a newcomer or CI runs; each target makes and uses .venv by itself.
#   make demo    probe the bundled model, then compare it with and without the plan
#   make test    the test suite          make check   lint, format, types
#   make results   all bundled models side by side: the tables of the READMEs, and the shipped profiles
#   make ablation  what each part of the shipped plans brings: the README's table
#   make picture   the READMEs' pictures, from the shipped profiles        make selectors   the table of selectors
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: venv demo results ablation picture selectors test check

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: venv
	$(BIN)/python -m data_samples.demo

results: venv
	$(BIN)/python -m data_samples.results

ablation: venv
	$(BIN)/python -m data_samples.ablation

picture: venv
	$(BIN)/python -m data_samples.picture

selectors: venv
	$(BIN)/python -m data_samples.selector_table

test: venv
	$(BIN)/python -m pytest -q --numprocesses logical --dist loadfile

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy halfv_core probe cli
