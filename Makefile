# Tasks of this checkout. `make` alone lists them.
#
# All paths are relative, so the checkout may lie anywhere, but make has to be called in it.

SHELL := /bin/sh
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# two calls of pip must not write into one environment at once
.NOTPARALLEL:

PYTHON ?= python3
IN_ENV := env/bin/python
PIP := $(IN_ENV) -m pip --disable-pip-version-check
OFFLINE := pip could not install that: its reason stands above. Without a network, connect to one or name an index within reach in PIP_INDEX_URL; then call make again, which goes on from here.
# What pip says about each of a hundred packages is noise; a dot every few seconds is a sign of life,
# which ends with this shell.
define INSTALL
@( while sleep 3 >/dev/null 2>&1 && kill -0 $$$$ 2>/dev/null; do printf .; done ) & dots=$$!; \
$(PIP) --quiet install $(1); status=$$?; kill $$dots; wait $$dots 2>/dev/null; echo; \
[ $$status = 0 ] || echo "$(OFFLINE)" >&2; exit $$status
endef

# stays set in an environment that was made with GPU=1, so that a later `make env` does not undo it
GPU ?= $(if $(wildcard env/.installed-gpu),1)

# DEMO=quick goes under a name of its own, so that the full demo is never refused after it
DEMO ?= full
ifeq ($(DEMO),quick)
DEMO_EXP := first_grid_quick
DEMO_OPTIONS := --set epochs=30 --as quick --repetitions 0-1
else ifeq ($(DEMO),full)
DEMO_EXP := first_grid
DEMO_OPTIONS :=
else
$(error DEMO must be full or quick, got $(DEMO): call `make demo` or `make demo DEMO=quick`)
endif

ifeq ($(wildcard pyproject.toml),)
$(error there is no pyproject.toml in $(CURDIR): call make in the root of the checkout)
endif

# Sets $python to an interpreter that can make the environment, or says what is missing.
# Only a default PYTHON is looked for elsewhere: one that the user names is used or refused.
CANDIDATES := $(if $(filter file,$(origin PYTHON)),$(PYTHON) python3.13 python3.12 python3.11)
define FIND_PYTHON
python=; seen=; \
for candidate in $(or $(CANDIDATES),"$(PYTHON)"); do \
    version=$$("$$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
    case $$version in 3.11|3.12|3.13) python=$$candidate; break;; esac; \
    seen="$$seen, $$candidate is Python $$version"; \
done; \
if [ -z "$$python" ]; then \
    echo "No Python 3.11, 3.12 or 3.13 under the name $(PYTHON)$$seen: install one (Debian: apt-get install python3 python3-venv) or name one with make env PYTHON=/path/to/python3.12." >&2; exit 1; \
fi; \
if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
    echo "$$python is Python $$version without its venv module: install that (Debian: apt-get install python3-venv, or python$$version-venv)." >&2; exit 1; \
fi
endef

.PHONY: help
help: ## list the targets (this list)
	@awk -F ':.*## ' '/^[a-zA-Z0-9_-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' Makefile

# ---------------------------------------------------------------------------- environment

.PHONY: env
env: env/.installed $(if $(GPU),env/.installed-gpu) ## make env/ and install what scripts need (GPU=1: TensorFlow with CUDA)

.PHONY: env-dev
env-dev: env env/.installed-dev ## env, and what notebooks, tests and lint need

# Console scripts hold the folder they were made in, so an environment that was moved is made anew.
.PHONY: moved
HOME_OF_ENV := $(if $(wildcard env/.installed),$(shell cat env/.installed))
ifneq ($(HOME_OF_ENV),)
ifneq ($(HOME_OF_ENV),$(CURDIR))
env/.installed: moved
endif
endif
moved:
	@echo "env/ was made in $(HOME_OF_ENV): making it anew"
	rm -rf env

