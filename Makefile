# make run and make test need Python 3.11 or newer and nothing else; both make .venv first.

PYTHON ?= python3
VENV := .venv
IN_VENV := $(VENV)/bin/python
CONFIG ?= configs/kick_vcpus.toml

# Hundreds of starts read the same files: bytecode is kept, also where the environment says not to.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test only-tests lint test-slow test-broken test-faults mutants bench soak soak-virtual explore-large docs clean

run: $(VENV)/installed
	$(IN_VENV) -m harness run $(CONFIG)

# The lint goes beside the tests, which run two at a time: most wait for processes, or compile on one processor.
test: $(VENV)/installed
	$(MAKE) --jobs 2 lint only-tests

only-tests: $(VENV)/installed
	$(IN_VENV) -m pytest -n 2 --dist worksteal

test-slow: $(VENV)/installed
	$(IN_VENV) -m pytest -m slow

# Each broken config 20 times, shortened and beside two busy loops.
test-broken: $(VENV)/installed
	$(IN_VENV) -m tests.provoke --cut 0.5 --load 2

# 1,070 faults at random instants and 12,000 inputs that are damaged at random places: 20 minutes on two processors.
test-faults: $(VENV)/installed
	$(IN_VENV) -m tests.faults --rounds 20 --minutes 60
	$(IN_VENV) -m tests.fuzz --examples 800

# Rows, micro-ops and lines of the statistics with one thing wrong, which some test must see.
mutants: $(VENV)/installed
	$(IN_VENV) -m tests.mutants --sample 300

bench: $(VENV)/installed
	$(IN_VENV) -m tests.bench

# 10^8 calls of correct runs, none of which `run --check-outcomes` may fail: half an hour on two quiet processors.
soak: $(VENV)/installed
	$(IN_VENV) -m tests.soak

# 10^9 calls in virtual time; what was stopped goes on behind what soak.json has.
soak-virtual: $(VENV)/installed
	$(IN_VENV) -m tests.soak --engines simulate --virtual-s 1.5 --operations 1e9 --releases 1.5.05,1.5.24,1.5.34 --kept soak.json

# The searches of configs/explore/large/: 1.2 GiB of memory, 30 minutes on two processors that other work had, too.
explore-large: $(VENV)/installed
	$(IN_VENV) -m tests.large

# ruff and mypy at the levels that pyproject.toml states.
lint: $(VENV)/installed
	$(IN_VENV) -m ruff check
	$(IN_VENV) -m mypy

# The pages of docs/ that are made from the code's own tables, completions/ from the parser, and answers.json from the rows.
docs: $(VENV)/installed
	$(IN_VENV) -c 'from harness.protocol import kept_answers; kept_answers.write()'
	$(IN_VENV) -c 'from harness.reports import calls, columns, exit_codes, keys, reference, releases; [page.write() for page in (calls, columns, exit_codes, keys, reference, releases)]'
	$(IN_VENV) -m harness decode --list --format github > docs/statuses.md
	$(IN_VENV) -m tests.docs.commands
	$(IN_VENV) -m tests.docs.completions

$(VENV)/installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(IN_VENV) -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
