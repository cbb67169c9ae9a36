# One word a chore. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup fmt check test demo bench docs peers chaos up down lock clean kafka-needs

PY := .venv/bin/python
STAMP := .venv/.streamrec-setup
LOCKS := requirements/uv.txt requirements/dev.txt requirements/models.txt requirements/more-models.txt

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(STAMP) ## .venv with rec in it, from the hashed locks; nothing to do the second time

$(STAMP): $(LOCKS) pyproject.toml
	@bash deploy/venv.sh .venv
	@touch $@

fmt: setup ## format, and mend what ruff can mend
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

check: setup ## lint, format and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

test: kafka-needs setup ## every test, on a real Kafka that it starts; T=path or T="-k name" for some
	$(PY) -m pytest $(or $(T),-n 2)

demo: kafka-needs setup ## Kafka, topics, workers and real ratings, to three people's lists
	.venv/bin/rec demo $(ARGS)

up: kafka-needs setup ## Kafka on this machine, with the topics
	.venv/bin/rec dev kafka up
	.venv/bin/rec topics create

down: setup ## stop it
	.venv/bin/rec dev kafka down

bench: setup kafka-needs ## every benchmark, one after the other; BENCH=name for one
	@for file in benchmarks/$(or $(BENCH),*).py; do \
		[ "$$file" != benchmarks/__init__.py ] || continue; \
		echo "== $$file"; $(PY) "$$file"; \
	done

peers: .venv-peers/.made ## .venv-peers: RecTools and implicit, apart from ours, to be measured beside it

.venv-peers/.made: requirements/peers.txt requirements/uv.txt
	@python3 -c 'import venv, ensurepip' && python3 -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/peers.txt
	@touch $@

docs: setup ## pages that are generated from the code
	.venv/bin/rec dev docs

chaos: kafka-needs setup ## only the tests that kill, stop and slow things
	$(PY) -m pytest -m fault

lock: setup ## resolve requirements/ anew from pyproject.toml
	bash requirements/compile.sh

clean: ## everything that was made here
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist var
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

kafka-needs:
	@bash deploy/kafka/start.sh check
