# The two commands of the README, `make quickstart` and `make test`, do all the set-up themselves.
# Needs GNU Make and Python 3.11 (or 3.12) with pip; everything else goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV := uv==0.13.9
PYTEST_ARGS ?=
BENCH_ARGS ?=
LOCK_ARGS ?=
# One worker per core, one thread per worker: torch's threads gain nothing on tensors this small. Each worker has a row
# of neighbours, which share fixtures, and takes over some of another's when it has done its own.
OMP_NUM_THREADS ?= 1
PYTEST := OMP_NUM_THREADS=$(OMP_NUM_THREADS) $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help quickstart test slow slurm notebooks bench results docs flags lint format types lock clean

help:  ## Show what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

# Its argument is the name of a config. `ls -t`: the run just made is the newest.
define fit_and_test
$(BIN)/oneforall fit --config configs/quickstart/$(1).yaml
$(BIN)/oneforall test --ckpt_path "$$(ls -td runs/$(1)*/ | head -n 1)checkpoints/best.ckpt"
endef

quickstart: $(STAMP)  ## Train and test two networks, for images and for text: five minutes, no download of data
	$(call fit_and_test,images)
	$(call fit_and_test,seq2seq)

test: $(STAMP)  ## Run the tests, without the slow ones and those that need a GPU or SLURM
	$(PYTEST) -m "not slow and not gpu and not slurm" $(PYTEST_ARGS)

slow: $(STAMP)  ## Run the tests that train for a while
	$(PYTEST) -m "slow and not gpu and not slurm" $(PYTEST_ARGS)

slurm: $(STAMP)  ## Run the tests on SLURM, which they start themselves: needs root, slurm-wlm and munge
	$(PYTEST) -m slurm --numprocesses 0 tests/cluster $(PYTEST_ARGS)

notebooks: $(STAMP)  ## Run every notebook from its source; none is changed
	$(PYTEST) tests/notebooks --durations=0 $(PYTEST_ARGS)

bench: $(STAMP)  ## Measure speed beside other programs, in up to 20 minutes, and print the table
	$(BIN)/python -m benchmarks.cpu $(BENCH_ARGS)

results: $(STAMP)  ## Write the tables and plots of RESULTS.md from the files in results/
	$(BIN)/python -m scripts.results

docs: $(STAMP)  ## Build the documentation into build/docs; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "open build/docs/index.html"

flags: $(STAMP)  ## Write down all options of all commands anew, after a change of the command line
	$(BIN)/python -m scripts.flags

lint: $(STAMP)  ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)  ## Check types
	$(BIN)/mypy

# One file for Linux (x86-64 and ARM) and macOS: markers say what belongs where. Versions in it stay unless
# pyproject.toml rules them out or LOCK_ARGS says otherwise: --upgrade, or --upgrade-package NAME.
lock: $(STAMP)  ## Write requirements.txt from pyproject.toml
	PATH="$$PATH:$(CURDIR)/$(BIN)" uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --extra dev \
		--fork-strategy fewest --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
		--output-file requirements.txt $(LOCK_ARGS)

clean:  ## Remove the environment and all caches; runs and data stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build docs/_generated *.egg-info
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# One environment for everything, rebuilt only when what it holds has changed. uv installs the same pinned, hashed
# versions as pip, several times faster; where there is none, UV is installed into the environment first.
$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 is needed: make PYTHON=python3.11")'
	@# Debian's Python has no ensurepip: there the environment is made without a pip of its own
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || $(PYTHON) -m venv --clear --without-pip $(VENV)
	uv --version > /dev/null 2>&1 || $(PYTHON) -m pip --python $(BIN)/python install --quiet $(UV)
	PATH="$$PATH:$(CURDIR)/$(BIN)" uv pip install --python $(BIN)/python --require-hashes --requirement requirements.txt
	PATH="$$PATH:$(CURDIR)/$(BIN)" uv pip install --python $(BIN)/python --no-deps --editable .
	touch $(STAMP)
