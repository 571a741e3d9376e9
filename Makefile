# Needs python3 (>= 3.11, with venv) and nothing else. `make demo` installs into .venv what the demo
# uses; `make test` adds the runtime, the other plugins and the tools. Each installs again when a pyproject.toml
# or constraints.txt has changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

DEMO := $(addprefix plugins/,analysis backprop demo dfa metaplasticity mlp plots studies vision)
# Folders in plugins/ whose packages are large, or need a service: only `make test-NAME` installs one
# and runs its tests, which `make test` skips.
HEAVY := optuna ray tensorboard wandb
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))
LIGHT := $(filter-out $(HEAVY:%=plugins/%),$(PLUGINS))
OTHERS := runtime $(filter-out $(DEMO),$(LIGHT))

# Tests start processes that import torch: they share what Python compiles of it.
PYTEST := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python -m pytest

# uv inside the virtual environment installs in a fraction of the time; without it, pip does. Both
# compile what they install, or the first run would do it, in each of its processes.
install = if $(BIN)/python -m pip install --quiet uv; then \
		$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python \
			--constraint constraints.txt $(1); \
	else \
		$(BIN)/python -m pip install --quiet --upgrade pip && \
		$(BIN)/python -m pip install --constraint constraints.txt $(1); \
	fi

# A step that failed is made anew: without this, a .venv in which `venv` could put no pip would stay.
.DELETE_ON_ERROR:

.PHONY: demo test test-heavy test-slow test-plugins docs lint format matrix wheels release clean

demo: $(VENV)/.demo  ## Compare three methods on five tasks, in about 20 s
	$(BIN)/bnn demo

test: $(READY)  ## Run all tests that need no download
	$(PYTEST) -m "not slow" -n auto --dist loadfile

test-slow: $(READY)  ## Run the long tests and those on real data, which BNNLAB_DATA points to
	$(PYTEST) -m slow -n auto --dist worksteal

# `make test` has no ONNX, and skips what needs it.
test-heavy: $(READY)  ## Install the heavy plugins and what `bnn export` can write, and run their tests
	$(call install,$(foreach each,$(HEAVY) export,-e "plugins/$(each)$(EXTRAS_$(each))"))
	$(PYTEST) -m "not slow" -n auto --dist loadfile $(HEAVY:%=plugins/%) plugins/export

EXTRAS_export := [qonnx]
# A slow test starts a server, where one is installed.
EXTRAS_optuna := [postgresql]

test-export test-optuna: WORKERS := -n auto --dist loadfile

test-%: $(READY)  ## Install one plugin, and run its tests: `make test-plots`
	$(call install,-e "plugins/$*$(EXTRAS_$*)")
	$(PYTEST) -m "not slow" $(WORKERS) plugins/$*

test-plugins: $(READY)  ## Test each plugin as `bnn test-plugin` does, for a quarter of an hour
	for each in $(filter-out bnnlab-tracking,$(LIGHT:plugins/%=bnnlab-%)); do \
		$(BIN)/bnn test-plugin $$each || exit 1; \
	done

docs: $(VENV)/.docs  ## Build the documents as a site, which `bnn docs` opens
	$(BIN)/python site/build.py

matrix: $(READY)  ## Run all tests that need no download with every Python and torch, for an hour
	$(BIN)/python benchmarks/matrix.py

lint: $(READY)  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheels: $(BIN)/python  ## Build the wheels of the core, the runtime and all plugins into dist
	rm -rf dist
	if $(BIN)/python -m pip install --quiet uv; then \
		$(BIN)/uv build --quiet --all-packages --wheel --out-dir dist; \
	else \
		$(BIN)/python -m pip install --quiet build && \
		for each in . runtime $(PLUGINS); do $(BIN)/python -m build --wheel --outdir dist $$each || exit 1; done; \
	fi

# What we build comes from files, all else from the index.
release: export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
release: export UV_CONSTRAINT := $(CURDIR)/constraints.txt
release: docs wheels  ## Build all wheels, and run the demo from them in an empty environment; nothing is uploaded
	$(PYTHON) -m venv --clear dist/environment
	dist/environment/bin/pip install --quiet dist/bnnlab-*.whl
	dist/environment/bin/bnn install $(PLUGINS:plugins/%=%) --find-links dist
	cd dist && environment/bin/bnn doctor && environment/bin/bnn demo

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bnnlab needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt $(DEMO:=/pyproject.toml) | $(BIN)/python
	$(call install,-e . $(addprefix -e ,$(DEMO)))
	touch $@

$(READY): $(VENV)/.demo $(OTHERS:=/pyproject.toml)
	$(call install,--group dev $(addprefix -e ,$(OTHERS)))
	touch $@

# Of the heavy plugins, this one adds a command, whose options a page lists.
$(VENV)/.docs: $(READY) plugins/optuna/pyproject.toml
	$(call install,--group docs -e plugins/optuna)
	touch $@

clean:  ## Remove the virtual environment, wheels, the site and caches
	rm -rf $(VENV) build dist plugins/docs/src/bnnlab_docs/site .mypy_cache .pytest_cache .ruff_cache
