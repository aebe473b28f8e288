# Everything runs in .venv, which the first target that needs it makes: Python 3.11 or later and a package index are all it takes.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
TIERS := unit contract integration acceptance faults
LINTERS := lint-ruff lint-imports lint-mypy lint-pyright lint-figures lint-site

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit test-faults soak lint measure format docs lock bench \
	simulate clean $(LINTERS)

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup: $(READY)  ## make .venv with every dependency at its locked version

$(READY): requirements.lock pyproject.toml
	@echo "setting up .venv with $(PYTHON): dependencies, Redis, the emulators (once; about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Promptmill needs Python 3.11 or later; name one with make PYTHON=…")'
	@$(PYTHON) -m venv .venv
	@grep -A 40 '^uv==' requirements.lock | sed '/^uv==/!{/^[a-z]/,$$d}' > .venv/uv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock
	@VIRTUAL_ENV=.venv $(BIN)/uv pip sync --quiet --compile-bytecode --system-certs --require-hashes requirements.lock
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --system-certs --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)  ## run 1,500 translations through the whole stack on this machine; make demo ARGS="--requests 5500"
	@$(BIN)/promptmill demo $(ARGS)

test: $(READY)  ## lint and all tests but those that take minutes; runs every tier, then reports each
	@table=""; status=0; trap 'exit 130' INT; \
	run() { \
		name=$$1; shift; began=$$(date +%s); echo "== $$name"; \
		if "$$@"; then outcome=passed; else outcome=FAILED; status=1; fi; \
		table="$$table$$(printf '%-24s %-8s %5s s' "$$name" "$$outcome" $$(($$(date +%s) - began)))\n"; \
	}; \
	run lint $(MAKE) --no-print-directory --keep-going lint; \
	for tier in $(TIERS); do \
		run "tests/$$tier" $(BIN)/pytest -q -rs -m "not slow and not alone" -n 3 --dist loadfile "tests/$$tier"; \
	done; \
	run "tests that run alone" $(BIN)/pytest -q -rs -m "alone and not slow" $(TIERS:%=tests/%); \
	printf "\n$$table"; exit $$status

test-unit: $(READY)  ## the tests that need no network and no Redis
	@$(BIN)/pytest -q tests/unit

test-faults: $(READY)  ## kill, wipe, cut off and delay everything; under 20 min
	@$(BIN)/pytest -q -m alone tests/faults
	@$(BIN)/pytest -q -m "not alone" -n 3 --dist loadfile --no-loadscope-reorder tests/faults

soak: $(READY)  ## faults at random for as long as asked; make soak SECONDS=1800
	@cd tests && ../$(BIN)/python -m faults.soak --seconds $(or $(SECONDS),600)

lint: $(LINTERS)  ## ruff, mypy, pyright, the import rules, the limits of make measure, the site

lint-ruff: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

lint-imports: $(READY)
	@$(BIN)/lint-imports --no-logo

lint-mypy: $(READY)
	@$(BIN)/mypy

lint-pyright: $(READY)
	@$(BIN)/basedpyright

lint-figures: $(READY)
	@$(BIN)/python tools/measure_code.py --quiet

lint-site: $(READY)
	@$(BIN)/zensical build --clean --strict

measure: $(READY)  ## print figures on names, functions, lines and prose, with their limits
	@$(BIN)/python tools/measure_code.py --report

format: $(READY)  ## let ruff format and fix what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(READY)  ## write the generated pages and build the site into site/, offline
	@$(BIN)/python tools/generate_reference.py
	@$(BIN)/zensical build --clean --strict

bench: $(READY)  ## time a run and its stages
	@$(BIN)/python -m pytest -q tests/benchmarks --bench

simulate: $(READY)  ## run the pipeline in simulated worlds; make simulate SEEDS=20000
	@cd tests && ../$(BIN)/python -m faults.simulation --seeds $(or $(SEEDS),1000)

lock: $(READY)  ## resolve pyproject.toml into a new requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras --group dev \
		--no-annotate --no-header --upgrade pyproject.toml -o requirements.lock

clean:  ## remove what the other targets made
	rm -rf .venv .promptmill dist site
