# The first Python on this machine that is new enough; make PYTHON=... chooses another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
PYTEST_FLAGS ?=
BIN := .venv/bin
RUN := runs/demo
SOURCES := transformer tests train.py translate.py
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Python compiles a module when it is first imported: a third less time than all of them at the installation.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-long test-peers lint clean

help:
	@echo 'make demo        train on the built-in corpus, translate unseen sentences, measure: five minutes'
	@echo 'make test        lint, then the tests but the long ones and those with peers (PYTEST_FLAGS=... for pytest)'
	@echo 'make test-long   the tests of reliability with large numbers: an hour'
	@echo 'make test-peers  the tests that need PyTorch and Transformers, in an environment of their own (.venv-peers)'
	@echo 'make lint        style, format and types'
	@echo 'make clean       remove .venv, caches and $(RUN)'

demo: .venv/.installed
	$(BIN)/python train.py configs/demo.toml
	$(BIN)/python -m transformer corpus builtin:clauses:test:500 $(RUN)/test --source en --target de
	$(BIN)/python translate.py --model $(RUN) -i $(RUN)/test.en -o $(RUN)/test.hyp
	$(BIN)/python -m transformer evaluate --hypothesis $(RUN)/test.hyp --reference $(RUN)/test.de > $(RUN)/test.scores
	@paste $(RUN)/test.en $(RUN)/test.hyp $(RUN)/test.de | awk -F '\t' 'NR <= 5 \
		{ printf "\nsource       %s\ntranslation  %s\nreference    %s\n", $$1, $$2, $$3 } END { print "" }'
	@tail -n +2 $(RUN)/test.scores
	@head -n 1 $(RUN)/test.scores

# XLA optimizes nothing in the first half (tests/conftest.py), which compiles many small programs.
test: lint
	$(PYTEST) $(PYTEST_FLAGS)
	$(if $(PYTEST_FLAGS),,XLA_FLAGS= $(PYTEST) -m optimized)

test-long: .venv/.installed
	XLA_FLAGS= $(BIN)/python -m pytest -m long -s --durations=0 $(PYTEST_FLAGS)

test-peers: .venv-peers/.installed
	.venv-peers/bin/python -m pytest tests/peers $(PYTEST_FLAGS)

lint: .venv/.installed
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/pyrefly check

clean:
	rm -rf .venv .venv-peers .hypothesis .pytest_cache .ruff_cache *.egg-info $(RUN)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python .venv-peers/bin/python:
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'make: Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11' >&2; exit 1; }
	$(PYTHON) -m venv $(@:/bin/python=) || { rm -rf $(@:/bin/python=); exit 1; }

# Constraints pin every version, one file for each line of Python: 3.11 is the last that has JAX 0.10.
INSTALL = -m pip install --quiet --no-compile --disable-pip-version-check
PINNED = -c constraints/$$($(BIN)/python -c 'import sys; print("py311" if sys.version_info < (3, 12) else "py312")').txt
CONSTRAINTS := pyproject.toml constraints/py311.txt constraints/py312.txt

.venv/.installed: $(CONSTRAINTS) | .venv/bin/python
	$(BIN)/python $(INSTALL) -e '.[dev]' $(PINNED)
	@touch $@

.venv-peers/.installed: BIN = .venv-peers/bin
.venv-peers/.installed: $(CONSTRAINTS) constraints/peers.txt | .venv-peers/bin/python
	$(BIN)/python $(INSTALL) -e '.[dev,peers]' $(PINNED) -c constraints/peers.txt
	@touch $@
