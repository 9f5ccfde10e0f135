# `make help` lists the targets. Everything runs from .venv, which the first target creates.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= $(shell for p in python3.11 python3; do $$p -c "import sys; sys.exit(sys.version_info[:2] != (3, 11))" 2>/dev/null && echo $$p && break; done)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONPATH := $(CURDIR)
# DVC and its libraries ask nobody about updates and report to nobody.
export DVC_NO_ANALYTICS := 1
# Python without a suffix, which the linters would not find.
PROGRAMS := scripts/train-models scripts/confirm-scores scripts/draw-rooms scripts/same-numbers \
	scripts/same-weights scripts/compare-with

.DEFAULT_GOAL := help
.PHONY: help setup in-git ffmpeg chromium repro experiment models look test test-slow campaign lint format confirm open paper bench bench-gpu lock-current requirements architecture clean docker docker-test

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: .venv/installed ## create .venv from the pinned requirements

.venv/installed: requirements/bootstrap.txt requirements/dev.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 is needed; name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@echo "installing the pinned requirements into .venv"
	@.venv/bin/uv pip install --quiet --compile-bytecode --require-hashes --python .venv/bin/python -r requirements/dev.txt
	@touch $@

ffmpeg:
	@command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null || scripts/install-ffmpeg

chromium: ## install Chromium, for the tests that look at the report in a real browser
	scripts/install-chromium

in-git:
	@git rev-parse --git-dir >/dev/null 2>&1 || grep -qs no_scm .dvc/config .dvc/config.local || test -e .git || { echo "error: no git repository here, which DVC needs: run git init (or clone the repository)" >&2; exit 1; }

repro: in-git setup ## run the experiment of params.yaml (`dvc repro`), print the table; is it the committed one?
	dvc repro
	@echo; cat results/table.md
	@echo; scripts/same-numbers

# NAME is a stranger's text: the shell sees it as a variable alone, and only as one of the folders' names.
override NAME := $(value NAME)
export NAME
IN_FOLDER = folder=$$(scripts/experiment-folder "$$NAME")

experiment: in-git setup ## run experiments/NAME, print its table; is it the committed one? (docs/experiments.md)
	@test -n "$$NAME" || NAME=?; $(IN_FOLDER); cd "$$folder"; dvc repro; echo; cat results/table.md; echo; \
	  "$(CURDIR)/scripts/same-numbers" "$$NAME"

look: in-git setup ## look at the recordings again (files added, replaced or removed), then as `make repro`; NAME=
	@$(IN_FOLDER); cd "$$folder"; dvc repro --force --single-item --glob 'download@*'
	@if [ -n "$$NAME" ]; then $(MAKE) --no-print-directory experiment; else $(MAKE) --no-print-directory repro; fi

models: setup ## train all models at the same time, one on each GPU (docs/parallel-models.md); NAME=
	@$(IN_FOLDER); cd "$$folder"; "$(CURDIR)/scripts/train-models"

test: setup ffmpeg ## lint, types, tests (about 6 minutes)
	@$(MAKE) --no-print-directory lint
	pytest -m "not slow" -n logical --dist loadfile

test-slow: setup ffmpeg ## the checks that take minutes
	pytest -m slow

campaign: setup ## an hour of accidents: stages stopped at random, inputs damaged; prints its seed
	python -m tests.campaign

lint: setup ## ruff and mypy
	ruff check . $(PROGRAMS)
	ruff format --check . $(PROGRAMS)
	mypy pipeline stages tests benchmarks container $(PROGRAMS)

format: setup ## let ruff rewrite what it can
	ruff check --fix . $(PROGRAMS)
	ruff format . $(PROGRAMS)

confirm: setup ffmpeg ## compare every committed score with museval's or torchmetrics', to 1e-6 dB
	@$(IN_FOLDER); cd "$$folder"; "$(CURDIR)/scripts/confirm-scores"

open: ## the paper's experiment on open recordings, some 10 GB: make experiment NAME=open
	@$(MAKE) --no-print-directory experiment NAME=open

paper: ## the paper's experiment on its own recordings: make experiment NAME=paper
	@$(MAKE) --no-print-directory experiment NAME=paper

bench: setup ## measure every part against the straightforward way and the machine -> docs/performance.md
	python -m benchmarks

bench-gpu: setup ## the same on a GPU, and how long the whole paper takes there
	python -m benchmarks --device cuda

lock-current: setup ## fail if dvc.lock does not belong to the code and parameters
	scripts/lock-current

requirements: setup ## resolve requirements/*.in again into pinned, hashed files
	for name in bootstrap runtime dev; do \
	  uv pip compile --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	    --no-annotate --quiet requirements/$$name.in -o requirements/$$name.txt; \
	done

architecture: setup ## draw the rooms of the code and the way of the data -> docs/rooms.svg
	scripts/draw-rooms

clean: ## delete what a run leaves outside git, but for recordings and caches
	rm -rf work data/ready .pytest_cache .mypy_cache .ruff_cache .hypothesis

docker: ## build the image adversarial-separation (docs/container.md)
	DOCKER_BUILDKIT=1 $${DOCKER:-docker} build $${DOCKER_BUILD_OPTIONS:-} -t adversarial-separation .

docker-test: setup ## build the image, scan it, run the experiment in it, stopped and killed in the middle
	scripts/docker-test
