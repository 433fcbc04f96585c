# Everything works from a fresh clone with Python 3.11, pip and make. Each target creates the environments it needs.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
SERVICE := .venv/service
TRAINING := .venv/training
SCORING := .venv/scoring
SPARK := .venv/spark
MUTANTS := .venv/mutants
MUTMUT_VERSION := 3.8.1
CONFIG := configuration/rest_configuration.yaml
NOTEBOOK := notebooks/credit_risk_model.ipynb

HOST ?= 127.0.0.1
PORT ?= 8000
ENGINE ?= $(shell docker info >/dev/null 2>&1 && echo docker || echo podman)
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' credit_risk_model/__init__.py)
BASE_IMAGE ?=
BUILD_OPTIONS ?=
REVISION := $(shell git describe --always --abbrev=40 --exclude '*' --dirty 2>/dev/null)
COMMIT_TIME := $(shell git log -1 --format=%ct 2>/dev/null || date +%s)
COMMIT_DATE := $(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null || \
	date -u +%Y-%m-%dT%H:%M:%SZ)
OVERLAY ?= minikube
POLL_SECONDS ?= 5
APPLY_OPTIONS ?=
ROWS ?= 887379
SECONDS ?= 600
TIME_BUDGET ?= 1200
ONLY ?=
TESTS ?=
OUTPUT ?=
MAX_ITER ?=
COST_RATIO ?=
AS_OF ?=
WIDEN_BOUNDS ?=
OWNER ?=
APPROVED_BY ?=

# Notebook parameters from the variables above.
PARAMETERS = $(strip $(foreach name,TIME_BUDGET OUTPUT MAX_ITER COST_RATIO AS_OF WIDEN_BOUNDS OWNER APPROVED_BY,\
	$(if $($(name)),-p $(shell echo $(name) | tr A-Z a-z) "$($(name))")))
EXECUTE = $(TRAINING)/bin/python -m credit_risk_model.training.notebook $(NOTEBOOK) build/credit_risk_model.ipynb \
	$(PARAMETERS)
COMPILE = $(TRAINING)/bin/pip-compile --quiet --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links \
	--no-emit-trusted-host --generate-hashes

# An image has its commit's time. With Podman its files have it too, so that a rebuild gives the same bytes.
BUILD = $(ENGINE) build $(if $(filter podman,$(ENGINE)),--timestamp=$(COMMIT_TIME)) $(BUILD_OPTIONS) \
	$(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) --build-arg VERSION=$(VERSION) \
	--build-arg REVISION=$(REVISION) --build-arg BUILD_DATE=$(COMMIT_DATE)

# The requirements that the Dockerfile installs. The output is reproducible.
SBOM = awk '/^[a-z]/ { kept = $(2) } kept' $(1)_requirements.txt | $(TRAINING)/bin/cyclonedx-py requirements \
	--pyproject pyproject.toml --output-reproducible --output-file build/credit_risk_model_$(1)-$(VERSION).cdx.json -

# `kubectl wait` waits for one condition only, but a Job can complete or fail. Its deadline makes it end.
WAIT_FOR_JOB = while ended=$$(kubectl -n model-scoring get job $(1) \
		--output 'jsonpath={.status.conditions[?(@.status=="True")].type}'); do \
		case " $$ended " in \
		*" Complete "*) echo "$(1) is complete."; exit 0 ;; \
		*" Failed "*) echo "$(1) has failed: kubectl -n model-scoring describe job $(1); ... logs job/$(1)" >&2; exit 1 ;; \
		esac; sleep $(POLL_SECONDS); done; exit 1

VERSION_TESTS = tests/service/test_service.py tests/service/test_metrics.py tests/service/test_docs_pages.py \
	tests/service/test_openapi.py::test_committed_contract_is_the_served_one tests/prediction/test_over_http.py

.DEFAULT_GOAL := help
.PHONY: help run test test-long test-containers test-spark test-versions test-lowest test-newest mutants lint format contract docs reference screenshot image scoring-image sbom score-job deploy undeploy bench soak train notebook data synthetic-data requirements clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(SERVICE)/.installed: service_requirements.txt
	$(PYTHON) -m venv $(SERVICE)
	$(SERVICE)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r service_requirements.txt
	@touch $@

$(TRAINING)/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(TRAINING)
	$(TRAINING)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(TRAINING)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(SCORING)/.installed: scoring_requirements.txt
	$(PYTHON) -m venv $(SCORING)
	$(SCORING)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r scoring_requirements.txt
	@touch $@

