# Everything starts here. Each target does what it needs first, quietly and quickly when it is done already.
.PHONY: setup run demo test check sbom bench lock clean
.DEFAULT_GOAL := run

PYTHON ?= python3
BIN := .venv/bin
WHEEL := dist/arwandb-1.3.1-py3-none-any.whl
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Servers and tests are hundreds of processes: none of them should compile again what another has.
unexport PYTHONDONTWRITEBYTECODE

setup: .venv/.ready $(WHEEL)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("arwx needs Python 3.11 or newer; this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv .venv

.venv/.ready: requirements.txt pyproject.toml | .venv/bin/python
	@echo "Installing what the server needs…"
	@$(BIN)/pip install -q --require-hashes -r requirements.txt
	@$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

.venv/.ready-dev: requirements-dev.txt .venv/.ready
	@echo "Installing what the tests need…"
	@$(BIN)/pip install -q --require-hashes -r requirements-dev.txt
	@touch $@

$(WHEEL): $(shell find sdk -name '*.py' -o -name 'py.typed' -o -name '*.md') | .venv/bin/python
	@$(BIN)/python sdk/build_wheel.py dist

# The server on $PORT (8090), with SQLite under ./data unless DATABASE_URL says otherwise.
run: setup
	@$(BIN)/arwx migrate
	@exec $(BIN)/arwx serve

# The same, with a demo account and a real training that logs into it.
demo: setup
	@exec $(BIN)/python examples/demo.py

# The whole suite on SQLite, then what touches the database on a real PostgreSQL.
test: .venv/.ready-dev $(WHEEL) .chromium
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile
	@ARWX_TEST_DATABASE=postgres $(BIN)/python -m pytest -q -n 2 --dist loadfile tests/access tests/api tests/points tests/test_schema.py tests/people tests/attacks/test_input.py tests/attacks/test_races.py tests/test_deploy.py

check: .venv/.ready-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy -p arwandb --python-version 3.10
	@$(BIN)/djlint --lint --quiet arwx/templates
	@$(BIN)/bandit -q -ll -c pyproject.toml -r arwx sdk/arwandb gunicorn.conf.py
	@$(BIN)/python bin/audit.py
	@$(MAKE) --no-print-directory test

# What is inside, for whoever must know: a CycloneDX list of the pinned packages.
sbom: .venv/.ready-dev
	@mkdir -p dist
	@$(BIN)/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml --output-reproducible --of JSON -o dist/arwx.cdx.json
	@echo "dist/arwx.cdx.json"

# All subjects, or some (ONLY=ingest,sdk); PEERS=1 installs other trackers and measures them too; SCALE=0.1 is a quick look.
bench: .venv/.ready-dev $(WHEEL)
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(if $(PEERS),--peers) $(if $(SCALE),--scale $(SCALE))

# The browser that the page tests drive; as root on Debian it is installed when it is missing.
.PHONY: .chromium
.chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "Installing Chromium…" && \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } || \
	  echo "Chromium is missing: the browser tests will fail. Install it with your system's packages."

# Pin the newest releases that pyproject.toml allows.
lock:
	@$(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install -q pip-tools
	@for extra in "" dev; do .venv-lock/bin/pip-compile -q --upgrade --generate-hashes --strip-extras --allow-unsafe --all-build-deps \
	  --no-emit-index-url --no-emit-find-links $${extra:+--extra $$extra} -o requirements$${extra:+-$$extra}.txt pyproject.toml; done
	@rm -rf .venv-lock

clean:
	@rm -rf .venv dist build *.egg-info
