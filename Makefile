# One way to do each thing. Needs python3 (3.11 or newer) with venv, and make; nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Without a header and an index address the lock is the same file wherever it is made.
COMPILE := $(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
           --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --quiet

# What the container image holds: no development tools, the same versions.
COMPILE_IMAGE := $(BIN)/uv pip compile pyproject.toml --extra celery --extra kubernetes --extra notifications \
           --constraint requirements.lock --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
           --no-emit-index-url --no-emit-find-links --quiet

# Whether anything locked has become known to be unsafe only the network knows.
AUDIT := $(BIN)/uv tool run --quiet pip-audit --requirement requirements.lock --require-hashes --disable-pip

.PHONY: install demo dev test test-stack test-celery screenshots lint audit lock columns bench bench-quick \
        bench-profiles bench-insights lock-peers simulate soak

install: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "order_pipeline needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/pip install --quiet --require-virtualenv "$$(sed -n 's/^\(uv==[0-9.]*\).*/\1/p' requirements.lock)"
	# Compiled once here: where PYTHONDONTWRITEBYTECODE is set, each process would compile Dagster anew.
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: install
	$(BIN)/order-pipeline demo $(ARGS)

dev: install
	$(BIN)/order-pipeline dev $(ARGS)

test: lint
	# Whole modules to a process, since a module shares its sandbox; three on two cores, as half of the tests wait.
	# A test that fails is tried once more: of two thousand that drive real processes, some race the machine, and one
	# lost race must not hide what the others say. It is told as RERUN in the summary, to be mended: no test may need it.
	$(BIN)/pytest --numprocesses 3 --dist loadfile --reruns 1 -rR $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@cp requirements.lock $(VENV)/requirements.lock && $(COMPILE) --output-file $(VENV)/requirements.lock \
	  && cmp -s requirements.lock $(VENV)/requirements.lock \
	  || { echo "requirements.lock is not what pyproject.toml asks for: run make lock"; exit 1; }
	@cp requirements.image.lock $(VENV)/ && $(COMPILE_IMAGE) --output-file $(VENV)/requirements.image.lock \
	  && cmp -s requirements.image.lock $(VENV)/requirements.image.lock \
	  || { echo "requirements.image.lock is not what requirements.lock says: run make lock"; exit 1; }
	# What is installed fits together, and came by the lock's hashes (install: --require-hashes).
	@$(BIN)/uv pip check --quiet --python $(BIN)/python
	@$(AUDIT) --format json 2>$(VENV)/audit.log | $(BIN)/python .ci/advisories.py

# The advisories about every locked version. Stricter than lint, which has to work without a network: a version that
# nothing could be learnt of is none that is safe.
audit: install
	@$(AUDIT) --strict \
	  || { echo "audit: not passed. Either an advisory is about a locked version (raise it in pyproject.toml, make lock)," \
	       "or the advisories could not be asked, which takes a network with PyPI in reach: see above" >&2; exit 1; }

lock: install
	$(COMPILE) --output-file requirements.lock
	$(COMPILE_IMAGE) --output-file requirements.image.lock

# What the UI says of the columns, after a migration that touches a table of an asset.
columns: install
	$(BIN)/python -m order_pipeline.commands.columns

# The README's pictures of the UI; needs chromium.
screenshots: install
	ORDER_PIPELINE_SCREENSHOTS=docs/images $(BIN)/pytest order_pipeline_tests/end_to_end/test_dev.py $(ARGS)

# The services of docker-compose.yml as processes of this machine, from a virtual environment as in the image.
test-stack: install
	ORDER_PIPELINE_STACK=1 $(BIN)/pytest order_pipeline_tests/deployment/test_stack.py \
	  order_pipeline_tests/faults/test_orchestrator.py -s $(ARGS)

# The same with runs on Celery workers; needs redis-server.
test-celery: install
	ORDER_PIPELINE_STACK=1 $(BIN)/pytest order_pipeline_tests/deployment/test_celery.py -s $(ARGS)

# What is compared with has an environment of its own, so that nothing of it is in the product's.
PEERS := .venv-peers

$(PEERS)/.installed: bench/peers.txt | install
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(PEERS)/bin/python --require-hashes bench/peers.txt
	@touch $@

lock-peers: install
	$(BIN)/uv pip compile bench/peers.in --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --quiet --output-file bench/peers.txt

bench: install $(PEERS)/.installed
	$(BIN)/python -m bench $(ARGS)

# The same at a tenth of the size, each run once: rough figures in three minutes.
bench-quick: install $(PEERS)/.installed
	$(BIN)/python -m bench --quick $(ARGS)

# Where the time goes on the hottest paths, as text in docs/profiles.
bench-profiles: install $(PEERS)/.installed
	$(BIN)/python -m bench.profiles $(ARGS)

bench-insights: install
	$(BIN)/python -m bench.insights $(ARGS)

simulate: install
	$(BIN)/python -m bench.simulation $(ARGS)

soak: install
	$(BIN)/python -m bench.soak $(ARGS)