# Spark alone; the other packages come from the training environment.
$(SPARK)/.installed: spark_requirements.txt $(TRAINING)/.installed
	rm -rf $(SPARK) && mkdir -p $(SPARK)
	awk '/^[a-z]/ { kept = /^(pyspark|py4j)==/ } kept' spark_requirements.txt > $(SPARK)/requirements.txt
	$(TRAINING)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps --target $(SPARK) \
		-r $(SPARK)/requirements.txt
	@touch $@

# mutmut alone, beside the environment of the tests.
$(MUTANTS)/.installed: $(TRAINING)/.installed Makefile
	$(PYTHON) -m venv --clear $(MUTANTS)
	$(TRAINING)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> $$($(MUTANTS)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/tests.pth
	$(MUTANTS)/bin/pip install --quiet --disable-pip-version-check mutmut==$(MUTMUT_VERSION)
	@touch $@

run: $(SERVICE)/.installed ## Serve the shipped archive at HOST:PORT (127.0.0.1:8000)
	$(SERVICE)/bin/python -m credit_risk_model.service --config $(CONFIG) --host $(HOST) --port $(PORT)

test: $(TRAINING)/.installed ## Run all tests and measure their coverage
	$(TRAINING)/bin/coverage erase
	$(TRAINING)/bin/coverage run -m pytest -m "not container and not long" --numprocesses 2 --dist loadfile --no-loadscope-reorder
	$(TRAINING)/bin/coverage combine --quiet
	$(TRAINING)/bin/coverage report

test-long: $(TRAINING)/.installed ## Run the tests that wait long: a soak, fuzzing, a full disk, a real Prometheus
	$(TRAINING)/bin/python -m pytest -m long tests

test-containers: $(TRAINING)/.installed ## Build the image and test the Deployment in real containers (podman, root)
	$(TRAINING)/bin/python -m pytest -m container -rs tests/container

test-spark: $(SPARK)/.installed ## Test scoring in Spark with a local session (needs Java)
	PYTHONPATH=$(CURDIR)/$(SPARK) $(TRAINING)/bin/python -m pytest -rs tests/scoring/test_spark.py

# Only the service runs with these versions; the tests use their own environment.
test-versions: test-lowest test-newest ## Test the service with the lowest and the newest versions that pyproject.toml allows

test-lowest test-newest: test-%: $(TRAINING)/.installed
	$(PYTHON) -m venv --clear .venv/$*
	$(PYTHON) .ci/dependencies.py $* > .venv/$*/requirements.txt
	.venv/$*/bin/pip install --quiet --disable-pip-version-check --no-compile -r .venv/$*/requirements.txt
	SERVICE_PYTHON=.venv/$*/bin/python $(TRAINING)/bin/python -m pytest -q -p no:cacheprovider $(VERSION_TESTS)

# Part of neither `test` nor `.ci/run`: it takes an hour or more.
mutants: $(MUTANTS)/.installed ## Measure what share of small changes to the code the tests notice (ONLY='*gate*' TESTS=tests/training)
	TESTS='$(TESTS)' $(MUTANTS)/bin/python .ci/mutants.py $(if $(ONLY),'$(ONLY)')

lint: $(TRAINING)/.installed ## Check style and types
	$(TRAINING)/bin/ruff check .
	$(TRAINING)/bin/ruff format --check .
	$(TRAINING)/bin/mypy
	MYPYPATH=tests $(TRAINING)/bin/mypy --explicit-package-bases --no-warn-return-any tests
	$(TRAINING)/bin/mypy docs/picture.py docs/reference.py

format: $(TRAINING)/.installed ## Format the code
	$(TRAINING)/bin/ruff format .

contract: $(TRAINING)/.installed ## Regenerate service_contract.yaml
	REST_CONFIG=$(CONFIG) $(TRAINING)/bin/python -m credit_risk_model.service.openapi --output service_contract.yaml

docs: $(TRAINING)/.installed ## Build the documentation into build/docs/index.html
	NO_MKDOCS_2_WARNING=1 $(TRAINING)/bin/mkdocs build --strict
	@echo "Open build/docs/index.html."

reference: $(TRAINING)/.installed ## Regenerate the docs' reference pages and picture
	$(TRAINING)/bin/python docs/reference.py
	$(TRAINING)/bin/python docs/picture.py

screenshot: $(TRAINING)/.installed ## Regenerate the docs' screenshot of /docs (needs chromium)
	SCREENSHOT=docs/try_it_out.png TOOLS=required $(TRAINING)/bin/python -m pytest -q tests/service/test_browser.py \
		-k example_loan

image: ## Build credit_risk_model_service:<version> (docker or podman; BASE_IMAGE=, BUILD_OPTIONS=...)
	$(BUILD) --tag credit_risk_model_service:$(VERSION) .

scoring-image: ## Build credit_risk_model_scoring:<version>, which scores files (docker or podman; as above)
	$(BUILD) --target scoring --tag credit_risk_model_scoring:$(VERSION) .

sbom: $(TRAINING)/.installed ## List the images' Python packages, with digests, in build/*.cdx.json (CycloneDX)
	@mkdir -p build
	$(call SBOM,service,!/^(numpy|scipy|narwhals)==/)
	$(call SBOM,scoring,!/^(scipy|narwhals)==/)

deploy: ## Apply OVERLAY (minikube, production) to kubectl's current cluster
	kubectl apply --server-side $(APPLY_OPTIONS) -k kubernetes_overlays/$(OVERLAY)
	kubectl -n model-services rollout status deployment/credit-risk-model-deployment --timeout=180s

undeploy: ## Delete what OVERLAY deploys, including its namespace
	kubectl delete -k kubernetes_overlays/$(OVERLAY) --ignore-not-found

score-job: ## Score the loans on the cluster's volume, one pod per shard, and join the shards (kubernetes/README.md)
	kubectl -n model-scoring delete job credit-risk-scoring credit-risk-scoring-join --ignore-not-found
	kubectl apply --server-side $(APPLY_OPTIONS) -k kubernetes_overlays/scoring_$(OVERLAY)
	@$(call WAIT_FOR_JOB,credit-risk-scoring)
	kubectl -n model-scoring patch job credit-risk-scoring-join --patch '{"spec": {"suspend": false}}'
	@$(call WAIT_FOR_JOB,credit-risk-scoring-join)

bench: $(SERVICE)/.installed $(TRAINING)/.installed $(if $(QUICK),,$(SCORING)/.installed) ## Run the benchmarks into benchmarks/results/ (QUICK=1: under 2 minutes)
	@command -v wrk >/dev/null || { echo "wrk is not installed: apt-get install wrk, or your system's package." >&2; exit 1; }
	$(TRAINING)/bin/python -m benchmarks.serving $(if $(QUICK),--quick)
	$(TRAINING)/bin/python -m benchmarks.operation $(if $(QUICK),--quick)
	$(TRAINING)/bin/python -m benchmarks.batch $(if $(QUICK),--quick)
	$(TRAINING)/bin/python -m benchmarks.evaluation $(if $(QUICK),--quick)
	$(TRAINING)/bin/python -m benchmarks.training $(if $(QUICK),--quick)
	$(if $(QUICK),,$(TRAINING)/bin/python -m benchmarks.training --steps)
	$(if $(QUICK),,$(TRAINING)/bin/python -m benchmarks.scoring)

soak: $(SERVICE)/.installed $(TRAINING)/.installed ## Load the service with valid and invalid traffic for SECONDS (600) and check it
	$(TRAINING)/bin/python -m benchmarks.soak --seconds $(SECONDS)

train: $(TRAINING)/.installed ## Train and package a model (LOAN_DATA, TIME_BUDGET, MAX_ITER, COST_RATIO, AS_OF, WIDEN_BOUNDS, OUTPUT=...)
	@$(EXECUTE)

notebook: $(TRAINING)/.installed ## Train like `train`, and keep the executed notebook in notebooks/
	@$(EXECUTE)
	cp build/credit_risk_model.ipynb $(NOTEBOOK)

data: ## Download Kaggle's loan.csv into data/ (needs Kaggle credentials)
	@$(PYTHON) -m credit_risk_model.training.download

synthetic-data: $(TRAINING)/.installed ## Write a synthetic loan book of ROWS loans to data/synthetic/loan.csv
	$(TRAINING)/bin/python -m credit_risk_model.training.synthetic --rows $(ROWS) --output data/synthetic/loan.csv

requirements: $(TRAINING)/.installed ## Pin the newest versions that pyproject.toml allows
	$(COMPILE) --upgrade --extra training --extra scoring --extra service --extra tests --output-file requirements.txt \
		pyproject.toml
	for extra in service scoring spark; do $(COMPILE) --upgrade --constraint requirements.txt --extra $$extra \
		--output-file $${extra}_requirements.txt pyproject.toml || exit 1; done

clean: ## Remove environments, caches and built files, but not data/
	rm -rf .venv build .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
