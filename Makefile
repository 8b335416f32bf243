# For a fresh machine with Python 3.11 or newer: `make demo`, `make test` and `make docs`.
PYTHON ?= python3
DEMO := .venv-demo
FLEET := .venv-fleet
LOWEST := .venv-lowest
TEST := .venv-test
S3 := "moto[s3]" flask flask-cors
PIP_FLAGS := --quiet --constraint constraints.txt
# each of the main dependencies at work, in half a minute
CHOICE := tests/cli/test_console.py tests/engine/loading/test_inspect.py \
  tests/engine/media/test_image_file.py tests/engine/media/test_damaged_clips.py \
  tests/engine/session/test_session.py tests/models/test_text_encoder.py \
  tests/models/weights/test_load.py tests/streaming/outputs/test_file.py \
  tests/streaming/web/test_app.py tests/streaming/web/test_metrics.py \
  tests/streaming/web/test_pictures.py tests/streaming/web/test_share.py \
  tests/streaming/web/realtime/test_hostile_sessions.py

ifeq ($(OS),Windows_NT)
BIN := Scripts
else
BIN := bin
endif

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS = 1

.PHONY: demo test tests test-bare test-fleet test-lowest types docs wheel dist clean

demo: $(DEMO)/installed  ## make a one-minute video from examples/story.txt on this machine
	$(DEMO)/$(BIN)/sana-stream --prompt-file examples/story.txt --minutes 1 --overwrite

test: wheel  ## lint, type-check, and run every test against the installed wheel
	$(TEST)/$(BIN)/python -m ruff check .
	$(TEST)/$(BIN)/python -m ruff format --check .
	$(MAKE) --jobs=2 types tests  # the types have one thread, the tests leave some time unused

tests:
	$(TEST)/$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile

types:  ## type-check the sources under their import names
	rm -rf build/types
	mkdir -p build/types
	cp -RL .src/sana_stream build/types/
	$(TEST)/$(BIN)/python -m pyright --pythonpath $(TEST)/$(BIN)/python

test-bare: wheel  ## once more the tests that start programs, with all that can be missing hidden
	$(TEST)/$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile --hide-programs

test-fleet: wheel  ## a fleet on Ray with an S3 server, in an environment of its own
	$(call above_test_environment,$(FLEET))
	if $(FLEET)/$(BIN)/python -m pip install $(PIP_FLAGS) "$$(ls dist/*.whl)[fleet]" $(S3); then \
	  $(FLEET)/$(BIN)/python -m pytest -rs tests/streaming/fleet/test_ray.py; \
	else echo "test-fleet is skipped: Ray cannot be installed here" >&2; fi

test-lowest: wheel  ## a choice of tests with the lowest versions that pyproject.toml allows
	$(call above_test_environment,$(LOWEST))
	$(LOWEST)/$(BIN)/python -m pip install $(PIP_FLAGS) --only-binary :all: $$($(PYTHON) .ci/lowest)
	$(LOWEST)/$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile $(CHOICE) -k "not offload"

# An environment whose packages come before those of the test environment.
define above_test_environment
$(PYTHON) -m venv $(1)
$(TEST)/$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
  > "$$($(1)/$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/test.pth"
endef

docs: wheel  ## build the guides and references as a static site in site/
	$(TEST)/$(BIN)/python -m pip install $(PIP_FLAGS) "$$(ls dist/*.whl)[docs]"
	NO_MKDOCS_2_WARNING=1 $(TEST)/$(BIN)/python -m mkdocs build --quiet --strict --config-file examples/mkdocs.yml

wheel: $(TEST)/pip
	rm -rf build dist
	$(TEST)/$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(TEST)/$(BIN)/python -m pip install $(PIP_FLAGS) "$$(ls dist/*.whl)[test]"
	$(TEST)/$(BIN)/python -m pip install --quiet --no-deps --force-reinstall dist/*.whl

dist: $(TEST)/pip  ## build the wheel and the sdist of a release, and make a video with each
	rm -rf build dist
	$(TEST)/$(BIN)/python -m pip install $(PIP_FLAGS) build twine
	$(TEST)/$(BIN)/python -m build
	$(TEST)/$(BIN)/python -m twine check --strict dist/*
	.ci/smoke dist/*.whl
	.ci/smoke dist/*.tar.gz

$(TEST)/pip:
	$(PYTHON) -m venv $(TEST)
	touch $@

$(DEMO)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/$(BIN)/python -m pip install $(PIP_FLAGS) .
	touch $@

clean:
	rm -rf $(DEMO) $(FLEET) $(LOWEST) $(TEST) build dist site *.egg-info
