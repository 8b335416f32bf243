"""Only declared packages are imported, and only their public names, except for what is listed."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
FILES = sorted(
    file
    for folder in ("cli", "engine", "models", "streaming")
    for file in (ROOT / folder).rglob("*.py")
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# names of torch and Ray without a public counterpart, and the modules that need them
PRIVATE = {
    "_private": {"streaming/fleet/cluster.py"},  # of Ray: whether workers print their log
    "_worker_logs_enabled": {"streaming/fleet/cluster.py"},
    "torch._dynamo": {"engine/performance/compile.py"},  # its errors
    "torch._inductor": {"engine/performance/compile.py"},
    "torch.utils._python_dispatch": {"engine/loading/memory_estimate.py"},
    "torch.utils._pytree": {
        "engine/loading/memory_estimate.py",
        "engine/performance/cuda_graphs.py",
    },
    "_abort_process_group": {"engine/parallel/groups.py"},
    "_cdata": {"engine/loading/memory_estimate.py"},
    "_is_amx_tile_supported": {"engine/device.py"},
    "_is_avx512_bf16_supported": {"engine/device.py"},
    "_scaled_dot_product_flash_attention": {"models/hybrid/attention.py"},
    "_scaled_mm": {"models/fp8.py"},
}
# of the standard library; `_replace` and `_fields` are documented for named tuples
OF_PYTHON = {"_ActionsContainer", "_ArgumentGroup", "_Unpickler", "_exit", "_fields", "_replace"}
# classes of libraries whose methods are replaced, although only their use is documented: the range
# of versions ends with the newest one that was tested
CAPPED = {"uvicorn": "uvicorn.protocols"}


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Yield the full names of what a module imports, without relative imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def is_private(name: str) -> bool:
    own = name.startswith(("sana_stream.", "_typeshed.", "__future__."))
    return re.search(r"(^|\.)_[a-z]", name) is not None and not own


def private_attributes(tree: ast.AST) -> Iterator[str]:
    """Yield names of private attributes that are not those of the module's own classes."""
    own = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("self", "cls")
    } | {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and re.match(r"_[^_]", node.attr)
            and node.attr not in own
        ):
            yield node.attr


def test_no_private_name_of_a_library_is_used():
    unlisted, unused = [], {(name, file) for name, files in PRIVATE.items() for file in files}
    for file in FILES:
        where = file.relative_to(ROOT).as_posix()
        tree = ast.parse(file.read_text("utf-8"))
        names = [name for name in imports_of(tree) if is_private(name)]
        for name in [*names, *private_attributes(tree)]:
            known = next((each for each in PRIVATE if name.startswith(each)), None)
            if known is not None and where in PRIVATE[known]:
                unused.discard((known, where))
            elif name not in OF_PYTHON:
                unlisted.append(f"{where}: {name}")
    assert unlisted == []
    assert unused == set(), "listed, but not used any more"


def test_every_imported_package_is_declared():
    extras = (name for each in PROJECT["optional-dependencies"].values() for name in each)
    needed = map(Requirement, (*PROJECT["dependencies"], *extras))
    declared = {canonical(requirement.name) for requirement in needed}
    distributions = packages_distributions()
    undeclared = set()
    for file in FILES:
        for name in imports_of(ast.parse(file.read_text("utf-8"))):
            package = name.partition(".")[0]
            if package in {*sys.stdlib_module_names, "_typeshed", "sana_stream"}:
                continue
            if declared.isdisjoint(map(canonical, distributions.get(package, [package]))):
                undeclared.add(f"{file.relative_to(ROOT).as_posix()}: {package}")
    assert undeclared == set()


@pytest.mark.parametrize("name", CAPPED)
def test_a_library_whose_classes_are_extended_has_a_last_version(name: str):
    extended = [
        file
        for file in FILES
        if any(each.startswith(CAPPED[name]) for each in imports_of(ast.parse(file.read_text())))
    ]
    assert extended, "nothing extends it any more: remove the last version"
    requirement = next(r for r in map(Requirement, PROJECT["dependencies"]) if r.name == name)
    assert any(each.operator == "<" for each in requirement.specifier)
    assert requirement.specifier.contains(version(name)), (
        "make test-lowest and make test try both ends"
    )


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
