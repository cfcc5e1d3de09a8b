# One command each, the same for people and CI.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.stamp

NATIVE = voicecall/_codec.pyx $(wildcard voicecall/_native/*)

.PHONY: demo test build check bench docs budget budget-renew budget-profile format sanitize fuzz soak crash clean

# CARRIER=twilio, telnyx or plivo holds the call through a simulated one, by the vendor's package.
CARRIER ?= mock
demo: $(STAMP)-run $(if $(filter-out mock,$(CARRIER)),$(STAMP)-carriers) build
	$(BIN)/voicecall demo --carrier $(CARRIER)

# Audio is real time: a machine that stands still for a moment is heard, so each gets another try; those
# that watch time most closely come last and beside few others.
test: $(STAMP)-dev build
	$(BIN)/python -m pytest -q -n 3 --dist loadfile -m 'not timed' --reruns 2
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m timed --reruns 2

check: $(STAMP)-dev build
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PATH="$(BIN):$$PATH" cython-lint voicecall
	$(BIN)/mypy
	$(BIN)/lint-imports

# Into build/docs; a warning is an error.
docs: $(STAMP)-dev build
	$(BIN)/python -m sphinx -W --keep-going docs build/docs

bench: $(STAMP)-dev build
	$(BIN)/python -m benchmarks.micro

# Instructions per frame against benchmarks/instructions/budget.json; needs valgrind.
budget: $(STAMP)-dev build
	$(BIN)/python -m benchmarks.instructions

budget-renew: $(STAMP)-dev build
	$(BIN)/python -m benchmarks.instructions --renew

budget-profile: $(STAMP)-dev build
	$(BIN)/python -m benchmarks.instructions --profile $(CASE)

format: $(STAMP)-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

build: $(STAMP)-build

sanitize: $(STAMP)-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.native.sanitize

# Each target has the seconds; the normal tests only replay the corpus.
fuzz: $(STAMP)-dev build
	$(BIN)/python -m tests.fuzz --seconds 60

# Callers of every kind for half an hour, ten thousand calls, then a hundred thousand requests that
# nobody should believe; what grows is named.
soak: $(STAMP)-dev build
	$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),30)
	$(BIN)/python -m benchmarks.soak --calls $(or $(CALLS),10000)
	$(BIN)/python -m benchmarks.soak.flood --requests $(or $(REQUESTS),100000)

# kill -9, again and again, of a process that stores changes of 50 calls, then of a whole server under
# 50 simulated calls of each carrier; nothing acknowledged is lost, nothing is left over.
crash: $(STAMP)-dev build
	$(BIN)/python -m tests.store.crash --rounds $(or $(ROUNDS),100)
	$(BIN)/python -m benchmarks.soak.crash --kills $(or $(KILLS),100)

clean:
	rm -rf build voicecall/*.so voicecall/_codec.c $(STAMP)-build

$(STAMP)-venv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade 'pip>=25.1'
	touch $@

# The dependencies and the package itself in editable form; compiling is the build target's.
$(STAMP)-run: $(STAMP)-venv pyproject.toml
	$(BIN)/python -m pip install -q 'setuptools>=80' 'Cython==3.3.1'
	VOICECALL_NO_EXTENSIONS=1 $(BIN)/python -m pip install -q --no-build-isolation -e '.[local]'
	touch $@

$(STAMP)-carriers: $(STAMP)-run
	VOICECALL_NO_EXTENSIONS=1 $(BIN)/python -m pip install -q --no-build-isolation -e '.[local,openai,deepgram,elevenlabs,mcp,redis,twilio,telnyx,plivo]'
	touch $@

$(STAMP)-dev: $(STAMP)-carriers
	$(BIN)/python -m pip install -q --group test --group bench --group lint --group docs
	touch $@

$(STAMP)-build: $(STAMP)-run setup.py $(NATIVE)
	$(BIN)/python setup.py -q build_ext --inplace
	touch $@
