# Every target says what it does; `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3.11
BIN := .venv/bin
DEVICES ?=
IMAGE ?=
KEY ?=
DATA ?=
DELTA ?=

# A Python that went away (upgraded, or the folder was moved) takes along what was installed for it.
ifneq ($(wildcard .venv/ready-*),)
ifneq ($(shell $(BIN)/python -c 'print(1)' 2>/dev/null),1)
$(shell rm -f .venv/ready-*)
endif
endif

.DEFAULT_GOAL := help
.PHONY: help run demo test check format browser interop faults mutants fuzz firmware compose bench deltas configuration pins clean

help: ## show this list
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/ready-%: requirements/%.txt tools/link_packages.py libs/datagrams/src/datagrams/batch.c
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || { rm -rf .venv; \
	  echo "no virtual environment could be made: Python 3.11 with venv and pip is needed (Debian: python3.11-venv)"; exit 1; }
	@echo "installing $* requirements into .venv"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/$*.txt
	@$(BIN)/python tools/link_packages.py
	@$(BIN)/python tools/build_compiled.py
	@touch $@

##@ Run
run: .venv/ready-local ## the whole suite on this machine, with software devices (DEVICES=, DATA=, HTTP_PORT=)
	@exec $(BIN)/python -m updraft_local.run $(if $(DEVICES),--devices $(DEVICES)) $(if $(DATA),--data "$(DATA)") \
	  $(if $(HTTP_PORT),--http-port $(HTTP_PORT)) $(if $(API_PORT),--api-port $(API_PORT)) \
	  $(if $(LWM2M_PORT),--lwm2m-port $(LWM2M_PORT)) $(if $(BLOCKS_PORT),--blocks-port $(BLOCKS_PORT))

demo: .venv/ready-local ## a whole campaign, headless; JSON summary as last line (DEVICES=, IMAGE=, KEY=, or DELTA=1)
	@exec $(BIN)/python -m updraft_local.demo $(if $(DEVICES),--devices $(DEVICES)) \
	  $(if $(IMAGE),--image "$(IMAGE)") $(if $(KEY),--key "$(KEY)") $(if $(DELTA),--delta)

##@ Check
check: .venv/ready-dev ## format, lint, types, import contracts, pins, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files 'firmware/*.[ch]')
	$(BIN)/python tools/check_types.py
	$(BIN)/lint-imports
	$(BIN)/djlint --lint --check services/frontend/src/frontend/templates --quiet
	$(BIN)/codespell
	$(BIN)/python tools/house_lint.py
	$(BIN)/python tools/check_pins.py
	$(BIN)/python tools/check_docs.py
	$(BIN)/python tools/configuration.py --check
	$(BIN)/python tools/state_diagrams.py --check
	$(BIN)/python tools/bootloader_page.py --check
	$(BIN)/python tools/device_table.py --check
	$(BIN)/python tools/rfc_table.py --check

format: .venv/ready-dev ## write files the way `check` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $$(git ls-files 'firmware/*.[ch]')

##@ Prove
test: .venv/ready-dev ## all tests on embedded servers, but those of the targets below
	$(BIN)/pytest -n 2 --dist loadfile

browser: .venv/ready-dev ## the console in a real Chromium, screenshots in tests/browser/screenshots
	$(BIN)/pytest tests/browser --timeout 900

interop: .venv/ready-dev ## against programs we did not write: libcoap, Californium, SWUpdate, Wakaama, ...
	$(BIN)/pytest tests/interop --timeout 600

faults: .venv/ready-dev ## kill -9 of every part in a rollout, power cuts at every flash operation of an update
	$(BIN)/pytest tests/faults --timeout 900

mutants: .venv/ready-dev ## plant a hundred bugs in the bootloader, each of which the recorded vectors must catch
	$(BIN)/python firmware/softdevice/tests/mutations.py

fuzz: .venv/ready-dev .venv/ready-fuzz ## any bytes at the block server's door, led by coverage (SECONDS=)
	$(BIN)/python services/coap-http-proxy/fuzz/run.py $(if $(SECONDS),$(SECONDS),600)

firmware: .venv/ready-dev ## the C of a device: sanitizers, coverage, fuzzer, Cortex-M in QEMU, planted bugs, boards
	$(BIN)/python tools/prove_firmware.py $(if $(PUBLISH),--publish)
	$(BIN)/pytest firmware/zephyr/tests/check_*.py

compose: .venv/ready-dev ## build the images and run docker-compose.yml to the end of one rollout
	$(BIN)/pytest tests/compose --timeout 1800

bench: .venv/ready-dev ## measure the block proxy against peers in the same run (QUICK=1, LINES=, PUBLISH=1)
	@.ci/install-bench
	@exec $(BIN)/python benchmarks/bench.py $(if $(QUICK),--quick) $(if $(LINES),--lines "$(LINES)") $(if $(PUBLISH),--publish)

deltas: .venv/ready-dev ## what deltas save on real pairs of firmware, npm needed; PUBLISH=1 writes docs/deltas.md
	@exec $(BIN)/python benchmarks/deltas.py $(if $(PUBLISH),--publish)

##@ Make
configuration: .venv/ready-dev ## write docs/configuration.md, state-machines.md, devices.md and rfc.md from the code
	$(BIN)/python tools/configuration.py
	$(BIN)/python tools/device_table.py
	$(BIN)/python tools/state_diagrams.py
	$(BIN)/python tools/bootloader_page.py
	$(BIN)/python tools/rfc_table.py

pins: .venv/ready-dev ## resolve requirements/*.in anew into pinned and hashed *.txt
	@cd requirements && for part in runtime demo local dev fuzz interop; do \
	  ../$(BIN)/uv pip compile -q --python-version 3.11.0 --generate-hashes --no-header --no-annotate $$part.in -o $$part.txt && \
	  sed -i "1i # Over 400 lines because every wheel has its hash here; made by \`make pins\`." $$part.txt || exit 1; done

clean: ## remove everything that was made here, data included
	rm -rf .venv .data .cache build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
