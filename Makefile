# Every task of the repository is one command; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CHECKING := $(VENV)/.installed-check
DEVELOPING := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := grep -v '^merit-ml==' requirements.lock
PLAIN := ! grep -qE '^ *-|\\$$' requirements.lock
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo test check docs lint install lock remote data repro outputs signing-key locked only-locks summary rehearse bento serve clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: export PYTHONDONTWRITEBYTECODE := # otherwise each stage compiles all modules again
demo: $(INSTALLED) ## install, then train and gate the reference model on real flights
	@merit run

test: export PYTHONDONTWRITEBYTECODE := # otherwise each process compiles all modules again
test: export GOMP_SPINCOUNT := 1000 # otherwise waiting threads of OpenMP slow the other workers
test: $(DEVELOPING) ## run all tests
	@pytest -n auto --dist loadfile --no-loadscope-reorder tests/unit tests/config
	@pytest -n auto --dist worksteal tests/gates tests/cases
	@pytest -n auto --dist loadfile --no-loadscope-reorder tests/pipeline tests/e2e

rehearse: $(DEVELOPING) ## run the steps of the workflows against a simulated GitHub on loopback
	@REHEARSE=aloud pytest --capture=no --no-header tests/e2e/test_rehearsal*.py

check: $(DEVELOPING) ## check lint, types, import contracts, workflows, lock, the site
	@pre-commit run --all-files --show-diff-on-failure

docs: $(DEVELOPING) ## build the site of docs/ into site/, offline; a broken link fails
	@NO_MKDOCS_2_WARNING=1 mkdocs build

serve: $(INSTALLED) ## start the endpoint on 127.0.0.1:3000
	@merit serve

remote: $(INSTALLED) ## write DVC_CONFIG_LOCAL, if it is set, to .dvc/config.local, which Git ignores
	@if test -n "$$DVC_CONFIG_LOCAL"; then umask 077; printf '%s\n' "$$DVC_CONFIG_LOCAL" > .dvc/config.local; fi

data: $(INSTALLED) ## ingest the data if it is out of date and check its contract
	@merit repro validate

repro: $(INSTALLED) ## run the stages that are out of date; outputs in DVC's remote are downloaded instead
	@merit repro

outputs: $(INSTALLED) ## download the outputs that dvc.lock names from DVC's remote; nothing is computed
	@merit pull

signing-key: ## write SIGNING_KEY, if it is set, to .merit/signing.pem, which Git ignores
	@if test -n "$$SIGNING_KEY"; then umask 077; mkdir -p .merit; printf '%s\n' "$$SIGNING_KEY" > .merit/signing.pem; fi

locked: ## fail if params.yaml or dvc.lock differs from the committed one
	@git diff --exit-code HEAD -- params.yaml dvc.lock || { echo "error: not what the pipeline makes of conf/, the data \
	and the code; run 'merit run' and 'dvc push', then commit params.yaml and dvc.lock"; exit 1; }

only-locks: ## fail if a tracked file other than params.yaml and dvc.lock has changed
	@git diff --exit-code --stat HEAD -- . ':!params.yaml' ':!dvc.lock' || { echo "error: computing has changed the files \
	above too; commit them first"; exit 1; }

summary: ## add the gate and plan reports to the workflow's summary; outside a workflow, print them
	@for report in reports/gate.md reports/plan.md; do \
	if test -f $$report; then cat $$report >> "$${GITHUB_STEP_SUMMARY:-/dev/stdout}"; fi; done

bento: $(INSTALLED) ## build a Bento of the package in model/
	@bentoml build

lint: $(CHECKING) ## run `make check` without types, import contracts and what needs Node
	@SKIP=mypy,import-contracts,site,workflow-lint pre-commit run --all-files --show-diff-on-failure

install: $(INSTALLED) ## create .venv from requirements.lock; in a workflow, add it to the PATH of later steps
	@test -z "$$GITHUB_PATH" || echo "$(CURDIR)/$(BIN)" >> "$$GITHUB_PATH"

$(INSTALLED): requirements.lock requirements-build.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.13 with venv on PATH; install python3.11 (Debian: python3.11-venv)"; exit 2; }
	@echo "installing the locked packages into $(VENV) with $(PYTHON); the first time takes some minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# Build tools are locked too: they are installed first, so that no build downloads its own.
	@$(PIP) --no-deps -r requirements-build.lock
	@# Python compiles what is imported, when it is: to compile all takes longer than to install it. Two installs at once,
	@# each of every second line, take half as long as one. The lock has all packages that Python 3.11 needs on Linux;
	@# elsewhere pip adds what else is needed, and a lock with options or hashes is installed as one. Ctrl-C doesn't reach a
	@# background process: the shell ends it.
	@$(PLAIN) || exit 0; trap 'kill $$first 2>/dev/null' EXIT; \
	$(PIP) --no-build-isolation --no-compile --no-deps -r <($(LOCKED) | awk 'NR % 2') & first=$$!; \
	$(PIP) --no-build-isolation --no-compile --no-deps -r <($(LOCKED) | awk 'NR % 2 == 0'); second=$$?; \
	wait $$first && exit $$second
	@{ $(PLAIN) && $(BIN)/python -m pip check >/dev/null 2>&1; } || $(PIP) --no-build-isolation --no-compile -r <($(LOCKED))
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.installed-%: requirements-%.lock $(INSTALLED)
	@echo "installing what checks and tests need besides: $<"
	@$(PIP) --no-build-isolation --no-compile -r $<
	@touch $@

lock: ## resolve pyproject.toml into the five requirements*.lock
	@$(PYTHON) tools/lock.py

clean: ## remove the outputs of the pipeline; .venv and DVC's cache stay
	rm -rf data training reports model
