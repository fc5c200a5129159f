# `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two runs of mypy at a time, each with its options.
mypy = printf '%s\n' $(1) | xargs -P 2 -L 1 $(BIN)/mypy

.PHONY: help demo test lint types fuzz faults equality recipes bench docs clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(VENV)/.installed  ## install into .venv, train a first model and write its report
	$(BIN)/mlpkit train dataset=moons model=mlp
	$(BIN)/mlpkit report

# Hundreds of processes: where Python must not keep bytecode, each of them would compile the package anew.
test: lint  ## install the test extra, then ruff, mypy and pytest
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(call mypy,"--cache-dir .mypy_cache/own" "--config-file tests/mypy.ini --cache-dir .mypy_cache/tests")

types: $(VENV)/.installed-test  ## check the types as they are on macOS and on Windows
	$(call mypy,$(foreach system,darwin win32,"--platform $(system) --cache-dir .mypy_cache/$(system)"))

fuzz: $(VENV)/.installed-test  ## throw 10,000 odd inputs at each thing that is read
	MLPKIT_FUZZ=10000 $(BIN)/python -m pytest -n 2 tests/fuzz

faults: types  ## kill, interrupt, starve and damage runs in every way that is promised
	MLPKIT_FAULTS=full $(BIN)/python -m pytest -n 2 tests/faults
	MLPKIT_FAULTS=full $(BIN)/python -m pytest -n 2 -m long

equality: $(VENV)/.installed-test  ## compare both engines and plain torch over every combination
	MLPKIT_EQUALITY=full $(BIN)/python -m pytest -n 2 tests/test_gradients.py

recipes: $(VENV)/.installed-test  ## check every recipe's figure, the slow one too
	OMP_NUM_THREADS=$$(nproc) $(BIN)/python -m pytest -m "slow or not slow" tests/test_recipes.py

bench: $(VENV)/.installed-bench  ## time mlpkit and its peers in turn: throughput, whole processes, logs
	$(BIN)/python tests/benchmarks

docs: $(VENV)/.installed-docs  ## build the guide into build/site; a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:  ## remove what the targets made
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache

# pip resolves torch and torchvision together, from one index.
$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-test: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@ $(VENV)/.installed
