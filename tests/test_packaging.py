"""The installed package holds every folder and every file."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import sana_stream

ROOT = Path(__file__).parent.parent
FOLDERS = ("engine", "models", "streaming", "cli")


def test_every_source_folder_is_listed_as_a_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    listed = set(settings["packages"]) - {"sana_stream"}
    found = {
        "sana_stream." + ".".join(file.parent.relative_to(ROOT).parts)
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("*.py")
        if file.parent.name != "public" and "__pycache__" not in file.parts
    }
    assert found == listed
    assert {name: settings["package-dir"][name] for name in listed} == {
        name: name.removeprefix("sana_stream.").replace(".", "/") for name in listed
    }


def test_version_is_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"] == {
        "version": {"attr": "sana_stream.__version__"}
    }
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {sana_stream.__version__}\n" in citation
    assert version("sana-stream") == sana_stream.__version__


def test_installed_package_has_every_source_file():
    installed = Path(str(sana_stream.__file__)).parent
    if installed.name == "public":
        pytest.skip("an editable install has no files of its own; `make test` installs the wheel")
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*"):
            relative = file.relative_to(ROOT)
            if file.is_dir() or "__pycache__" in relative.parts or "public" in relative.parts:
                continue
            assert (installed / relative).exists(), f"{relative} is missing from the wheel"
