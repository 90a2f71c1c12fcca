# The commands of the project. Each does all its own set-up, prints what takes long, and is fast the second time.
# What is built or downloaded is kept in $XDG_CACHE_HOME (or ~/.cache), outside the checkout.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dtj
# uv from PATH, else from a virtual environment of its own, which needs no right to write to the system.
UV := $(or $(shell command -v uv),$(CACHE)/uv/bin/uv)
RUN := $(UV) run --frozen --no-sync
PYTEST := $(RUN) pytest --durations=10
# Tests wait more than they compute, and a file's tests share what they set up.
PARALLEL := --numprocesses $(or $(PROCESSES),3) --dist loadfile
# One thread a rank: several ranks share the cores of one machine in tests.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
# Torch and transformers import in a third of the time from compiled files, and tests start many processes.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help:  ## show the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(UV)  ## the Python environment (.venv), from the lock file
	@$(UV) sync --frozen --all-extras

$(CACHE)/uv/bin/uv:
	python3 -m venv $(CACHE)/uv
	$(CACHE)/uv/bin/pip install --quiet 'uv>=0.9'

.PHONY: demo
demo: setup  ## train on a real cluster made here; CLUSTER=local|kind|existing, JSON=1 for events as JSON lines
	@$(RUN) python -m dtj_demo --cluster $(or $(CLUSTER),local) $(if $(JSON),--json)

.PHONY: cluster
cluster: setup  ## start the local cluster: two real nodes; NODES=n, FAKE_NODES=n
	$(RUN) tools/cluster/cluster up --nodes $(or $(NODES),2) --fake-nodes $(or $(FAKE_NODES),0)

.PHONY: cluster-down
cluster-down: setup  ## stop the local cluster and leave nothing running or mounted
	$(RUN) tools/cluster/cluster down

.PHONY: lint
lint: setup  ## formatting, lint, types, and the arrows between the packages
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) lint-imports --no-logo

.PHONY: test test-unit test-cluster test-e2e
test: test-unit test-cluster test-e2e  ## all tests: unit, then a real API server, then real pods

test-unit: setup  ## tests of pure parts and of single processes
	$(PYTEST) $(PARALLEL) tests/unit -m "not soak and not gpu"

test-cluster: setup  ## tests against a real kube-apiserver
	$(RUN) tools/cluster/cluster build --control-plane-only
	$(PYTEST) $(PARALLEL) tests/cluster -m "not soak and not gpu"

test-e2e: setup  ## tests with real pods on the local cluster
	$(RUN) tools/cluster/cluster build
	$(PYTEST) tests/e2e -m "not soak and not gpu"

.PHONY: soak
soak: setup  ## tests that repeat often or take long
	$(PYTEST) tests -m soak

.PHONY: test-gpu
test-gpu: setup  ## tests that need an NVIDIA GPU
	$(PYTEST) tests -m gpu

.PHONY: bench
bench: setup  ## benchmarks: each prints its figure beside its floor or peer
	$(PYTEST) -s tests/bench

.PHONY: generate
generate: setup  ## write the generated files anew: the CRD and the manifest reference
	$(RUN) python -m dtj_api.crd
	$(RUN) python docs/reference.py

.PHONY: docs
docs: setup  ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict

.PHONY: clean
clean:  ## remove what the commands above left in the checkout, and the cluster; caches stay
	@if [ -d .venv ]; then $(RUN) tools/cluster/cluster down; fi
	rm -rf .venv site dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
