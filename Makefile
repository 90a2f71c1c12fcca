# The commands of the project. Each does all its own set-up, prints what takes long, and is fast the second time.
# What is built or downloaded is kept in $XDG_CACHE_HOME (or ~/.cache), outside the checkout.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# The project's own uv, whatever is on PATH.
UV := tools/uv
RUN := $(UV) run --frozen --no-sync
# mypy reads torch and transformers for minutes the first time; what it keeps is held to its version and to the files' sums.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dtj
PYTEST := $(RUN) pytest --durations=10
# Tests wait more than they compute, and a file's tests share what they set up. Files run in the order of tests/conftest.py,
# the long ones first, and not by the number of their tests.
PARALLEL := --numprocesses $(or $(PROCESSES),3) --dist loadfile --no-loadscope-reorder
# One thread a rank: several ranks share the cores of one machine in tests.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
# Torch and transformers import in a third of the time from compiled files, and tests start many processes.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help:  ## show the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# What a command asks of the machine; seen to before anything is fetched or made.
NEED := environment
test test-e2e soak bench: NEED := nodes
test-cluster: NEED := control-plane
demo cluster: NEED := $(if $(filter local,$(or $(CLUSTER),local)),nodes,environment)

.PHONY: setup
setup:  ## the Python environment (.venv), from the lock file
	@tools/preflight $(NEED)
	@$(UV) sync --frozen --all-extras

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
	$(RUN) mypy --cache-dir $(CACHE)/mypy
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

.PHONY: hostile
hostile: setup  ## an honest job beside a hostile tenant, on a real kube-apiserver; prints what that costs
	$(RUN) tools/cluster/cluster build --control-plane-only
	$(PYTEST) -s tests/cluster/test_hostile.py -m soak

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
	rm -rf .venv site dist .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
