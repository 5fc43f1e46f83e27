# Two commands: `make demo` evolves CartPole from nothing to its reward threshold; `make test` runs the tests.
# Both build .venv from the lock first. TORCH=cpu takes PyTorch's CPU build from PyTorch's own index (200 MB instead of
# the several GB that PyPI's Linux build brings along for CUDA): make demo TORCH=cpu

PYTHON ?= python3
TORCH ?= pypi
INDEX_cpu := --extra-index-url https://download.pytorch.org/whl/cpu
VENV := .venv
BIN := $(VENV)/bin
# pip installs into the environment from outside, so that Debian's python3-venv package is not needed; and from outside
# of the environment that is active, which has no pip either
BASE := $(shell $(PYTHON) -c 'import sys; print(sys._base_executable)')
PIP := $(BASE) -m pip --python $(BIN)/python --disable-pip-version-check
INSTALL := $(PIP) install --quiet $(PIP_OPTIONS)

.PHONY: demo install extras test test-slow check retry test-all test-python audit lint docs clean

demo: install
	$(BIN)/evolve run --config deployments/configs/cartpole.yaml

install: $(VENV)/installed

$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is older. Name another one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(BASE) -m venv --without-pip $(VENV)
	$(INSTALL) -r requirements.lock $(INDEX_$(TORCH))
	$(INSTALL) --no-deps --no-build-isolation -e .
	touch $@

# what the tests need and the demo does not: MuJoCo, MiniGrid, envpool, exporters, trackers, a dashboard (1.5 GB)
extras: $(VENV)/extras

$(VENV)/extras: $(VENV)/installed requirements-extras.lock
	$(INSTALL) --no-deps -r requirements-extras.lock
	touch $@

# hundreds of processes import our packages, each of which would compile them anew
unexport PYTHONDONTWRITEBYTECODE

# a third of the tests' time is waiting: one process more than the two cores that CI has (see tests/spreading.py)
TESTS := $(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder

test: extras
	$(TESTS) -m "not slow and not campaign"

test-slow: extras
	$(TESTS) -m slow

# test and test-slow in one session, which shares servers and runs
check: extras
	$(TESTS) -m "not campaign" --durations=20

# the tests that failed last, each once more and alone; fails if one fails again, or if none is known
retry: extras
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none --maxfail 1

test-all: check
	$(BIN)/python -m pytest -m campaign
	$(MAKE) audit

# known vulnerabilities of everything that is pinned, by PyPI's records; a package that cannot be looked up fails too.
# pip-audit asks for a pip when it is imported: it is shown the one outside, because .venv has none
audit: extras
	PIPAPI_PYTHON_LOCATION=$(BASE) $(BIN)/pip-audit --strict --disable-pip --no-deps --progress-spinner off \
		-r requirements.lock -r requirements-extras.lock

# the fast tests of the core under every other supported Python that is found, each in an environment of its own
OTHER_PYTHONS := 3.12 3.13
test-python:
	@set -e; for version in $(OTHER_PYTHONS); do \
		if ! python$$version -c '' 2> /dev/null; then echo "python$$version is not here: skipped"; continue; fi; \
		$(MAKE) install PYTHON=python$$version VENV=.venv-$$version; \
		.venv-$$version/bin/python -m pytest -q -m "not slow and not campaign" tests/evo_core; \
	done

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# the documentation site, in site/: open site/index.html. A broken link or an unknown name fails it
docs: extras
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) $(OTHER_PYTHONS:%=.venv-%) site .pytest_cache .mypy_cache .ruff_cache .hypothesis
