# Every task of the repository, each one command. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo test check install lock bento serve clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

demo: $(INSTALLED) ## install, then train, gate and register the reference model on real flights
	@merit run

test: $(INSTALLED) ## run all tests
	@pytest -n auto tests/unit tests/config
	@pytest tests/pipeline tests/e2e

check: $(INSTALLED) ## lint, types, import contracts, workflow audit, fresh lock
	@pre-commit run --all-files --show-diff-on-failure

serve: $(INSTALLED) ## start the endpoint on 127.0.0.1:3000
	@merit serve

bento: $(INSTALLED) ## build a Bento of the package in model/
	@bentoml build

install: $(INSTALLED) ## create .venv from requirements.lock

$(INSTALLED): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.13 with venv on PATH; install python3.11 (Debian: python3.11-venv)"; exit 2; }
	@echo "installing the locked packages into $(VENV) with $(PYTHON); the first time takes some minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

lock: ## resolve pyproject.toml anew into requirements.lock and requirements-serving.lock
	@$(PYTHON) tools/lock.py

clean: ## remove what the pipeline made; .venv and DVC's cache stay
	rm -rf data training reports model
