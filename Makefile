# The two commands a newcomer needs: `make tour` and `make test`. Both set everything up first.
PYTHON ?= python3
BIN := .venv/bin
ifneq ($(wildcard ../shared/data),)
export CROSSFIELD_DATA ?= $(abspath ../shared/data)
endif

.DEFAULT_GOAL := help
.PHONY: help setup tour test test-slow check bench docs clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

setup: .venv/ready  ## a virtual environment in .venv with everything pinned

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	# torch first and pinned: an open range makes pip fetch the newest build with its CUDA packages
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch .venv/ready

tour: setup  ## every landmark on data the package makes, one leaderboard, report.html
	$(BIN)/crossfield tour --out report.html

check: setup  ## style, types, floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check  ## check, then the fast test suite
	$(BIN)/python -m pytest -n 2 -m 'not slow'

test-slow: setup  ## the long runs on real data
	$(BIN)/python -m pytest -m slow

bench: setup  ## a short speed measurement; the long ones, with peers: docs/speed.md
	$(BIN)/python benchmarks/speed/run.py --models DeepFM DCNv2 DLRM --data $(or $(TMPDIR),/tmp)/crossfield-speed-short --train 100000

docs: setup  ## redraw the pages that are drawn from code and result lines
	$(BIN)/python docs/build.py

clean:  ## remove what the commands above made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache report.html
