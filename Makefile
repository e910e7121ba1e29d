# Every target makes .venv first when it is missing.
#   PYTHON=python3.12      another interpreter (3.11 or 3.12)
#   TORCH_FLAGS="…"        how pip finds torch, e.g. an index of CPU builds; the registry's own Linux build needs CUDA
#   EXTRA=gpu              vLLM's GPU build instead of the CPU build
PYTHON ?= python3
TORCH_FLAGS ?=
EXTRA ?= cpu
PY := .venv/bin/python

.PHONY: study test lint figures bench clean

study: .venv/installed        ## the pocket study: two small models, four arms, three tasks, a table and two figures
	$(PY) experiments/01_degradation.py --preset pocket

test: .venv/installed         ## all tests, the ones on real models too
	$(PY) -m pytest -q

lint: .venv/installed         ## style and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright

figures: .venv/installed      ## redraw every figure from data/results; no model needed
	$(PY) -m analysis.make_all

clean:                        ## the environment; artefacts in data/runs stay
	rm -rf .venv

ifeq ($(EXTRA),cpu)
# torch comes first, by pip, so that uv finds a CPU build already there.
BOOTSTRAP := torch==2.13.0 uv==0.13.9
UVFLAGS := --constraint requirements/cpu.txt --override requirements/cpu-without.txt
else
BOOTSTRAP := uv==0.13.9
endif

.venv/installed: pyproject.toml $(wildcard requirements/*.txt)
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check $(TORCH_FLAGS) $(BOOTSTRAP)
	$(PY) -m uv pip install --quiet --python $(PY) $(UVFLAGS) --editable '.[$(EXTRA),dev]'
	touch $@
