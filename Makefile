# Two commands for everyone: `make demo` and `make test`. Each sets up what it needs in .venv, once.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
LOWEST_TORCH ?= 2.13.*
LOWEST_TESTS := $(addprefix tests/,recipe plans corpus stats storage run_folder measures engine loading signals)

# Byte code is kept: of transformers alone it takes each of hundreds of processes a second to compile it anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test lowest soak lint picture docs clean

help:
	@echo "make demo     install into .venv and run a real experiment on the embedded model (minutes)"
	@echo "make test     install into .venv and run the tests"
	@echo "make lowest   install the lowest versions promised into .venv-lowest and run the unit tests"
	@echo "make soak     kill, signal and fuzz for an hour or two (200 kills, 50 signals, 10,000 cases each)"
	@echo "make lint     check style and types"
	@echo "make picture  render the newest report in runs/ to a picture (needs Chromium)"
	@echo "make docs     build the documentation site into build/docs (installs the extra docs into .venv)"
	@echo "make clean    remove .venv and caches; runs/ stays"

demo: $(READY)
	@$(BIN)/frostline run src/frostline/recipe/library/demo.yaml --out "runs/demo-$$(date +%Y%m%d-%H%M%S)"

test: $(READY)
	@echo "Testing (unit tests on tiny models, and the embedded model end to end)"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# Old versions warn of each other.
lowest: $(READY) .venv-lowest/ready
	@echo "Testing with the lowest versions that pyproject.toml promises, and PyTorch $(LOWEST_TORCH)"
	@OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n 2 --dist worksteal -o filterwarnings=default $(LOWEST_TESTS)

soak: $(READY)
	@OMP_NUM_THREADS=1 FROSTLINE_KILLS=200 FROSTLINE_SHARDED=1 FROSTLINE_SIGNALS=50 FROSTLINE_CASES=10000 \
		$(BIN)/python -m pytest -n 2 --durations=20 tests/survival tests/launch tests/engine/test_sharding.py

lint: $(READY)
	@$(BIN)/ruff check --no-cache .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

picture: $(READY)
	@scripts/picture "$$(ls -td runs/*/ | head -n 1)"

docs: $(READY)
	@$(BIN)/python -c 'import furo, myst_parser, sphinx' 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@$(BIN)/python -m sphinx -W --keep-going --quiet -b html docs build/docs
	@echo "build/docs/index.html"

clean:
	rm -rf .venv .venv-lowest .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): pyproject.toml constraints.txt scripts/setup
	@scripts/setup "$(PYTHON)"
	@touch $(READY)

.venv-lowest/ready: pyproject.toml scripts/lowest
	@scripts/lowest "$(LOWEST_TORCH)"
	@touch $@
