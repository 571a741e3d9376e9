# Needs python3 (>= 3.11, with venv) and nothing else. `make demo` and `make test` set up .venv
# when they are first called, and again when a pyproject.toml or constraints.txt has changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PLUGINS := $(sort $(wildcard plugins/*))
PACKAGES := -e . $(addprefix -e ,$(PLUGINS))
TOOLS := build hatchling matplotlib mypy pre-commit pytest pytest-xdist ruff torchmetrics

.PHONY: demo test test-slow lint format clean

demo: $(READY)  ## Train a binary network with dfa and meta on five tasks, in about 10 s
	$(BIN)/bnn run --rule dfa --optimizer meta --stream permuted-digits --epochs 20 \
		--set stream.tasks=5 --set optimizer.m=5

# Tests start processes that import torch: they share what Python compiles of it.
test: $(READY)  ## Run all tests that need no download
	env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile

test-slow: $(READY)  ## Run the long tests and those on real data, which BNNLAB_DATA points to
	env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n auto

lint: $(READY)  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# uv inside the virtual environment installs in a fraction of the time; without it, pip does.
$(READY): pyproject.toml constraints.txt $(PLUGINS:=/pyproject.toml)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bnnlab needs Python 3.11 or newer; set PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	if $(BIN)/python -m pip install --quiet uv; then \
		$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt $(PACKAGES) $(TOOLS); \
	else \
		$(BIN)/python -m pip install --constraint constraints.txt $(PACKAGES) $(TOOLS); \
	fi
	touch $(READY)

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
