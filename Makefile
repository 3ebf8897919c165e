# Commands of the repository; `make` alone lists them. All of them set up what they need first.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
# Privileged tests need root; -E and PATH keep the promises and the tools of the caller.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E env "PATH=$$PATH")

.PHONY: help setup demo test test-v2 test-v2-core lint format unit bench docs clean

help: ## list these commands
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: ## make .venv, install proa into it and the system packages that are missing
	@scripts/setup

demo: ## set up, bootstrap a Debian image, run containers and tell what happens
	@scripts/demo

test: lint ## everything that CI runs: lint, unit, conformance, integration, attacks, cgroup v2
	@$(AS_ROOT) $(PYTHON) -m pytest $(PYTEST)
	@$(AS_ROOT) $(PYTHON) -m tests.support.v2

test-v2: test-setup ## the cgroup, runtime and network suites in a guest: Debian's kernel, pure cgroup v2
	@$(AS_ROOT) $(PYTHON) -m tests.support.v2 --all

test-v2-core: test-setup ## the part of test-v2 that CI runs
	@$(AS_ROOT) $(PYTHON) -m tests.support.v2

lint: test-setup ## ruff, mypy --strict, import-linter
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

format: test-setup ## format the code and fix what ruff can fix
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

unit: test-setup ## the tests that need neither root nor network
	@$(PYTHON) -m pytest tests/unit $(PYTEST)

bench: ## compare starts with the peers that are installed (needs root; BENCH="--quick")
	@scripts/setup --peers
	@$(AS_ROOT) $(PYTHON) -m benchmarks.start $(BENCH)

docs: ## build the documentation into build/docs
	@scripts/setup --docs
	@$(PYTHON) -m sphinx -q -W -b html docs build/docs
	@echo "build/docs/index.html"

clean: ## remove what these commands made here (images and containers stay)
	rm -rf .venv .cache build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.PHONY: test-setup
test-setup:
	@scripts/setup --test
