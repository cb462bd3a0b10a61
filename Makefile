# Two commands: `make suites` runs the main job and writes the leaderboard, `make test` the tests.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
REPORT ?= report

.PHONY: install setup suites readme test check test-oracles train-embedded clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	touch $@

setup: install
	$(BIN)/calbench setup

suites: setup
	$(BIN)/pytest suites --calbench-report $(REPORT)

readme: suites
	$(BIN)/python scripts/update_readme.py $(REPORT)/results.json

test: setup check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2
	$(BIN)/pytest suites --calbench-profile quick

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

# The peers that numbers are compared with want an environment of their own.
test-oracles: $(VENV)-oracles/.installed
	OMP_NUM_THREADS=1 $(VENV)-oracles/bin/python -m pytest tests/oracles

$(VENV)-oracles/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-oracles
	$(VENV)-oracles/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(VENV)-oracles/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[oracles]' hypothesis
	touch $@

train-embedded: setup
	$(BIN)/python scripts/train_minilm_sentiment.py

clean:
	rm -rf $(VENV) $(VENV)-oracles $(REPORT) build dist .pytest_cache .mypy_cache .ruff_cache