env/.installed: requirements.txt NDN3/requirements.txt pyproject.toml
	@$(FIND_PYTHON); \
	if ! $(IN_ENV) -c 'import pip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then \
	    echo "making env/ with $$python (Python $$version)"; \
	    "$$python" -m venv --clear env; \
	fi
	@echo "installing requirements.txt (about 3 GB on the disk, a minute or two)"
	$(call INSTALL,--requirement requirements.txt)
	@$(PIP) --quiet install --no-deps --editable . || { echo "$(OFFLINE)" >&2; exit 1; }
	@cd env && bin/python -c 'import NDN3, utils'
	@printf '%s\n' "$(CURDIR)" > $@
	@echo "env/ is ready: source ./activate puts its python and runs on the path of this shell"

env/.installed-gpu: env/.installed NDN3/requirements-gpu.txt
	@echo "installing TensorFlow with CUDA (several GB, some minutes)"
	$(call INSTALL,--requirement NDN3/requirements-gpu.txt)
	@touch $@

env/.installed-dev: env/.installed requirements-dev.txt
	@echo "installing requirements-dev.txt (notebooks, tests, lint; about a minute)"
	$(call INSTALL,--requirement requirements-dev.txt)
	@touch $@

.PHONY: NDN3
NDN3: ## check that the framework is here (it is part of this tree, nothing is fetched)
	@if [ -f NDN3/NDN.py ]; then \
	    echo "NDN3/ is part of this tree: nothing to fetch."; \
	else \
	    echo "NDN3/ is incomplete, NDN3/NDN.py is missing: git checkout -- NDN3 brings it back." >&2; exit 1; \
	fi

.PHONY: activate
activate: ## restore the file activate as it was committed
	@if git show HEAD:./activate > .activate.new 2>/dev/null; then \
	    mv .activate.new activate; echo "activate is as it was committed: source ./activate"; \
	else \
	    rm -f .activate.new; \
	    echo "activate is restored from git, and this folder is no git checkout: take the file from where you took the others." >&2; exit 1; \
	fi

.PHONY: snapshot
snapshot: env-dev ## freeze what is installed into requirements_snapshot.txt
	@{ printf '# what was installed, by `make snapshot`, with %s on %s\n' "$$($(IN_ENV) --version)" "$$(uname -sm)"; \
	    $(PIP) freeze --exclude-editable --exclude pip --exclude setuptools --exclude wheel; } > requirements_snapshot.new
	@mv requirements_snapshot.new requirements_snapshot.txt
	@echo "requirements_snapshot.txt: $$(grep -c == requirements_snapshot.txt) packages"

# ---------------------------------------------------------------------------- work

.PHONY: data
data: env ## write synthetic recordings into Data/ where files are missing, check those that are there
	@$(IN_ENV) -m utils.make_data

.PHONY: demo
demo: env data ## train, draw and list a first grid of V1 models (DEMO=quick: 30 epochs, 2 repetitions)
	@status=0; \
	$(IN_ENV) experiments/demo/first_grid_runner.py linux --resume $(DEMO_OPTIONS) || status=$$?; \
	figure="$${BENCH_RESULTS:-playgrounds}/figures/$(DEMO_EXP).png"; \
	$(IN_ENV) -m utils.jobs plot demo/$(DEMO_EXP) --out "$$figure" || status=$$?; \
	$(IN_ENV) -m utils.jobs table demo || status=$$?; \
	echo; \
	echo "figure       $$figure"; \
	echo "notebook     playgrounds/first_grid.ipynb   (make notebooks executes it)"; \
	echo "TensorBoard  make tensorboard"; \
	echo "next         source ./activate   (then python and runs are those of env/; make env-dev adds jupyter)"; \
	exit $$status

