# Set-up, demonstration, tests and benchmarks. The environment is made once, from the lock file.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: demo test check bench lock clean

demo: $(READY)  ## digits with 50 labels: a cohort that teaches itself against independent twins
	$(BIN)/peerlearn compare dml-few-labels --arms mutual,independent threads=1 --seeds 20-24 \
		--out runs/demo --resume

test: check  ## linter, type checker and every test
	$(BIN)/python -m pytest -n auto --dist worksteal

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## every system's step in one table, against what was kept; benchmarks/README.md lists more
	@mkdir -p runs
	$(BIN)/python benchmarks/speed/bench.py --out runs/bench-speed.json --check

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

lock: $(READY)  ## pin what is installed now
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

clean:
	rm -rf $(VENV) runs build .mypy_cache .pytest_cache .ruff_cache
