# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test lint

install: .venv/installed

# Runs again when the dependencies change.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Pretrain, evaluate and export on the built-in synthetic set.
demo: install
	rm -rf runs/demo
	$(BIN)/rs-otl pretrain synthetic --out runs/demo
	$(BIN)/rs-otl evaluate runs/demo --on synthetic
	$(BIN)/rs-otl export runs/demo --to runs/demo/exported

# Two processes of one thread each: more threads than cores slow each other down. Files in order:
# pytest-xdist's own order starts slow files with few tests last.
test: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
