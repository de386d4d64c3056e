# `make setup` once; `make test` is what CI runs. Written for plain make, from the 3.81 of macOS on.
VENV ?= .venv
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info[:2] <= (3,13))' 2>/dev/null && echo $$p && break; done)
BIN := $(abspath $(VENV))/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt

# On Linux PyPI's torch brings 3 GB of CUDA. Where there is no NVIDIA GPU, the same version for the CPU is looked for here too;
# an index that can't be reached is passed over. `make setup TORCH_INDEX=` takes PyPI's build, another address another one.
TORCH_INDEX ?= $(shell test "$$(uname)" = Linux && ! test -e /dev/nvidia0 && ! command -v nvidia-smi >/dev/null && echo https://download.pytorch.org/whl/cpu)
export TORCH_INDEX

.PHONY: setup demo test docs lab readme clean
setup: $(VENV)/.done

$(VENV)/.done: settings.ini setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "mriseg needs Python 3.11, 3.12 or 3.13: install one (python.org, 'brew install python@3.13' or 'apt install python3-venv') and run make again, or name it: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Installing into $(VENV) (about 1.3 GB, some minutes)"
	@$(PYTHON) -m venv $(VENV)
	@test -z "$(TORCH_INDEX)" || $(PIP) --no-deps --retries 0 --timeout 15 --extra-index-url $(TORCH_INDEX) torch || echo "Not from $(TORCH_INDEX): taking torch from PyPI"
	@$(PIP) -e '.[dev,browser]' --use-pep517 --config-settings editable_mode=compat   # or a folder named mriseg, such as the clone, would be taken for the package
	@touch $@
	@echo "Done. In this terminal: source $(VENV)/bin/activate"

demo: setup
	$(BIN)/mriseg demo --out demo

test: setup
	@$(BIN)/python tools/gate.py

# With Quarto instead (https://quarto.org/docs/download, 'brew install --cask quarto'): make docs DOCS=--quarto
docs: setup
	$(BIN)/python tools/docs.py $(DOCS)
	$(BIN)/python tools/check_site.py

lab: setup
	$(BIN)/jupyter lab

readme: setup
	$(BIN)/python tools/readme.py

clean:
	rm -rf $(VENV) build dist *.egg-info _docs _proc _site_src demo
