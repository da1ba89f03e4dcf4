# make demo: the whole experiment on the virtual instrument.  make test: every test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= demo-data
N ?= 20
SECCM ?= 5
SEED ?= 1
LANES ?= 2
export PYTHONUNBUFFERED = 1
# every process that starts would compile all it imports
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test faults audit lint docs bench install lock clean help

help:
	@grep -E '^# ' Makefile | sed 's/^# //'
	@echo "make install | demo | test | lint | docs | bench | lock | clean"

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$$(sed -n 's/^uv==\([^ ]*\).*/uv==\1/p' requirements.lock)"
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python \
	  --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: install
	$(BIN)/nucleation-bluesky demo --out $(OUT)

test: lint
	$(BIN)/python tests/run_rooms.py

# kills sessions, servers and couriers; takes minutes and wants a quiet machine.
# make faults N=1000 SECCM=200 SEED=7: so many random schedules, LANES beside each other; what
# fails is told with the line that runs it again
faults: install
	$(BIN)/python -m pytest -m faults
	$(BIN)/python -m benchmarks.fault_schedules --schedules $(N) --seccm $(SECCM) --seed $(SEED) \
	  --lanes $(LANES)

# known vulnerabilities of what the lock pins; needs the network, so it is no part of the tests.
# Strict: a package that cannot be looked up is no package without vulnerabilities
audit: install
	$(BIN)/uv tool run pip-audit --strict --requirement requirements.lock --require-hashes \
	  --disable-pip

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

docs: install
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict --quiet

bench: install
	$(BIN)/python -m benchmarks

lock:
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock

clean:
	rm -rf $(VENV) build dist site demo-data
