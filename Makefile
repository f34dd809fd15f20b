# Set-up, demonstration, tests and benchmarks. The environment is made once, from the lock file.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: demo test test-cluster test-timm check bench lock clean

demo: $(READY)  ## digits with 50 labels: a cohort that teaches itself against independent twins
	$(BIN)/peerlearn compare dml-few-labels --arms mutual,independent threads=1 --seeds 20-24 \
		--out runs/demo --resume

test: check  ## linter, type checker and every test
	$(BIN)/python -m pytest -n auto --dist worksteal

# Ray lies in an environment of its own, over the other one, whose versions it leaves as they are.
CLUSTER = $(VENV)-cluster
test-cluster: $(CLUSTER)/.ready  ## tests that need a Ray cluster: two nodes on this machine, one dies
	PEERLEARN_NEEDS_RAY=1 $(CLUSTER)/bin/python -m pytest tests/compare/test_on_ray.py

$(CLUSTER)/.ready: $(READY) requirements-cluster.txt
	$(PYTHON) -m venv $(CLUSTER)
	echo "import site; site.addsitedir('$$($(BIN)/python -c \
		'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
		> $$($(CLUSTER)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/below.pth
	$(CLUSTER)/bin/python -m pip install --quiet --requirement requirements-cluster.txt
	@touch $@

# timm needs torchvision, which does not run beside the torch of the lock file.
TIMM = $(VENV)-timm
test-timm: $(TIMM)/.ready  ## tests that need timm, in an environment of several gigabytes
	PEERLEARN_NEEDS_TIMM=1 $(TIMM)/bin/python -m pytest tests/models/test_timm_models.py

$(TIMM)/.ready: requirements.lock requirements-timm.txt pyproject.toml
	$(PYTHON) -m venv $(TIMM)
	grep -v '^torch==' requirements.lock > $(TIMM)/others.txt
	$(TIMM)/bin/python -m pip install --quiet -r requirements-timm.txt -r $(TIMM)/others.txt
	$(TIMM)/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

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
	rm -rf $(VENV) $(CLUSTER) $(TIMM) runs build .mypy_cache .pytest_cache .ruff_cache
