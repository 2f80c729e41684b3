# `make help` lists the verbs. Everything runs from .venv, made from the hashed lock: uv when it is on PATH, else venv + pip.
SHELL := /bin/bash
PY    ?= python3
VENV  := .venv
BIN   := $(VENV)/bin
# Tests at a time. On two cores five: some of them always wait, for a process or a deadline.
JOBS  ?= 5

.DEFAULT_GOAL := help
.PHONY: help demo run test check format bench soak stack lock clean

help: ## list the verbs
	@grep -hE '^[a-z.]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: .venv ## watch it work: embedded Redis, simulated TwelveLabs, a real receiver; no key
	@$(BIN)/bridge demo

run: .venv ## run the worker against BRIDGE_REDIS_URL and the real API
	@$(BIN)/python worker.py

test: .venv ## every test, on a real Redis that the tests start themselves
	@$(BIN)/pytest -n $(JOBS) --dist loadgroup $(ARGS)

check: .venv ## ruff, mypy --strict, import-linter, spelling, hadolint, the compose schema
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/codespell
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml docker-compose.observability.yml

format: .venv ## let ruff rewrite what it can
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: $(VENV)/.bench ## figures at full length (the short form is part of `make test`)
	@$(BIN)/python -m benchmarks

soak: .venv ## the long proofs at full size: crash points, storms, mutants, chaos, fuzzing (hours)
	@BRIDGE_SOAK=1 $(BIN)/pytest -n 2 --dist loadgroup -m soak -v -rP $(ARGS)

stack: .venv ## docker-compose.yml built, run, killed and looked into (needs Docker and root)
	@docker compose --profile '*' build -q
	@BRIDGE_TEST_COMPOSE="docker compose --project-name bridge-test" $(BIN)/pytest tests/stack -s $(ARGS)

lock: ## maintainers: resolve the locks again (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  pyproject.toml --extra sandbox --extra crypto --extra console --group dev -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  -c requirements.lock pyproject.toml --extra crypto --extra console -o requirements.runtime.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  -c requirements.lock pyproject.toml --extra crypto --extra console --extra otel -o requirements.tracing.lock
	grep -hA3 '^otel = ' pyproject.toml | grep -o '"[^"]*"' | tr -d '"' | uv pip compile --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header -c requirements.tracing.lock - -o requirements.otel.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  -c requirements.lock --group bench -o requirements.bench.lock

.venv: $(VENV)/.ok ## make the environment and leave a working .venv/bin/bridge

# What traces is kept apart: redis-py imports it wherever it is installed, which costs every process a tenth of a second.
# Bytecode is made here: where Python is told to write none, every process would make it anew, which doubles its start.
$(VENV)/.ok: requirements.lock requirements.otel.lock pyproject.toml
	@echo "Making .venv from requirements.lock; this takes up to a minute." >&2
	@set -e; if command -v uv >/dev/null 2>&1; then \
	  uv venv -q --allow-existing --python $(PY) $(VENV); \
	  export VIRTUAL_ENV=$(VENV); \
	  uv pip install -q --compile-bytecode --require-hashes -r requirements.lock; \
	  uv pip install -q --compile-bytecode --target $(VENV)/otel --require-hashes -r requirements.otel.lock; \
	  uv pip install -q --compile-bytecode --no-deps --no-build-isolation -e .; \
	else \
	  $(PY) -m venv $(VENV); \
	  $(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock; \
	  $(BIN)/pip install -q --disable-pip-version-check --target $(VENV)/otel --require-hashes -r requirements.otel.lock; \
	  $(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi; $(BIN)/python -m compileall -q bridge; touch $@

$(VENV)/.bench: requirements.bench.lock $(VENV)/.ok
	@if command -v uv >/dev/null 2>&1; then VIRTUAL_ENV=$(VENV) uv pip install -q --compile-bytecode --require-hashes -r $<; \
	else $(BIN)/pip install -q --disable-pip-version-check --require-hashes -r $<; fi; touch $@

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
