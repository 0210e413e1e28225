# Everything runs in .venv, made on first use with the versions in requirements.lock; test-oldest in
# .venv-oldest, with those in requirements-oldest.lock.
# PYTHON is the interpreter that .venv is made with; ARGS goes to `make digits`, `make bench`,
# `make docs` and `make fuzz`,
# PYTEST_ARGS to pytest (for example PYTEST_ARGS="-n 2 -k solver").

PYTHON ?= python3
ARGS ?=
# A process for each core. Each starts with tests that stand together, so that they share what a
# file of tests prepares, and later takes from the slowest.
PYTEST_ARGS ?= -n auto --dist worksteal

PY := .venv/bin/python
VENV := PYTHON='$(PYTHON)' \
	PYTHON_CHOSEN='$(if $(filter file,$(origin PYTHON)),,yes)' sh scripts/venv.sh
# Expanded where a recipe uses it: stops make with one line when .venv cannot be made.
PROBLEM = $(shell $(VENV) problem)
PROBLEM_OLDEST = $(shell $(VENV) problem oldest)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help digits bench fuzz test test-oldest test-kernels docs lint format types coverage clean FORCE

help:
	@echo 'make digits     learn to read handwritten digits (ARGS="--help" for options)'
	@echo 'make bench      measure speed beside other libraries (ARGS="--quick" for a first look)'
	@echo 'make test       check style and types, then run the tests, compiled and not'
	@echo 'make test-oldest  some tests of each part with the lowest versions allowed'
	@echo 'make test-kernels  run what promises equal bits with other BLAS kernels'
	@echo 'make docs       build the documentation, warnings being errors (docs/_build/html)'
	@echo 'make lint       check style'
	@echo 'make format     put the code in that style'
	@echo 'make types      check types'
	@echo 'make coverage   which lines the tests reach (compilation off)'
	@echo 'make fuzz       change model files at random, 100,000 times (ARGS="--cases N")'
	@echo 'make clean      remove the environments and all that was generated'
	@echo 'PYTHON=...      the Python to use, 3.11 or newer (now: $(PYTHON))'

digits: .venv/base.stamp
	@$(PY) -m chainrule digits $(ARGS)

# Variables that steer OpenBLAS are unset: what users see is measured.
bench: .venv/bench.stamp
	@env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(PY) -m benchmarks.run $(ARGS)

# The last line printed is pytest's closing line.
test: lint types
	@echo 'Tests, compiled:'
	@$(PY) -m pytest $(PYTEST_ARGS)
	@echo 'Tests, compilation off:'
	@NUMBA_DISABLE_JIT=1 $(PY) -m pytest -m 'not compiled and not once' $(PYTEST_ARGS)

# Compiled code is run by tests that name it, so that fewer kinds of it are compiled.
test-oldest: .venv-oldest/test.stamp
	@echo 'Tests, lowest versions:'
	@CHAINRULE_ENGINE=numpy .venv-oldest/bin/python -m pytest -m oldest $(PYTEST_ARGS)

test-kernels: .venv/test.stamp
	@$(PY) scripts/test_kernels.py

# Its examples and notebooks are executed.
docs: .venv/docs.stamp
	@$(PY) scripts/line_links.py --check
	@$(PY) -m sphinx -b html -j auto -q -E -W --keep-going docs docs/_build/html $(ARGS)

lint: .venv/test.stamp
	@$(PY) scripts/shared_docstrings.py --check
	@$(PY) scripts/line_links.py --check
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .

format: .venv/test.stamp
	@$(PY) scripts/shared_docstrings.py
	@$(PY) scripts/line_links.py
	@$(PY) -m ruff check --fix-only .
	@$(PY) -m ruff format .

types: .venv/test.stamp
	@$(PY) -m mypy

fuzz: .venv/test.stamp
	@$(PY) scripts/fuzz_model_files.py $(ARGS)

coverage: .venv/test.stamp
	@NUMBA_DISABLE_JIT=1 $(PY) -m coverage run -m pytest -n 0 -m 'not compiled'
	@$(PY) -m coverage report

clean:
	@rm -rf .venv .venv-oldest build dist htmlcov .coverage .coverage.* chainrule-digits
	@rm -rf docs/_build docs/auto_examples docs/generated docs/sg_execution_times.rst
	@rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

ifneq ($(filter-out help clean,$(MAKECMDGOALS)),)
ifneq ($(shell $(VENV) state),ok)
.venv/base.stamp .venv/bench.stamp .venv/docs.stamp .venv/test.stamp: FORCE
endif
ifneq ($(filter test-oldest,$(MAKECMDGOALS)),)
ifneq ($(shell $(VENV) state oldest),ok)
.venv-oldest/test.stamp: FORCE
endif
endif
endif

.venv/base.stamp: requirements.lock pyproject.toml
	$(if $(PROBLEM),$(error $(PROBLEM)))
	@$(VENV) base

.venv/bench.stamp: requirements.lock pyproject.toml
	$(if $(PROBLEM),$(error $(PROBLEM)))
	@$(VENV) bench

.venv/docs.stamp: requirements.lock pyproject.toml
	$(if $(PROBLEM),$(error $(PROBLEM)))
	@$(VENV) docs

.venv/test.stamp: requirements.lock pyproject.toml
	$(if $(PROBLEM),$(error $(PROBLEM)))
	@$(VENV) test

.venv-oldest/test.stamp: requirements-oldest.lock pyproject.toml
	$(if $(PROBLEM_OLDEST),$(error $(PROBLEM_OLDEST)))
	@$(VENV) oldest
