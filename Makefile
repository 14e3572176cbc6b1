PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check fast bench

# The whole way on synthetic faces, from frames to the leaderboard.
demo: $(VENV)/installed
	$(BIN)/python -m orchestration.demo --out demo

# Every test, the slow ones too.
test: $(VENV)/installed
	$(BIN)/python -m pytest

# The tests that take about a minute.
fast: $(VENV)/installed
	$(BIN)/python -m pytest -m "not slow"

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# torch first and by its exact version, so that no other package pulls in another build of it.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev,export]"
	touch $@

# The short measurements; the others are run by hand (see benchmarks/).
bench: $(VENV)/installed
	$(BIN)/python -m benchmarks.fold_step --repeats 5
