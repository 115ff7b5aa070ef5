# Two commands set everything up on a machine with Python 3.11+, make and git: `make run` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test lint bench experiments clean

run: .venv/run  ## train a deep network on the handwritten digits; pictures land in runs/digits
	$(BIN)/jaxnn train --data digits --run-folder runs/digits --overwrite

test: .venv/test  ## every test, doctests included, a file at a time on each core; the slowest 20 are printed
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: .venv/test  ## ruff and pyright
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright --pythonpath $(BIN)/python

experiments: .venv/run  ## every experiment on real data, and the gallery, experiments/README.md; under 20 minutes
	$(BIN)/python -m experiments all

bench: .venv/bench  ## the races of benchmarks/ against the peers; minutes each, on a quiet machine
	$(BIN)/python -m benchmarks all

.venv/made: constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade pip
	touch $@

.venv/run: .venv/made pyproject.toml
	$(PIP) --editable '.[all]'
	touch $@

.venv/test: .venv/run
	$(PIP) --group test --group dev
	touch $@

.venv/bench: .venv/test
	$(PIP) --group bench
	touch $@

clean:  ## forget the environment and what tools left behind
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .hypothesis
