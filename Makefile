# The commands of the project. `make help` lists them.
#
# Everything is installed into .venv; the network is needed for that, once, and for nothing else.

PYTHON ?= python3
PORT ?= 8000
PRESET ?=
SHELL := /bin/bash

BIN := .venv/bin
STAMP := .venv/.installed
# Two test processes, one thread each: sized for two cores.
JOBS ?= 2

.PHONY: help book serve test run bench clean
.DEFAULT_GOAL := help

help: ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'
	@echo "  With PYTHON=python3.12 another Python makes the environment; it must be 3.11, 3.12 or 3.13."

$(STAMP): requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	  echo "There is no $(PYTHON): install Python 3.11, 3.12 or 3.13, or name it with 'make book PYTHON=...'."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); this needs 3.11, 3.12 or 3.13: 'make book PYTHON=python3.12'."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module: on Debian and Ubuntu, install the package python3-venv."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

book: $(STAMP) ## build the book from scratch and say where it is
	@$(BIN)/python book/build.py

serve: $(STAMP) ## show the built book in a browser
	@test -f _build/html/index.html || $(MAKE) book
	@echo "The book: http://localhost:$(PORT)/ (stop with Ctrl-C)"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

test: $(STAMP) ## build the book and run every check: style, spelling, tests, notebooks
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/python book/build.py
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup
	@# The chapters run in an empty folder, so that none can lean on a file of the repository.
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && cp notebooks/*.ipynb "$$folder" && cd "$$folder" && \
	  OMP_NUM_THREADS=1 STITCHWORK_PRESET=smoke $(CURDIR)/$(BIN)/python -m pytest -n $(JOBS) --dist loadfile \
	  --nbval-lax --nbval-current-env --nbval-cell-timeout=120 -ra -p no:cacheprovider

run: $(STAMP) ## execute the chapters again (PRESET=smoke, cpu or gpu) and record what did it
	$(BIN)/stitchwork run notebooks/*.ipynb $(if $(PRESET),--preset $(PRESET))
	$(BIN)/stitchwork comparisons notebooks/*.ipynb --output book/data/comparisons.json

bench: $(STAMP) ## measure our networks against timm's and torchvision's, and the blocks against their plain forms
	$(BIN)/stitchwork bench speed --output book/data/bench_speed.json
	$(BIN)/stitchwork bench speed evit_unet --batch 1 --pairs 20 --output book/data/bench_plain.json
	$(BIN)/stitchwork bench speed evit_unet --output book/data/bench_plain_batch.json
	$(BIN)/stitchwork bench blocks --output book/data/bench_blocks.json

clean: ## remove the built book; `rm -r .venv` removes the environment too
	rm -rf _build .pytest_cache .ruff_cache
