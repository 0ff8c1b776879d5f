# Needs Python 3.12 or 3.13 (with pip and venv) and make; everything else is installed into .venv from requirements.lock.
#
#   make report              the report on every model and its bundled data: reports/index.html
#   make test                the test suite;             one part of it:  make test ARGS="-m 'not slow'"
#   make exhaustive          further pairs of users' programs, of kinds that the suite shows already
#   make faults              100 kills and 66 interruptions of commands, at random moments
#   make lint                style, formatting, types and the direction of dependencies
#   make bench               the benchmarks
#   make power               false alarms on right fits, and planted bugs that are caught
#   make engines             the README's table of the libraries' own fits
#   make .venv               the environment alone
#   make lock                requirements.lock anew, from the bounds in pyproject.toml
#   make clean               removes the environment, caches and written reports (not reports/verdicts.csv)
#
# ARGS is passed on. Another interpreter: make test PYTHON=/path/to/python3.12

SHELL := /bin/sh
.DELETE_ON_ERROR:
.PHONY: report test exhaustive faults lint bench power engines lock clean .venv

ARGS ?=
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Sets $$python to the first interpreter that runs, is of a supported version and can make environments.
find_python = \
	python=; \
	for candidate in $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3 python); do \
		if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 12) <= sys.version_info < (3, 14))' \
			>/dev/null 2>&1; then python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "error: no Python 3.12 or 3.13 with venv and pip found (tried: $(or $(PYTHON),python3.13 python3.12 python3 python))." >&2; \
		echo "Install one (Debian and Ubuntu: also its -venv package), or name it: make PYTHON=/path/to/python3.13" >&2; \
		exit 1; \
	fi

report: $(VENV)/.installed
	@# exit code 1 means that some verdict is DIFFER: a finding, not a failure to make the report
	$(BIN)/python -m comparisons $(ARGS) || { [ $$? -eq 1 ] && $(BIN)/python -c 'import comparisons.runs.command_line'; }

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not exhaustive" --durations=25 $(ARGS)

# What the suite leaves to a change of the adoption of users' programs: every pair of them, every way round.
exhaustive: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist load -m exhaustive $(ARGS)

# Commands that are killed and interrupted at random moments; the seed is printed.
faults: $(VENV)/.installed
	$(BIN)/python -m pytest -n 0 -s tests/test_kills.py --times 100 $(ARGS)

# Every check runs, so that one call shows all there is to mend.
lint: $(VENV)/.installed
	@status=0; \
	for check in "ruff check ." "ruff format --check ." "basedpyright" "lint-imports"; do \
		echo "$(BIN)/$$check"; \
		$(BIN)/$$check || status=1; \
	done; \
	exit $$status

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/run.py $(ARGS)

power: $(VENV)/.installed
	$(BIN)/python benchmarks/power.py $(ARGS)

engines: $(VENV)/.installed
	$(BIN)/python benchmarks/engines.py $(ARGS)

.venv: $(VENV)/.installed

# Two stamps: a change of the lock makes the environment anew, a change of pyproject.toml only reinstalls the project.
$(VENV)/.locked: requirements.lock
	@$(find_python); \
	echo "making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv --clear $(VENV)
	$(PIP) install --quiet --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@$(PIP) check || { echo "error: requirements.lock does not satisfy pyproject.toml; run: make lock" >&2; exit 1; }
	@touch $@

lock:
	@$(find_python); "$$python" -m venv --clear .lock-venv
	.lock-venv/bin/python -m pip --disable-pip-version-check install --quiet 'pip-tools>=7,<8'
	CUSTOM_COMPILE_COMMAND="make lock" .lock-venv/bin/pip-compile --quiet --generate-hashes \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --strip-extras --allow-unsafe \
		--extra dev --extra extras --extra bambi $(ARGS) --output-file requirements.lock pyproject.toml
	rm -rf .lock-venv

clean:
	rm -rf $(VENV) .lock-venv .concord .hypothesis .import_linter_cache .pytest_cache .ruff_cache build dist
	find models inference comparisons tests -name __pycache__ -type d -prune -exec rm -rf {} +
	find reports -mindepth 1 -maxdepth 1 ! -name README.md ! -name verdicts.csv -exec rm -rf {} +
