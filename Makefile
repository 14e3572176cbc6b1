PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# A process of pytest per core, at most four.
SIDE_BY_SIDE := --numprocesses=auto --maxprocesses=4 --dist=loadfile

.PHONY: demo demo-datasets test check fast mutants bench docs release

# The whole pipeline on synthetic faces, from frames to the leaderboard.
demo: $(VENV)/installed
	$(BIN)/python -m orchestration.demo --out demo

# Small copies of the real datasets in their official layouts, and the doctor's report on each.
demo-datasets: $(VENV)/installed
	$(BIN)/python -m dadnet.datasets.copies --out data/copies
	-for copy in casme2 casme3 fourdme dfme samm smic ckplus; do \
	  $(BIN)/python -m dadnet.doctor --dataset $$copy --root data/copies/$$copy; done

# Every test, also the slow ones. The tests of one file share a process, so clusters and stores.
test: $(VENV)/installed
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

# The tests that take about a minute.
fast: $(VENV)/installed
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow"

# Whether the fast tests notice changes of single lines (docs/mutants.md): nine minutes at a time.
mutants: $(VENV)/installed
	$(BIN)/python -m benchmarks.mutants

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pylint dadnet results orchestration search_spaces
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python .ci/audit.py constraints.txt

# The documentation's site, in build/docs; a warning is an error.
docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Wheel and source package in dist, and a small demo of the wheel in an environment of its own.
release: $(VENV)/installed
	PYTHON=$(BIN)/python sh .ci/release

# torch first, with its exact version, so that no other package installs another build of it.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev,export]"
	touch $@

# The short measurements; run the others by hand (see benchmarks/README.md).
bench: $(VENV)/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[bench]"
	$(BIN)/python -m benchmarks.fold_step --repeats 5
	$(BIN)/python -m benchmarks.stack --repeats 3
	$(BIN)/python -m benchmarks.gswd --repeats 5
