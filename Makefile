# Everything from a fresh clone: `make setup` installs, `make demo` runs the main job on the bundled data, `make
# instruments` on notes that the pocket models never heard, `make test` passes the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo instruments test lint docs clean

setup: $(READY)

demo: $(READY)
	$(BIN)/synthio run src/synthio/starters/demo.yaml

# Without its dependency, which plays through a sound card.
instruments: $(READY)
	$(BIN)/pip install --quiet --no-deps -c constraints.txt tinysoundfont
	$(BIN)/synthio pretrain recordings recipes/pretrain/timgm6mb.yaml
	$(BIN)/python scripts/make_evaluation_sets.py work/timgm6mb work/evaluation
	$(BIN)/synthio run recipes/instruments.yaml

# By file: what the tests of one share, such as a finished run, would be made by both workers.
test: $(READY) lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/python scripts/make_configuration_docs.py

# torch first: an unpinned requirement would take the registry's newest build with its CUDA packages.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11, 4) or sys.exit("found Python " + sys.version.split()[0] \
		+ "; expected 3.11.4 or newer: make $(MAKECMDGOALS) PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install --quiet -c constraints.txt -e '.[augment,pocket,pretrain,stable-audio-open,dev]'
	$(BIN)/synthio prepare
	touch $(READY)

clean:
	rm -rf $(VENV)