.PHONY: notebooks
notebooks: env-dev ## execute the notebooks of playgrounds/, leave them as HTML in playgrounds/figures/
	@ls "$${BENCH_RESULTS:-training_data}"/logs/*/* >/dev/null 2>&1 || \
	    { echo "there are no runs for the notebooks to show: make demo trains some." >&2; exit 1; }
	@TF_CPP_MIN_LOG_LEVEL="$${TF_CPP_MIN_LOG_LEVEL:-3}" $(IN_ENV) -m jupyter nbconvert --execute --to html --output-dir "$${BENCH_RESULTS:-playgrounds}/figures" playgrounds/*.ipynb

.PHONY: tensorboard
tensorboard: env ## show training_data/logs in TensorBoard (Ctrl-C ends it)
	$(IN_ENV) -m tensorboard.main --logdir "$${BENCH_RESULTS:-training_data}/logs"

# ---------------------------------------------------------------------------- checks
# `make check test` runs the unit tests once.

PYTEST := $(IN_ENV) -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: lint
lint: env-dev
	$(IN_ENV) -m ruff format --check .
	$(IN_ENV) -m ruff check .
	$(IN_ENV) -m mypy utils

.PHONY: check
check: lint test-unit ## format, lint, types, unit tests, layers, documents

.PHONY: test
test: test-unit test-system ## everything the README promises: unit, system, notebooks, documents

.PHONY: test-unit
test-unit: env-dev ## unit tests, layers, sizes, documents
	$(PYTEST) tests/unit

.PHONY: test-system
test-system: env-dev ## commands from end to end, and the notebooks
	$(PYTEST) tests/system

# sorted by engine: each worker begins with one of them
.PHONY: test-cluster
test-cluster: env-dev ## jobs through a real Grid Engine and Slurm, installed and started here (root, Debian), then stopped
	$(IN_ENV) -m pytest --cluster --numprocesses 2 --dist worksteal tests/cluster

.PHONY: chaos
chaos: env ## kill grids at random moments, here and on real engines (root, Debian); does each run end well?
	@status=0; \
	$(IN_ENV) bench/chaos.py $(CHAOS) || status=$$?; \
	$(IN_ENV) bench/chaos_engines.py $(CHAOS_ENGINES) || status=$$?; \
	exit $$status

# ---------------------------------------------------------------------------- containers
# The machine's own Python does this: a machine with containers needs no env/.

define CONTAINERS
@command -v "$(PYTHON)" >/dev/null 2>&1 || { echo "there is no $(PYTHON), which reads what to build: install Python 3.8 or later, or name one with PYTHON=." >&2; exit 1; }
@"$(PYTHON)" -m utils.containers $(1) $(if $(filter-out 0,$(GPU)),--gpus)
endef

.PHONY: image
image: ## build the container for containers/runcmd, with Docker or Podman (GPU=1: with CUDA)
	$(call CONTAINERS,image)

.PHONY: Dockerfile
Dockerfile: image ## the same, under the name of the original

.PHONY: apptainer
apptainer: ## build the container as one file, for clusters with Apptainer (GPU=1: with CUDA)
	$(call CONTAINERS,apptainer)

# ---------------------------------------------------------------------------- cleaning
# Nothing here touches Data/.

.PHONY: clean
clean: ## remove caches and build folders
	rm -rf build ./*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -path ./env -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -exec rm -rf {} +

.PHONY: clean_env
clean_env: ## remove env/
	rm -rf env

RESULTS_PARTS := logs models job_logs .cache experiments.txt
.PHONY: clean_tflogs
clean_tflogs: ## remove all results of training_data/ (asks; YES=1 answers)
	@results="$${BENCH_RESULTS:-training_data}"; \
	if [ "$(YES)" != 1 ]; then \
	    if [ ! -t 0 ]; then \
	        echo "clean_tflogs removes all results in $$results and there is no terminal to ask: make clean_tflogs YES=1." >&2; exit 1; \
	    fi; \
	    printf 'Remove %s in %s? Nobody can bring them back. [y/N] ' "$(RESULTS_PARTS)" "$$results"; \
	    read -r answer; \
	    case $$answer in y|Y|yes) ;; *) echo "nothing was removed"; exit 1;; esac; \
	fi; \
	cd "$$results" && rm -rf $(RESULTS_PARTS) && echo "$$results holds no results any more"

.PHONY: clean_activate
clean_activate: ## remove the file activate (make activate restores it)
	rm -f activate
