# Two commands do all the set-up on a fresh machine:
#   make demo   upscale a real photo with the embedded model, and show it
#   make test   lint, types, layers and all tests
#   make weights  train every embedded model again, about twenty hours; DATA names the folder with photographs
#   make results  measure docs/results again, and write the pages from them; likewise
#   make serve  the page and the HTTP service, at http://127.0.0.1:8000/
#   make docs   the documents as a site, in build/site, its links checked
#   make dist   wheels and sdist for a package index, built twice and checked
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
SERVE := $(VENV)/.installed-serve
DIST := $(VENV)/.installed-dist
DOCS := $(VENV)/.installed-docs
NATIVE := $(wildcard src/camixersr/native/*.h src/camixersr/native/*.cpp) src/camixersr/native/build.py

.PHONY: demo serve test lint format dist docs weights results clean
export DATA

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt $(NATIVE) | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	$(BIN)/python -m camixersr.native --check || $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[research]'
	touch $@

$(DEV): pyproject.toml constraints.txt $(NATIVE) | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,report,raw,export,serve,fleet,video,dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt spandrel # less torchvision, which few of its networks use
	touch $(INSTALLED) $@

$(SERVE): pyproject.toml constraints.txt $(NATIVE) | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[serve]'
	$(BIN)/python -m camixersr.native --check || $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[research]'
	touch $(INSTALLED) $@

$(DIST): pyproject.toml constraints.txt | $(DEV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dist]'
	touch $@

$(DOCS): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

serve: $(SERVE)
	$(BIN)/camixersr serve

demo: $(INSTALLED)
	$(BIN)/python tools/demo.py

# two processes of one thread each, half the tests each; who is done first takes some of the rest
test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/zizmor --quiet --offline .github
	if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint Dockerfile; fi # there is none for every system

dist: $(DIST)
	$(BIN)/python tools/dist.py

weights: $(DEV)
	$(BIN)/python tools/weights.py

# every file of docs/results by the command beside it, and then the pages; hours. A command that ends with 4 lacks a set
results: $(DEV)
	@test -n "$$DATA" || { echo "set DATA to the folder with the benchmark sets: docs/data.md"; exit 2; }
	for script in docs/results/*.sh; do echo $$script; PATH="$(CURDIR)/$(BIN):$$PATH" sh -e $$script || [ $$? -eq 4 ] || exit 1; done
	$(BIN)/python tools/results.py

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
