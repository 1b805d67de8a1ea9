# Everything a newcomer or CI runs; each target makes and uses .venv by itself.
#   make demo    probe the bundled model, then compare it with and without the plan
#   make test    the test suite          make check   lint, format, types, imports
#   make test-torchvision   the tests about images again with torchvision, as users have it: in .venv-torchvision (6 GB)
#   make test-lmms   lmms-eval's command under a plan, on bundled scenes, in the same environment (some minutes)
#   make test-vllm          the plugin for vLLM in real engines, with vLLM's CPU build in .venv-vllm (8 GB; about 6 minutes)
#   make bench-vllm         what plans save in vLLM's CPU build: the first table of docs/vllm.md (2 minutes)
#   make bench-vllm-memory  how many requests more run at once in the same memory: the second (2 minutes)
#   make results   all bundled models side by side: the tables of README.md and docs/results.md, and the shipped profiles
#   make ablation  what each part of the shipped plans brings: the table of docs/results.md
#   make methods   every published method at the same budgets on the bundled models: the table of docs/results.md
#   make sample-sizes   how good the plan is after a calibration on 20 to 200 samples: the table of docs/results.md
#   make methods-tuned   the same with each method's settings chosen on 100 calibration scenes (2 hours of CPU time)
#   make backbones MODELS="DIR ..."   decoders side by side, the bundled ones and joined ones (about 2 minutes of CPU time each)
#   make probes    what all probes say about the bundled models: the table of docs/probes.md (about 6 minutes)
#   make scaling   how much faster several processes are: measured for two, simulated for more; the table of docs/scale.md
#   make memory    what a calibration needs beside the weights: the tables of docs/scale.md
#   make notebooks   execute docs/notebooks again, and write their outputs into them (about a minute)
#   make picture   the pages' pictures, from the shipped profiles        make selectors   the table of selectors
#   make families  the tables of docs/families.md, from the tests
#   make fuzz      damage what the commands read, 3000 times, and look for anything but a clear end (some minutes)
#   make bench     speed and memory with and without a plan, and the table of docs/benchmarks.md (about 10 minutes, 8 GB)
#   make bench-decoding   decoding with and without a plan, by kind of cache: its table in docs/benchmarks.md (4 minutes)
#   make bench-gpu   the same on an accelerator, with whole models of real shapes (about 4 minutes)
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: venv demo results ablation methods methods-tuned sample-sizes backbones probes scaling memory notebooks picture selectors \
	families bench bench-decoding bench-gpu bench-vllm bench-vllm-memory test test-lmms test-quantised test-vllm test-torchvision fuzz check

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

methods: venv
	$(BIN)/python -m data_samples.studies.methods

sample-sizes: venv
	$(BIN)/python -m data_samples.studies.sample_sizes

methods-tuned: venv
	$(BIN)/python -m data_samples.studies.methods --tuned

# Folders that python -m data_samples.making.backbones.join wrote.
MODELS ?=

backbones: venv
	$(BIN)/python -m data_samples.studies.backbones $(MODELS)

probes: venv
	$(BIN)/python -m data_samples.studies.probes

scaling: venv
	$(BIN)/python -m data_samples.studies.scaling

memory: venv
	$(BIN)/python -m data_samples.studies.memory

notebooks: venv
	$(BIN)/python -m data_samples.studies.notebooks

picture: venv
	$(BIN)/python -m data_samples.studies.picture

families: venv
	$(BIN)/python -m data_samples.studies.families

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

# Without what was compiled before, so that the first request takes what it takes.
bench-decoding: venv
	OMP_NUM_THREADS=1 TORCHINDUCTOR_FORCE_DISABLE_CACHES=1 $(BIN)/python -m data_samples.studies.decoding

# Whole models of real shapes; needs a GPU with 24 GB or more, and writes over the records of the one measured before.
bench-gpu: venv
	$(BIN)/halfv-probe bench --model qwen2.5-vl-7b --random-weights --rounds 7 --visual-tokens 2500 --output docs/benchmarks/h200/qwen2.5-vl-7b.json
	$(BIN)/halfv-probe bench --model qwen2.5-vl-7b --random-weights --rounds 7 --visual-tokens 1200 --batch 8 --output docs/benchmarks/h200/qwen2.5-vl-7b-batch-8.json
	$(BIN)/halfv-probe bench --model qwen2.5-vl-7b --random-weights --rounds 7 --visual-tokens 10000 --output docs/benchmarks/h200/qwen2.5-vl-7b-long.json
	$(BIN)/halfv-probe bench --model llava-1.5-7b --random-weights --rounds 7 --visual-tokens 576 --output docs/benchmarks/h200/llava-1.5-7b.json
	$(BIN)/halfv-probe bench --model llava-1.5-7b --random-weights --rounds 7 --visual-tokens 576 --batch 16 --output docs/benchmarks/h200/llava-1.5-7b-batch-16.json
	$(BIN)/python -m data_samples.studies.benchmarks

test: venv
	$(BIN)/python -m pytest -q --numprocesses logical --dist loadfile

# Quantised checkpoints, with packages that are no dependencies.
test-quantised: venv
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target runs/quantised \
		bitsandbytes ninja optimum-quanto torchao
	PYTHONPATH=runs/quantised $(BIN)/python -m pytest -q -o filterwarnings=ignore tests/unit/probe/test_quantised.py

# Another torch than in .venv, since its release for the CPU alone has no torchvision.
TORCHVISION := .venv-torchvision

$(TORCHVISION)/installed: pyproject.toml constraints.txt constraints-torchvision.txt
	test -x $(TORCHVISION)/bin/python || $(PYTHON) -m venv $(TORCHVISION)
	{ cat constraints-torchvision.txt; grep -v -E '^(torch|triton)==' constraints.txt; } > $(TORCHVISION)/constraints.txt
	$(TORCHVISION)/bin/python -m pip install --disable-pip-version-check --quiet \
		--constraint $(TORCHVISION)/constraints.txt --editable '.[dev,processors]'
	touch $@

test-torchvision: $(TORCHVISION)/installed
	$(TORCHVISION)/bin/python -m pytest -q -m processors --numprocesses logical --dist loadfile

# lmms-eval's own command on bundled scenes, beside the environment with torchvision, which its models need.
test-lmms: $(TORCHVISION)/installed
	$(TORCHVISION)/bin/python -m pip install --quiet --no-deps --upgrade --target runs/lmms-eval \
		-r constraints-lmms-eval.txt
	PYTHONPATH=$(CURDIR)/runs/lmms-eval $(TORCHVISION)/bin/python -m pytest -q -s -o filterwarnings=ignore \
		tests/unit/halfv_core/serving

# All packages by version and without their requirements, which contradict each other; see constraints-vllm.txt.
VLLM := .venv-vllm

$(VLLM)/installed: pyproject.toml constraints-vllm.txt
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps \
		--requirement constraints-vllm.txt --editable .
	touch $@

test-vllm: $(VLLM)/installed
	$(VLLM)/bin/python -m pytest -q tests/vllm

bench-vllm: $(VLLM)/installed
	OMP_NUM_THREADS=1 $(VLLM)/bin/python -m data_samples.studies.vllm_prefill

bench-vllm-memory: $(VLLM)/installed
	OMP_NUM_THREADS=1 $(VLLM)/bin/python -m data_samples.studies.vllm_memory

fuzz: venv
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy halfv_core probe cli
	$(BIN)/lint-imports
