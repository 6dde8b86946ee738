# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
#
# make demo [IMAGE=registry.example.org/library/debian:12]   run a container on this machine, look at it, remove it
# make test [JOBS=1]                                         everything that must hold, and that nothing stays behind
# make test-all                                              that, and the role on containers and a machine that boot
# make molecule, make vm [PLATFORM=hull-debian-13]           the role on machines that boot, alone
# make test-vm [RELEASE=13] [TESTS=tests/kernel] [JOBS=1]    tests inside of virtual machines
#
# All make what they lean on. PYTHON chooses the interpreter (3.9 or newer).

PYTHON ?= python3
IMAGE ?=
PYTEST_ARGS ?=
RELEASE ?= 12
TESTS ?= tests/kernel tests/integration
PLATFORM ?=
JOBS ?= $(shell nproc)

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
LINK := .collections/ansible_collections/hull/engine
PLAYBOOK := $(BIN)/ansible-playbook -i playbooks/inventory
MOLECULE := cd extensions && PATH="$(BIN):$$PATH" $(BIN)/molecule test --scenario-name
PYTEST := $(BIN)/python -m pytest --durations=20 --durations-min=3
# What `make test` consists of, the longest first.
PARTS := integration cli kernel registry unit types lint

export LC_ALL := C.UTF-8
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.collections
export ANSIBLE_DEPRECATION_WARNINGS := False
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint types unit kernel cli registry integration molecule vm containers test-all test-vm bench packages machines collection clean FORCE

help: ## show what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/demo.installed collection ## run a container on this machine, look at its limits, remove it
	$(PLAYBOOK) playbooks/hello.yml $(if $(IMAGE),-e hello_image=$(IMAGE))

test: packages $(VENV)/test.installed collection ## all parts side by side, logs in build/log; nothing stays behind
	@mkdir -p build/log
	$(BIN)/python tests/support/leftovers.py save build/before.json
	@$(MAKE) --no-print-directory --keep-going --jobs=$(JOBS) $(PARTS:%=build/log/%)
	$(BIN)/python tests/support/leftovers.py compare build/before.json

# A part with its output in a file. The last line is shown, or all of it where the part fails.
build/log/%: FORCE
	@began=$$(date +%s); lines=1; code=0; \
	$(MAKE) --no-print-directory $* > $@ 2>&1 || { code=$$?; lines=+1; }; \
	tail -n $$lines $@ | sed 's/^/$*: /'; \
	echo "$*: $$(($$(date +%s) - began)) s"; exit $$code

lint: $(VENV)/test.installed ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/test.installed collection ## mypy, strict
	cd .collections && $(BIN)/mypy --config-file $(CURDIR)/pyproject.toml ansible_collections/hull/engine/plugins

unit: $(VENV)/test.installed collection ## tests that need neither root nor a network
	$(PYTEST) tests/unit $(PYTEST_ARGS)

kernel: packages $(VENV)/test.installed collection ## tests against this kernel, as root
	$(PYTEST) tests/kernel $(PYTEST_ARGS)

cli: packages $(VENV)/test.installed collection ## the hull command and tasks, as root
	$(PYTEST) tests/cli $(PYTEST_ARGS)

registry: packages $(VENV)/test.installed collection ## registries and images of other tools, as root
	$(PYTEST) tests/registry $(PYTEST_ARGS)

integration: packages $(VENV)/test.installed collection ## playbooks, as root
	$(PYTEST) tests/integration $(PYTEST_ARGS)

test-all: machines $(VENV)/molecule.installed ## what continuous integration runs: test, and the role on machines that boot
	@$(MAKE) --no-print-directory test PARTS="vm containers $(PARTS)" PLATFORM=hull-debian-13

molecule: vm containers ## the role on machines that boot, as root

vm: machines $(VENV)/molecule.installed collection ## the role on virtual machines
	$(MOLECULE) vm $(if $(PLATFORM),--platform-name $(PLATFORM))

containers: machines $(VENV)/molecule.installed collection ## the role on containers that boot
	$(MOLECULE) containers

test-vm: machines $(VENV)/test.installed collection ## tests inside of virtual machines with systemd and cgroup v2, as root
	$(BIN)/python tests/machines/run_tests.py --release $(RELEASE) --jobs $(JOBS) $(TESTS) -- $(PYTEST_ARGS)

bench: $(VENV)/test.installed collection ## times, side by side with Docker and Podman where they are installed
	$(BIN)/python tests/bench/run.py
	$(BIN)/python tests/bench/many.py
	$(BIN)/python tests/bench/images.py

packages:
	@requirements/install test

machines:
	@requirements/install machines

# The checkout may have any name; the collection is found below .collections by its own.
collection: $(LINK)

$(LINK): FORCE
	@mkdir -p $(dir $@)
	@[ "$$(readlink $@)" = "$(CURDIR)" ] || { rm -f $@ && ln -s "$(CURDIR)" $@; }

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9))' || { echo "Python 3.9 or newer is needed" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || requirements/install venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/%.installed: requirements/%.txt requirements/demo.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -r $<
	@touch $@

clean: ## remove what was made here
	rm -rf $(VENV) .collections build .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
