# Every target sets up what it needs. `make help` lists them.

VENV := .venv
PY := $(VENV)/bin/python
# Tests wait about half of their time: for servers, clocks and each other.
WORKERS ?= 3
PORT ?= 8080
EXECUTIONS ?= 2000

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test jars azurite deploy-check sizing conformance docs fuzz bench lint fmt clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.ready: pyproject.toml scripts/setup.sh
	@sh scripts/setup.sh $(VENV)

setup: $(VENV)/.ready ## make .venv with everything in it (the other targets do this by themselves)

demo: $(VENV)/.ready ## run the sample flows for real, on a local Postgres, S3 and web server
	@$(VENV)/bin/kestra-dagster demo

dev: $(VENV)/.ready ## open the Dagster UI on http://localhost:8080 (PORT=... for another), Ctrl-C ends it
	@$(VENV)/bin/kestra-dagster dev --port $(PORT)

test: ## run all tests (ARGS=... is given to pytest)
	@{ sh scripts/packages.sh; sh scripts/docker.sh; } & $(MAKE) --no-print-directory setup && wait
	@sh scripts/emulators.sh
	@PYTHONDONTWRITEBYTECODE= $(PY) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

jars: ## fetch with Maven the servers for the tests of MongoDB and OpenSearch, which are skipped without, and Kafka's own
	@sh scripts/jars.sh

azurite: ## fetch with npm the emulator for the tests of Azure Blob Storage, which are skipped without
	@npm install --silent --no-audit --no-fund --prefix $${XDG_CACHE_HOME:-$$HOME/.cache}/kestra-dagster/azurite azurite@3

deploy-check: $(VENV)/.ready ## start the services of docker-compose.yml as processes, use them and break them
	@sh scripts/services.sh
	@$(PY) -m pytest tests/deployment -m deploy -n 2 --durations=15 $(ARGS)

conformance: $(VENV)/.ready ## compare with Kestra's own test flows (../shared/conformance, or KESTRA_CONFORMANCE)
	@$(PY) -m pytest -k conformance --thorough $(ARGS)

sizing: $(VENV)/.ready ## measure what docs/deployment.md says of sizes and storages (EXECUTIONS=2000, half an hour)
	@sh scripts/services.sh
	@$(PY) -m tests.deployment.soak --executions $(EXECUTIONS) --workers 4 --runs 2
	@$(PY) benchmarks/storage.py --processes 20
	@$(PY) benchmarks/places.py

docs: $(VENV)/.ready ## write docs/plugins.md from the table of task types
	@$(PY) -m kestra_dagster.schema.plugins_page docs/plugins.md

fuzz: $(VENV)/.ready ## feed 20,000 random templates to the expressions, then as many along their branches
	@KESTRA_DAGSTER_FUZZ=20000 $(PY) -m pytest tests/expressions/test_fuzz.py --timeout 3600 $(ARGS)
	@$(PY) -c 'import atheris' 2>/dev/null || uv pip install --quiet --python $(PY) atheris 2>/dev/null || $(PY) -m pip install --quiet atheris
	@$(PY) scripts/fuzz_expressions.py -runs=20000

bench: $(VENV)/.ready ## run the benchmarks
	@for benchmark in benchmarks/*.py; do echo "== $$benchmark"; $(PY) $$benchmark || exit 1; done

lint: $(VENV)/.ready ## check style and types
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/pyright

fmt: $(VENV)/.ready ## put the code in the house style
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

clean: ## remove everything that was made here: .venv, .dagster_home, artifacts, caches
	rm -rf $(VENV) .dagster_home .tmp_dagster_home_* artifacts .pytest_cache .ruff_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
