# Everything a newcomer or CI runs; each target makes and uses .venv by itself.
#   make demo    probe the bundled model, then compare it with and without the plan
#   make test    the test suite          make check   lint, format, types, imports
#   make results   all bundled models side by side: the tables of README.md and docs/results.md, and the shipped profiles
#   make ablation  what each part of the shipped plans brings: the table of docs/results.md
#   make picture   the pages' pictures, from the shipped profiles        make selectors   the table of selectors
#   make fuzz     damage what the commands read, 3000 times, and look for anything but a clear end (some minutes)
#   make bench     speed and memory with and without a plan, and the table of docs/benchmarks.md (about 10 minutes, 8 GB)
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: venv demo results ablation picture selectors bench test check fuzz

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: venv
	$(BIN)/halfv-probe demo

results: venv
	$(BIN)/python -m data_samples.studies.results

ablation: venv
	$(BIN)/python -m data_samples.studies.ablation

picture: venv
	$(BIN)/python -m data_samples.studies.picture

selectors: venv
	$(BIN)/python -m data_samples.studies.selector_table

# Slices of real 7B shapes in bfloat16; CPU time of one thread, so that neighbours on the machine do not count.
BENCH := $(BIN)/halfv-probe bench --clock cpu --threads 1
SLICE := --random-weights --layers 8 --vision-layers 4

bench: venv
	$(BENCH) --model qwen2.5-vl-7b $(SLICE) --visual-tokens 1024 --rounds 3 --output docs/benchmarks/qwen2.5-vl-7b.json
	$(BENCH) --model llava-1.5-7b $(SLICE) --visual-tokens 576 --output docs/benchmarks/llava-1.5-7b.json
	$(BENCH) --model tiny-qwen2.5-vl --visual-tokens 196 --rounds 20 --output docs/benchmarks/tiny-qwen2.5-vl.json
	$(BIN)/python -m data_samples.studies.benchmarks

test: venv
	$(BIN)/python -m pytest -q --numprocesses logical --dist loadfile

fuzz: venv
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy halfv_core probe cli
	$(BIN)/lint-imports
