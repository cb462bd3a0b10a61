# Two commands: `make suites` runs the main job and writes the leaderboard, `make test` the tests.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
REPORT ?= report
ORACLES := $(VENV)-oracles
# dirichletcal needs it; where there is none its comparison is skipped, and says so.
PYTHON312 ?= $(firstword $(wildcard /usr/bin/python3.12 /usr/local/bin/python3.12 $(HOME)/.pyenv/versions/3.12*/bin/python3.12))

.PHONY: install tools setup suites suites-adaptation readme test test-gpu jevcompat quick slow architectures fuzz check docs oracles test-oracles train-embedded dist clean

install: $(VENV)/.installed

# --no-compile: Python compiles what it imports, which is a small part of what is installed.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[all]'
	touch $@

# What the tests and checks need besides.
tools: $(VENV)/.tools

$(VENV)/.tools: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	touch $@

setup: install
	$(BIN)/calbench setup

suites: setup
	$(BIN)/pytest suites --calbench-report $(REPORT)

# Trains adapters: about as long again as `make suites`.
suites-adaptation: setup
	$(BIN)/pytest suites -m training --calbench-report $(REPORT)

readme: suites
	$(BIN)/python scripts/update_readme.py $(REPORT)/results.json

test: setup tools check jevcompat
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -ra
	$(BIN)/pytest suites --calbench-profile quick --calbench-baseline baselines

# An outside mock of decision servers, whose dependencies its tests do not need.
jevcompat: $(VENV)-jevcompat/.installed

$(VENV)-jevcompat/.installed: constraints.txt
	$(PYTHON) -m venv $(VENV)-jevcompat
	$(VENV)-jevcompat/bin/python -m pip install --quiet --no-deps --constraint constraints.txt jevcompat
	touch $@

# While working: lint, types, layers, and the tests that need no torch, model, browser or further process.
quick: tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m 'not torch and not embedded and not browser and not processes and not slow' tests

# New random examples for the property tests; what one finds becomes an explicit example of its test.
fuzz: tools
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m hypothesis --hypothesis-profile fuzz tests

# Tests that take minutes: served suites against llama.cpp's servers, and the like.
slow: setup tools
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow tests --ignore=tests/architectures

# Every type of transformers against transformers itself, and the slow tests. It takes long, and goes on where it was stopped.
architectures: tools
	OMP_NUM_THREADS=1 $(BIN)/python scripts/sweep_architectures.py architectures.jsonl
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow tests/architectures

# On a machine with a GPU: doctor, every format on the embedded models against the CPU, memory, throughput.
test-gpu: setup tools
	-$(BIN)/calbench doctor
	$(BIN)/pytest tests/gpu -rs

check: tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/pylint calbench
	$(BIN)/python scripts/update_readme.py --check
	$(BIN)/python scripts/update_reference.py --check

# The documentation's site, in site/; a link that leads nowhere or a name that is gone is an error.
docs: tools
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[docs]'
	$(BIN)/mkdocs build --strict

# The peers that numbers are compared with want environments of their own, one of them Python 3.12.
oracles: $(ORACLES)/.installed $(if $(PYTHON312),$(ORACLES)-3.12/.installed)

test-oracles: oracles
	OMP_NUM_THREADS=1 $(ORACLES)/bin/python -m pytest tests/oracles
	$(if $(PYTHON312),OMP_NUM_THREADS=1 $(ORACLES)-3.12/bin/python -m pytest tests/oracles -k dirichletcal)

$(ORACLES)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(ORACLES)
	$(ORACLES)/bin/python -m pip install --quiet --no-compile --constraint constraints.txt torch
	$(ORACLES)/bin/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[oracles]' hypothesis
	touch $@

$(ORACLES)-3.12/.installed: pyproject.toml constraints.txt
	$(PYTHON312) -m venv $(ORACLES)-3.12
	$(ORACLES)-3.12/bin/python -m pip install --quiet --no-compile --constraint constraints.txt --editable . dirichletcal hypothesis
	touch $@

# What would be published: built, checked, installed into an empty environment and used there.
dist: tools
	rm -rf dist
	$(BIN)/python -m pip install --quiet --constraint constraints.txt build twine
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	scripts/check_dist.sh $(PYTHON)

# Whether gates keep their promise in worlds where the truth is known.
simulate: install
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/gate_simulation.py 2000
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/gate_simulation.py 2000 --only worlds --statistic shared
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/label_plan.py --simulate 2000

train-embedded: setup
	$(BIN)/python scripts/train_minilm_sentiment.py

clean:
	rm -rf $(VENV) $(ORACLES) $(ORACLES)-3.12 $(VENV)-jevcompat $(REPORT) build dist .pytest_cache .mypy_cache .ruff_cache
