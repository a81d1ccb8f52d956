# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PYTHON: the interpreter of the virtual environment (Debian's own unless told otherwise).
# RUN_FLAGS: further options of tests/run.py, for example RUN_FLAGS="--only unit".
PYTHON ?= /usr/bin/python3
RUN_FLAGS ?=
# FUZZ_SECONDS: how long `make fuzz` takes for each target. FUZZ_FLAGS: for example FUZZ_FLAGS="--only decision,verdict".
FUZZ_SECONDS ?= 60
FUZZ_FLAGS ?=
# CALIBRATE_FLAGS: for example CALIBRATE_FLAGS="--runs 60" or "--short".
CALIBRATE_FLAGS ?=
# BENCH_FLAGS: for example BENCH_FLAGS="--million".
BENCH_FLAGS ?=
PACKAGES := tests/tools/packages.txt
HOST_PACKAGES := $(wildcard tests/hosts/packages.txt)
TIMED := tests/tools/timed
RUN = $(TIMED) $@ .venv/bin/python tests/run.py

.DEFAULT_GOAL := help
.PHONY: help venv test test-full lint sanity demo defects fuzz resilience soak battery bench clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /make \1	/p' Makefile | expand -t 18

venv: .venv/.ready ## build .venv with everything the tests need

.venv/.ready: requirements-dev.txt
	@$(TIMED) venv tests/tools/make-venv "$(PYTHON)"

test: venv ## everything that must be green
	@tests/tools/bootstrap $(PACKAGES) $(HOST_PACKAGES)
	@$(RUN) $(RUN_FLAGS)

test-full: venv ## the same with the slow cases, more examples and every Python found
	@tests/tools/bootstrap $(PACKAGES) $(HOST_PACKAGES)
	@$(RUN) --full $(RUN_FLAGS)

lint: venv ## ruff, mypy, import-linter, yamllint, ansible-lint, shellcheck, antsibull
	@tests/tools/bootstrap $(PACKAGES)
	@$(RUN) --only lint $(RUN_FLAGS)

sanity: venv ## ansible-test sanity on the installed ansible-core
	@tests/tools/bootstrap $(PACKAGES)
	@$(RUN) --only sanity $(RUN_FLAGS)

demo: venv ## a canary from gate to rollback on a real host of its own
	@tests/tools/bootstrap $(PACKAGES) $(HOST_PACKAGES)
	@$(TIMED) $@ tests/tools/first-of tests/demo tests/demo.py

defects: venv ## put defects into the code; every one must turn a test red
	@tests/tools/bootstrap $(PACKAGES) $(HOST_PACKAGES)
	@$(RUN) --full --only defects $(RUN_FLAGS)

fuzz: .venv-fuzz/.ready ## fuzz the readers of hostile data, FUZZ_SECONDS=60 for each
	@$(TIMED) $@ .venv-fuzz/bin/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS) $(FUZZ_FLAGS)

.venv-fuzz/.ready: requirements-fuzz.txt
	@"$(PYTHON)" -m venv .venv-fuzz
	@.venv-fuzz/bin/pip install --quiet --disable-pip-version-check -r requirements-fuzz.txt
	@touch $@

resilience: venv ## break every step on real hosts, and write docs/resilience.md of what came of it
	@tests/tools/bootstrap $(PACKAGES) $(HOST_PACKAGES)
	@rm -rf build/resilience
	@$(TIMED) $@ sh -c '.venv/bin/python tests/run.py --only resilience $(RUN_FLAGS); .venv/bin/python tests/resilience/report.py'

soak: venv ## a day of checks, 60 times as fast, with reboots and a Redis that falls over; writes docs/soak.md
	@tests/tools/bootstrap $(PACKAGES) $(HOST_PACKAGES)
	@$(TIMED) $@ .venv/bin/python tests/resilience/soak.py

battery: venv ## broken canaries before our judges and a Mann-Whitney one; writes docs/degenerate-models.md
	@$(TIMED) $@ .venv/bin/python tests/battery/report.py

bench: venv ## what gate and monitor cost, as ratios in one run on a real Redis; writes docs/performance.md
	@tests/tools/bootstrap $(PACKAGES)
	@$(TIMED) $@ .venv/bin/python tests/bench/run.py $(BENCH_FLAGS)

calibrate: venv ## how often the two policies err, on generated telemetry; writes docs/error-rates.md (about an hour)
	@$(TIMED) $@ nice .venv/bin/python tests/calibrate/run.py $(CALIBRATE_FLAGS)

clean: ## leave nothing behind: test hosts and images, caches, .venv
	@$(TIMED) $@ tests/tools/clean
