# Two commands do everything: `make repro` (set-up, pipeline, results table) and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install check repro study full baselines weights tune test test-long test-portable golden verify test-pipeline test-cluster smoke lint types format build clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(STAMP) ## create .venv and install the pinned dependencies

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "python3 -m venv failed; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/python -c 'import cv2' 2>/dev/null || { \
		version=$$($(BIN)/python -c 'from importlib.metadata import version as v; print(v("opencv-python"))'); \
		echo "OpenCV finds no libGL here: installing the headless build of the same version ($$version)"; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall \
			opencv-python-headless==$$version && $(BIN)/python -c 'import cv2'; }
	@touch $(STAMP)

check: install ## say of each run of params.yaml what it will do, or everything that is wrong with the file
	fdpbench check

repro: install ## run the whole pipeline on what params.yaml lists and print the results table
	@fdpbench check
	@fdpbench repair
	dvc repro
	@echo; cat results/tables.md
	@echo "Results: results/tables.md (also results/tables/*.csv, *.tex, results/metrics.json, results/plots)"
	@echo "Report: results/report/index.html (open it in a browser)"

verify: repro ## run what is not up to date, then compare all of it with the committed results
	@echo; fdpbench verify

study: install ## your own runs, those of params.mine.yaml (NAME=mine), in build/mine; results/ stays as it is
	$(call study,$(NAME))
	@echo; cat build/$(NAME)/results/tables.md
	@echo "Results: build/$(NAME)/results; the commands of bench and prep work there: cd build/$(NAME)"

full: install ## FDP, its ablations, protocols and faults, three seeds, in build/full (hours; RUNS="a b" does a part)
	$(call part,full)
	cd build/full && rm -f results/audit.* results/costs*.* && { fdpbench audit $(IF_ANY); fdpbench costs --table ablations $(IF_ANY); fdpbench costs; }
	$(call keep,full)

baselines: install ## every model, in build/baselines (hours; RUNS="a b" does a part and takes up what is finished)
	$(call part,baselines)
	cd build/baselines && fdpbench costs
	$(call keep,baselines)

weights: install ## pretrain on rendered faces the weights that come with the package: models/weights (minutes)
	fdpbench new build/weights --profile params.weights.yaml --again
	cd build/weights && fdpbench check && fdpbench repair && dvc repro pretrain
	@rm -rf models/weights && mkdir models/weights
	@cd build/weights/artifacts/pretrained && for name in *; do \
		cp $$name/0.safetensors $(CURDIR)/models/weights/rendered_$$name.safetensors; \
		cp $$name/card.json $(CURDIR)/models/weights/rendered_$$name.json; \
		cp $$name/card.md $(CURDIR)/models/weights/rendered_$$name.md; done
	@ls -l models/weights

# Models of hand-crafted features alone do more than a thousand trials in a quarter of an hour: their journals would be huge.
tune: install ## settings of MODEL ("a b": of each) on the tuning release: MINUTES core-minutes (15), at most TRIALS (1000)
	@test -n "$(MODEL)" || { echo 'make tune MODEL="ststnet fdp" MINUTES=15'; exit 1; }
	@python -c 'import optuna' 2>/dev/null || python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[tune]'
	fdpbench new build/tuning --profile params.tuning.yaml --again
	cd build/tuning && fdpbench check && fdpbench repair && dvc repro task
	cd build/tuning && for model in $(MODEL); do \
		fdpbench tune $$model --task tuning --whole --minutes $(or $(MINUTES),15) --trials $(or $(TRIALS),1000) \
			--folder $(CURDIR)/results/tuning/$$model || exit; done
	fdpbench tune-report results/tuning

# A study in build/NAME, whose params.yaml has the sections of params.NAME.yaml.
define study
	@test -f "params.$(1).yaml" || { echo "params.$(1).yaml not found. make study NAME=mine reads params.mine.yaml, with" \
		"those sections of params.yaml that differ: at least runs"; exit 1; }
	fdpbench new build/$(1) --profile params.$(1).yaml --again
	cd build/$(1) && fdpbench check && fdpbench repair && dvc repro
endef
# The same with the runs that RUNS names (all, if none), and those whose committed predictions, results/NAME/runs, are of
# now. A part may lack what audit and ablations compare: they then say so.
IF_ANY := $(if $(RUNS),|| true,|| exit)
define part
	fdpbench new build/$(1) --profile params.$(1).yaml --again
	cd build/$(1) && fdpbench check && fdpbench repair && dvc repro task init
	cd build/$(1) && fdpbench part $(CURDIR)/results/$(1)/runs $(RUNS) && dvc repro && fdpbench keep
endef
define keep
	@rm -rf build/$(1).kept && cp -r build/$(1)/results build/$(1).kept && cp build/$(1)/dvc.lock build/$(1).kept/dvc.lock
	@rm build/$(1).kept/published.csv && rm -rf results/$(1) && mv build/$(1).kept results/$(1)
	fdpbench docs
	@echo; cat results/$(1)/tables.md
	@echo "Results: results/$(1) (written from build/$(1), whose params.yaml has the sections of params.$(1).yaml)"
endef

test: install ## the fast test suite
	pytest -n 2 --dist worksteal -m "not pipeline and not campaign and not portable and not cluster"

test-long: install ## every test, the pipeline ones among them
	HYPOTHESIS_PROFILE=long pytest

test-pipeline: install ## the real command line through DVC, killed at many points (minutes)
	pytest -n 2 --dist loadfile -m "pipeline and not campaign"

test-cluster: install ## units of work on a real Ray cluster, and on a real Slurm where there is one (minutes)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cluster,dev]'
	pytest -n 2 --dist loadfile -m cluster

test-portable: install ## the same bytes on emulated processors (qemu-user; ten minutes)
	pytest -n 2 --dist worksteal -m "portable and not campaign"

smoke: install ## the whole pipeline on a very small release and four models, in build/smoke
	@rm -rf build/smoke && fdpbench new build/smoke --profile smoke --alone
	@cd build/smoke && dvc repro --quiet && cat results/tables.md

golden: smoke ## write anew what the smoke pipeline gives on every machine: tests/golden/smoke.lock
	python -m tests.golden build/smoke

lint: install ## ruff: style and docstrings
	ruff check .
	ruff format --check .

types: install ## mypy
	@rm -rf build/types && mkdir -p build/types/fdpbench
	@for each in bench models prep fdpbench/api fdpbench/commands fdpbench/*.py; do ln -s "$(CURDIR)/$$each" build/types/fdpbench/; done
	mypy

format: install ## let ruff mend what it can
	ruff check --fix .
	ruff format .

build: install ## wheel and source archive in dist/
	python -m build --no-isolation

clean: ## remove what can be made again: data, artifacts, scratch, caches, build (not .venv, not results)
	rm -rf data/manifest data/aligned data/flow data/dynamic data/task data/corpus data/raw/synthetic \
		artifacts .scratch .dvc/cache .dvc/tmp build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
