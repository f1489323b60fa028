# One command for each task in a checkout; CI runs the same commands.
#
#   make test    lint, then all tests
#   make lint    ruff, mypy, import-linter
#   make coverage  the lines and branches that the unit tests run
#   make audit   compare the pinned packages with the list of known vulnerabilities
#   make chaos   200 kills of service, workers and trainer; folders lost and back
#   make day     three sessions of an instrument, killed in between, with their alerts
#   make demo    a simulated session from the first micrograph to a trained picker
#   make pictures  the README's pictures, of the session of make demo
#   make fuzz    damaged files of all kinds for FUZZ_MINUTES (10); the tests try a few
#   make bench   time and memory of a worker and of the service
#   make compare  livepick, RELION's LoG and Topaz on the same micrographs, each on one core
#   make ablation  effect of each step of the bootstrap, on real and simulated micrographs
#   make bundle  an offline bundle in dist/: wheels, install.sh, units; 0.6 GB
#   make clean   remove the files that these leave, except .venv and .compare

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: bundle chaos coverage day demo pictures test lint audit bench compare ablation clean fuzz
.DELETE_ON_ERROR:

# Where this is set, each of the hundreds of processes that tests start would compile livepick again.
unexport PYTHONDONTWRITEBYTECODE

# Unit tests keep both cores busy. Acceptance tests start services and mostly wait for them; those of
# one file run one after the other, and the longest files begin first (tests/acceptance/conftest.py).
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder tests/unit
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder tests/acceptance

# By the unit tests: processes that tests start are not counted, and acceptance tests start all.
# Apart from make test, because counting takes a third more CPU time.
coverage: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder \
	    --cov --cov-report=term:skip-covered tests/unit

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests/chaos.py tests/day.py tests/demo.py tests/make_pictures.py tests/benchmarks \
	    tests/comparison tests/device deploy/bundle/make_bundle.py
	$(BIN)/lint-imports --no-logo

audit: $(INSTALLED)
	$(BIN)/python .ci/audit.py

chaos: $(INSTALLED)
	$(BIN)/python tests/chaos.py

day: $(INSTALLED)
	$(BIN)/python tests/day.py --train

demo: $(INSTALLED)
	$(BIN)/python tests/demo.py

pictures: $(INSTALLED)
	test -f demo-output/session.yaml || $(BIN)/python tests/demo.py
	$(BIN)/python tests/make_pictures.py

FUZZ_MINUTES ?= 10

fuzz: $(INSTALLED)
	FUZZ_MINUTES=$(FUZZ_MINUTES) $(BIN)/python -m pytest tests/unit/core/test_fuzzed_files.py

bench: $(INSTALLED)
	@set -e; for script in $(filter-out %/ablation.py,$(wildcard tests/benchmarks/*.py)); do \
	    echo "== $$script"; $(BIN)/python "$$script"; \
	done

# COMPARE may have --data FOLDER; see the script. .compare keeps what took long; make clean leaves it.
compare: $(INSTALLED)
	$(BIN)/python tests/comparison/compare.py $(COMPARE)

# It takes an hour on two cores.
ablation: $(INSTALLED)
	$(BIN)/python tests/benchmarks/ablation.py

# BUNDLE may have options, such as --python-version 3.12; see the script.
bundle: $(INSTALLED)
	$(BIN)/python deploy/bundle/make_bundle.py $(BUNDLE)

# constraints.txt pins every package, torch too: without it pip might bring another torch.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "livepick needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	    echo "Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make virtual environments." >&2; \
	    echo "Install them: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing livepick and its tools into .venv (minutes, the first time)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    -c constraints.txt -e ".[trainer,dask,tiff,gpu,dev]"
	@touch $@

.venv: $(INSTALLED)

clean:
	rm -rf build dist demo-output .coverage .coverage.* \
	    .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find daemon trainer deploy tests -name __pycache__ -type d -prune -exec rm -rf {} +
