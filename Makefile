# Two commands on a fresh machine: `make demo` and `make test`. What takes time is remembered by
# stamp files, so a second run starts at once; compiled modules are rebuilt when a source changed.

VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements-dev.lock
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PXD := $(shell find lbproxy -name '*.pxd')
ARGS ?=

# Expands to nothing where all is well; otherwise make stops with the one line of the script.
complain = $(if $(filter ok,$(firstword $(1))),,$(error $(1)))

.PHONY: help demo build test e2e check format-check lint types imports bench hostile faults load fuzz format clean distclean

help:
	@echo "make demo    three demo identity nodes behind lbproxy on https://localhost:8443"
	@echo "make test    all tests, in parallel             (ARGS='-k sticky' reaches pytest)"
	@echo "make e2e     real Keycloak, WildFly and Tomcat nodes behind two workers (LBPROXY_E2E_WORKERS=1: one);"
	@echo "             needs Java 17 and Maven"
	@echo "make check   format, lint, types, import rules"
	@echo "make bench   side by side with nginx, HAProxy, Envoy, Apache, Caddy"
	@echo "make faults  what is lost while settings change, and workers and nodes are killed"
	@echo "make hostile what the worst peers cost: blocks of the event loop, memory, CPU"
	@echo "make load    whole logins by Locust through the demo; affinity must hold"
	@echo "make fuzz    100,000 mutated messages and paths, also against h11, as before each release"
	@echo "make build   compile the request path    make format    reformat"
	@echo "make clean   remove what was built       make distclean remove the environment, too"

demo: build
	@exec $(BIN)/lbproxy demo $(ARGS)

build: build/.compiled

test: $(VENV)/.dev build/.compiled
	@$(BIN)/python -m pytest -n auto $(ARGS)

e2e: $(VENV)/.dev build/.compiled
	@$(eval FOUND := $(shell sh .ci/java.sh))$(call complain,$(FOUND))
	@LBPROXY_E2E=1 $(BIN)/python -m pytest -rs -m e2e tests/e2e $(ARGS)

check: format-check lint types imports

format-check: $(VENV)/.dev
	@$(BIN)/ruff format --check .

lint: $(VENV)/.dev
	@$(BIN)/ruff check .

types: $(VENV)/.dev
	@$(BIN)/mypy

imports: $(VENV)/.dev
	@$(BIN)/lint-imports

bench: $(VENV)/.dev build/.compiled
	@exec $(BIN)/python -m bench $(ARGS)

hostile: $(VENV)/.dev build/.compiled
	@exec $(BIN)/python -m bench.hostile

faults: $(VENV)/.dev build/.compiled
	@exec $(BIN)/python -m bench.faults $(ARGS)

load: $(VENV)/.dev build/.compiled
	@exec $(BIN)/python -m bench.logins $(ARGS)

fuzz: $(VENV)/.dev build/.compiled
	@$(BIN)/python -m tests.fuzz.paths --cases 100000 $(ARGS)
	@$(BIN)/python -m tests.fuzz.mcmp --cases 100000 $(ARGS)
	@$(BIN)/python -m tests.fuzz.ajp13 --cases 100000 $(ARGS)
	@exec $(BIN)/python -m tests.fuzz.http1 --cases 100000 $(ARGS)

format: $(VENV)/.dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf build dist bench/out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find lbproxy tests bench -name __pycache__ -prune -exec rm -rf {} +
	find lbproxy -name '*.so' -delete

distclean: clean
	rm -rf $(VENV) lbproxy.egg-info

$(VENV)/.made: .ci/toolchain.sh
	@$(eval FOUND := $(shell sh .ci/toolchain.sh))$(call complain,$(FOUND))
	@test -x $(BIN)/python || { echo "making $(VENV) with $(word 2,$(FOUND))"; $(word 2,$(FOUND)) -m venv $(VENV); }
	@touch $@

# Editable, so that `.venv/bin/lbproxy` is the checkout. Needs no development packages.
$(VENV)/.runtime: $(VENV)/.made pyproject.toml $(LOCK)
	@$(eval FOUND := $(shell sh .ci/toolchain.sh $(BIN)/python))$(call complain,$(FOUND))
	@echo "installing lbproxy and what it needs into $(VENV)"
	@$(PIP) install -c $(LOCK) setuptools Cython
	@LBPROXY_PLAIN=1 $(PIP) install -c $(LOCK) --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "installing development packages into $(VENV)"
	@$(PIP) install -r $(LOCK)
	@touch $@

# Depends on every typed module and its .pxd; setup.py compiles only those that are out of date.
build/.compiled: $(VENV)/.runtime setup.py .ci/compile.py $(PXD) $(PXD:.pxd=.py)
	@$(eval FOUND := $(shell sh .ci/toolchain.sh $(BIN)/python))$(call complain,$(FOUND))
	@$(BIN)/python .ci/compile.py $(PXD)
	@mkdir -p build && touch $@
