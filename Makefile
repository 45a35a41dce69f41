# Three words to know: run, test, stop. All else is set up by them.
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help install run stop test check deps reference bench-overhead bench-data bench-recipes bench-promotion bench-serving bench-serving-peers soak fuzz clean

help:            ## show these targets
	@grep -hE '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

install: $(STAMP)  ## create .venv and install from the committed lock

$(STAMP): requirements.lock pyproject.toml
	@echo "installing into $(VENV) from requirements.lock (a few minutes, about 3 GB) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	$(BIN)/python -m modelyard.services.prepare
	@touch $@

run: install      ## start the local services, run the pipeline, promote, serve, predict
	@$(BIN)/modelyard run

stop: install     ## end what `make run` started, and nothing else
	@$(BIN)/modelyard down

test: install     ## every test
	@$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder

check: install    ## ruff, import-linter, pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

deps: install     ## write into dvc.yaml the code that each stage imports
	$(BIN)/python scripts/sync_deps.py

reference: install ## write docs/reference from the code
	$(BIN)/python scripts/reference.py

bench-overhead: install  ## what DVC and Prefect cost over plain function calls
	$(BIN)/python benchmarks/overhead.py

bench-data: install  ## ten million rows to validated, split Parquet, against pandas and DuckDB
	$(BIN)/python benchmarks/data.py

bench-recipes: install  ## each recipe beside scikit-learn's models on the same split
	$(BIN)/python benchmarks/recipes.py

bench-promotion: install  ## an alias moved in MLflow to the first answer by that version; swaps under load
	$(BIN)/python benchmarks/promotion.py

bench-serving: install  ## the server beside plain FastAPI and a bare echo (needs Debian's wrk)
	$(BIN)/python benchmarks/serving.py

bench-serving-peers: install  ## the server beside six others, each installed in a venv of its own (needs wrk)
	$(BIN)/python benchmarks/serving_peers.py

soak: install     ## ten minutes at 80% of capacity with a swap every 10 s; writes docs/soak.md
	$(BIN)/python benchmarks/soak.py

fuzz: install     ## 5,000 requests that schemathesis makes up from the API's description
	FUZZ_REQUESTS=5000 $(BIN)/python -m pytest -q tests/integration/test_serving_fuzz.py

clean: install    ## stop the services and remove what runs made (data, models, reports, .modelyard)
	@$(BIN)/modelyard down
	rm -rf data models reports .modelyard .dvc/cache .dvc/tmp
