# `make regenerate` and `make test` set up everything they need in .venv; a second call is quick.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# TransformerLens wants other versions of NumPy than we do: an environment for each.
INTEROP := $(patsubst tests/interop/transformer-lens-%.txt,%,$(wildcard tests/interop/*.txt))

# As many processes as there are cores, up to four: each takes about 2 GB. A file's tests stay together,
# since they share what its fixtures make. A process per core leaves none to the threads of NumPy.
PYTEST := OPENBLAS_NUM_THREADS=1 $(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# What is tested of the installed wheel; `make test-newest WHEEL_TESTS=tests` takes everything quick.
WHEEL_TESTS ?= tests/models tests/sealed tests/storage tests/test_api.py

.PHONY: regenerate test test-slow test-all test-newest test-lowest test-interop lint clean

regenerate: $(VENV)/.installed
	$(BIN)/jaxmi regenerate all --out runs/regenerate --force

test: $(VENV)/.installed-dev
	$(PYTEST) -m "not slow"

test-slow: $(VENV)/.installed-dev
	$(PYTEST) -m "slow and not long"

test-all: $(VENV)/.installed-dev
	$(PYTEST)

test-newest test-lowest: test-%: $(VENV)/bin/python
	$(BIN)/python scripts/check_wheel.py $* -m "not slow" $(WHEEL_TESTS)

test-interop: $(VENV)/.installed-dev $(INTEROP:%=$(VENV)-interop/%/.installed)
	$(BIN)/python tests/interop/write.py $(VENV)-interop/bundle
	@for version in $(INTEROP); do \
	  $(VENV)-interop/$$version/bin/python tests/interop/compare.py $(VENV)-interop/bundle || exit 1; \
	done
	$(BIN)/python tests/interop/read.py $(VENV)-interop/bundle
	@rm -rf $(VENV)-interop/bundle

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf $(VENV) $(VENV)-interop $(VENV)-newest $(VENV)-lowest .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "jaxmi needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[test,lint]'
	@touch $@ $(VENV)/.installed

$(VENV)-interop/%/.installed: tests/interop/transformer-lens-%.txt
	$(PYTHON) -m venv $(VENV)-interop/$*
	$(VENV)-interop/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
