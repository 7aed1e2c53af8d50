# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test lint docs

install: .venv/installed

# Runs again when the dependencies change. uv takes a fifth of pip's time; pip installs where uv
# cannot, for example from an index that only pip's settings name.
WHAT := --quiet --constraint constraints.txt --editable '.[dev]'
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv && $(BIN)/uv pip install --system-certs --python $(BIN)/python $(WHAT) \
		|| $(BIN)/python -m pip install $(WHAT)
	touch $@

# Adapt ImageNet weights to the drawn data set without labels, and say what that brings with few
# labels; then a map of a drawn scene from three labels of each class, and the page to label on.
demo: install
	rm -rf runs/demo runs/scene
	$(BIN)/rs-otl pretrain synthetic --out runs/demo
	$(BIN)/rs-otl evaluate runs/demo --on synthetic --shots 1,5
	$(BIN)/rs-otl export runs/demo --to runs/demo/exported
	$(BIN)/rs-otl demo runs/scene
	$(BIN)/rs-otl embed runs/scene/scene.tif --encoder timm/tf_efficientnet_lite0 --image-size 64 --stride 16 -o runs/scene/embedding.tif
	$(BIN)/rs-otl map runs/scene/embedding.tif --labels runs/scene/labels.geojson -o runs/scene/map.tif
	$(BIN)/rs-otl view runs/scene/scene.tif --embeddings runs/scene/embedding.tif --map runs/scene/map.tif -o runs/scene/page.html

# Two processes of one thread each: more threads than cores slow each other down. Files in order:
# pytest-xdist's own order starts slow files with few tests last.
test: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, from this checkout alone; it opens from its folder: build/docs/index.html.
docs: install
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -b html docs build/docs
