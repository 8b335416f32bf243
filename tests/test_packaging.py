"""The installed package holds every folder, and imports go one way only."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

import sana_stream

ROOT = Path(__file__).parent.parent
FOLDERS = ("engine", "models", "streaming", "cli")
ALLOWED = {
    "models": {"models"},
    "engine": {"engine", "models"},
    "streaming": {"streaming", "engine", "models"},
    "cli": {"cli", "engine", "models", "streaming"},
}


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


def test_the_installed_package_has_every_file_of_the_source():
    installed = Path(str(sana_stream.__file__)).parent
    if installed.name == "public":
        pytest.skip("an editable install has no files of its own; `make test` installs the wheel")
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*"):
            relative = file.relative_to(ROOT)
            if file.is_dir() or "__pycache__" in relative.parts or "public" in relative.parts:
                continue
            assert (installed / relative).exists(), f"{relative} is missing from the wheel"


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_go_one_way(folder: str):
    for file in (ROOT / folder).rglob("*.py"):
        if "public" in file.relative_to(ROOT).parts:
            continue
        for target in imported_folders(file, folder):
            assert target in ALLOWED[folder], f"{file.relative_to(ROOT)} imports {target}"


def imported_folders(file: Path, folder: str) -> set[str]:
    """Which of our folders a file imports at run time; imports for type checkers do not count."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found.add(folder_of(node, folder))
        elif isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names
                      if name.name.startswith("sana_stream.")}  # fmt: skip
    return found - {
        None,
        "",
        "_text",
        "_files",
        "_arguments",
    }  # these may be imported by every folder


def folder_of(node: ast.ImportFrom, folder: str) -> str | None:
    module = (node.module or "").split(".")
    if node.level == 1:
        return folder
    if node.level == 2:
        return module[0]
    if module[0] == "sana_stream":
        return module[1] if len(module) > 1 else "engine"
    return None
