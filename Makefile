# Works with GNU make 3.81 (macOS ships it) and any POSIX shell.
.DEFAULT_GOAL := help
.PHONY: help setup lab demo test clean

VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
# Written last, so an interrupted installation is repeated; older than pyproject.toml, it is done again.
INSTALLED := $(VENV)/installed

# As requires-python in pyproject.toml.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c '$(FITS)' 2>/dev/null && { echo $$python; break; }; done)
LAB_FLAGS ?=
DEMO_FLAGS ?=
# Waiting threads of OpenMP spin briefly, as for the ranet-edu command (cli.spin_briefly); kernels inherit it.
GOMP_SPINCOUNT ?= 10000
export GOMP_SPINCOUNT
# Seconds for one notebook cell.
CELL_TIMEOUT ?= 300
# Processes among which test files and notebooks are shared out, each of one thread; 0: no sharing.
TEST_PROCESSES ?= 2
SHARED_OUT := -n $(TEST_PROCESSES) --dist loadfile

help:   ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s  %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "Options: PYTHON=python3.12 chooses the Python (3.11 to 3.13) that the first run makes $(VENV) with,"
	@echo "TORCH_INDEX=https://download.pytorch.org/whl/cpu a PyTorch without CUDA (much smaller; no GPU),"
	@echo "LAB_FLAGS=\"--no-browser --port 9999\" goes to JupyterLab,"
	@echo "DEMO_FLAGS=\"--no-browser --port 9999\" to the demo. To choose anew: make clean, then again."

setup: $(INSTALLED)  ## make .venv and install everything (the other commands do it when needed)

lab: $(INSTALLED)  ## open the notebooks in JupyterLab, at 00_start_here
	JUPYTER_PREFER_ENV_PATH=1 $(VENV_PYTHON) -m jupyterlab --ServerApp.root_dir=. \
		--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(LAB_FLAGS)

demo: $(INSTALLED)  ## segment your own video on a page in the browser, and look inside the network
	$(VENV_PYTHON) -m ranet_edu.cli demo $(DEMO_FLAGS)

test: $(INSTALLED)  ## run everything that proves the repository: ruff, the tests, every notebook
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m pytest $(SHARED_OUT)
	RANET_EDU_DAVIS="$(CURDIR)/data/samples" OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest $(SHARED_OUT) --nbval-lax --nbval-current-env --nbval-cell-timeout=$(CELL_TIMEOUT) notebooks/*.ipynb

clean:  ## remove .venv, build leftovers and caches; keeps data/cache (your downloads)
	rm -rf $(VENV) build dist ranet_edu.egg-info .pytest_cache .ruff_cache
	find ranet_edu tests notebooks -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml
	@if $(VENV_PYTHON) -c '$(FITS)' 2>/dev/null && $(VENV_PYTHON) -m pip --version >/dev/null 2>&1; then exit 0; fi; \
	python="$(PYTHON)"; \
	if ! "$$python" -c '$(FITS)' 2>/dev/null; then \
		echo "No Python 3.11, 3.12 or 3.13 found ($${python:-tried python3.13, python3.12, python3.11, python3})."; \
		echo "Debian, Ubuntu: sudo apt install python3 python3-venv    macOS: brew install python@3.13"; \
		echo "or from python.org; then once more, with PYTHON=/path/to/python3 if it is not on your PATH."; \
		exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "$$python cannot make virtual environments: sudo apt install python3-venv, then once more."; \
		exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv --clear $(VENV)
	@echo "Installing into $(VENV): a few minutes and several GB the first time (PyTorch)."
ifdef TORCH_INDEX
	$(VENV_PYTHON) -m pip install --index-url $(TORCH_INDEX) torch torchvision
endif
	$(VENV_PYTHON) -m pip install --editable '.[course,demo,onnx,test]'
	@touch $@
