"""Imports follow one order, type-only imports too; importing a package loads nothing heavy."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

import sana_stream

ROOT = Path(__file__).parent.parent
FOLDERS = ("models", "engine", "streaming", "cli")
MOST_LINES = 400


# In each line a module or sub-package may import the names to its left, and what they may import.
# A package's name covers all its modules. Modules not named may import each other without a circle.
ORDER = """
models > engine > streaming.run > cli
models.schema > models.config, models.rope, models.kernels > models.attention, models.feedforward
models.attention, models.feedforward > models.memory_policy > models.state, models.transformer
models.schema > models.vae
models.transformer > models.hybrid > models.registry > models.weights
models.transformer, models.vae > models.weights > models.lora, models.text_encoder
engine.frame_stats, engine.cpu_share > engine.block, engine.noise, engine.device, engine.cpu
engine.block, engine.noise, engine.device, engine.cpu, engine.solvers > engine.loading
engine.loading > engine.snapshot > engine.sampling, engine.media > engine.session > engine.engine
engine.prompt_blend > engine.snapshot
engine.engine > engine.performance, engine.parallel
engine.session > engine.scheduling > engine.parallel
engine.block > engine.story
streaming.video_format > streaming.containers > streaming.outputs > streaming.web
streaming.video_format > streaming.control > streaming.web > streaming.run > streaming.serving
streaming.serving > streaming.fleet
engine.media > streaming.web
streaming > cli.options > cli.parser, cli.console > cli.commands > cli.main > cli.__main__
cli.parser > cli.fleet_options > cli.commands
"""
# may be imported by every module
SHARED = ("errors", "_text", "_files", "_clock", "_lazy", "_arguments", "_prompts")
FACES = {
    "sana_stream": {
        *("Block", "BlockStats", "CheckpointError", "CommandError", "ConfigError", "Engine"),
        *("BranchError", "HealthError", "InvalidOutputError", "JobError", "OutputCancelled"),
        "OutputError",
        *("ParallelEngine", "ParallelError", "Progress", "QueueFullError", "ReaderDisconnected"),
        *("Run", "RunConfig"),
        *("SanaStreamError", "Session", "Snapshot", "SnapshotError", "StoreError"),
        "StoryError",
        *("__version__", "render"),
    },
    "sana_stream.engine": {
        *("Block", "BlockStats", "Engine", "Session", "Snapshot", "Story", "Timeline"),
        *("inspect_model", "read_story"),
    },
    "sana_stream.engine.scheduling": {
        *("Admission", "Scheduler", "SchedulerOutput", "SchedulerStats", "SharedEngine"),
    },
    "sana_stream.streaming": {
        *("EncoderSettings", "LiveFeed", "Metadata", "OutputOptions", "OutputPump", "StreamSpec"),
        *("VideoFormat", "WebServer", "open_output"),
    },
}
HEAVY = ("torch", "av", "numpy")


def _modules() -> Iterator[tuple[str, Path]]:
    """Map module names below `sana_stream` to files; a package has the name of its folder."""
    public = ROOT / "engine" / "public"
    for file in public.glob("*.py"):
        yield "" if file.stem == "__init__" else file.stem, file
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*.py"):
            if file.parent != public:
                parts = file.relative_to(ROOT).with_suffix("").parts
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), file


MODULES = dict(sorted(_modules()))
UNITS = {".".join(name.split(".")[:2]) for name in MODULES if "." in name}


def unit(module: str) -> str:
    """Return a module's sub-package, or the module itself if it is directly in a top folder."""
    return ".".join(module.split(".")[:2])


def imports_of(module: str) -> Iterator[tuple[str, bool]]:
    """Yield the modules that a file imports, each with whether the import is type-only."""
    file = MODULES[module]
    tree = ast.parse(file.read_text())
    types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in node.body
    }
    package = module if file.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((name, id(node) in types) for name in _sources(node, package))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "sana_stream":
                    yield alias.name.partition(".")[2], id(node) in types


def _sources(node: ast.ImportFrom, package: str) -> Iterator[str]:
    if node.level:
        source = f"{package}.{node.module or ''}".strip(".")
    else:
        top, _, source = (node.module or "").partition(".")
        if top != "sana_stream":
            return
    for alias in node.names:
        name = f"{source}.{alias.name}".strip(".")
        yield name if name in MODULES else source


def _matching(names: str) -> set[str]:
    wanted = [name.strip() for name in names.split(",")]
    return {u for u in UNITS for name in wanted if u == name or u.startswith(f"{name}.")}


def may_import() -> dict[str, set[str]]:
    """Return what each unit named in `ORDER` may import."""
    left: dict[str, set[str]] = {}
    for line in ORDER.strip().splitlines():
        for before, after in pairwise(map(_matching, line.split(">"))):
            for name in after:
                left.setdefault(name, set()).update(before)
            for name in before:
                left.setdefault(name, set())
    for name in TopologicalSorter(left).static_order():
        left[name] |= {further for near in left[name] for further in left[near]}
    return left


def _is_listed(name: str) -> bool:
    """Whether `ORDER` names a unit itself, not only its top folder."""
    return name in {word.strip() for word in ORDER.replace("\n", ">").replace(",", ">").split(">")}


def is_allowed(here: str, there: str, left: dict[str, set[str]], for_types: bool) -> bool:
    """Whether one unit may import another one."""
    if there in SHARED or here == there or there in left.get(here, ()):
        return True
    if there == "engine.block" and here.startswith("streaming."):
        return for_types
    neighbours = here.split(".")[0] == there.split(".")[0]
    return neighbours and not (_is_listed(here) and _is_listed(there))


def test_every_sub_package_is_in_the_order():
    packages = {unit(name) for name in MODULES if name.count(".") == 2}
    assert sorted(name for name in packages if not _is_listed(name)) == []


def test_imports_follow_the_order():
    left, wrong = may_import(), set()
    for module in MODULES.keys() - {"", *FOLDERS}:
        for target, for_types in imports_of(module):
            if target and not is_allowed(unit(module), unit(target), left, for_types):
                wrong.add((unit(module), unit(target)))
    assert sorted(wrong) == []


def test_files_have_no_import_circle():
    edges = {
        (name, target)
        for name in MODULES.keys() - {"", *FOLDERS}
        for target, _ in imports_of(name)
        if target and name != target
    }
    check_no_circle(edges)


def test_sub_packages_have_no_import_circle():
    edges = {
        (unit(name), unit(target))
        for name in MODULES.keys() - {"", *FOLDERS}
        for target, _ in imports_of(name)
        if target
    }
    check_no_circle(pair for pair in edges if pair[0] != pair[1])


def check_no_circle(edges: Iterable[tuple[str, str]]) -> None:
    """Fail with the first import circle."""
    graph: dict[str, set[str]] = {}
    for name, target in edges:
        graph.setdefault(name, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_relative_imports_stay_in_their_package():
    for name, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_text())):
            level = node.level if isinstance(node, ast.ImportFrom) else 0
            assert level < 2, f"{name} has a relative import with {level} dots"


def test_imports_inside_a_sub_package_are_relative():
    for name, file in MODULES.items():
        package = "sana_stream." + (name if file.stem == "__init__" else name.rpartition(".")[0])
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and package.count(".") == 2:
                source = (node.module or "").rpartition(".")[0]
                assert source != package, f"{name} imports {node.module}: write it with one dot"


def test_no_file_exceeds_the_line_limit():
    long = {name: n for name, file in MODULES.items()
            if (n := len(file.read_text().splitlines())) > MOST_LINES}  # fmt: skip
    assert long == {}


@pytest.mark.parametrize("face", FACES)
def test_package_exports_its_names_and_loads_nothing_heavy(face: str):
    program = (
        "import importlib, json, sys\n"
        f"face = importlib.import_module({face!r})\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print(json.dumps([heavy, sorted(face.__all__), dir(face)]))\n"
        "for name in face.__all__: getattr(face, name)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    heavy, names, listed = json.loads(run.stdout)
    assert heavy == []
    assert set(names) == FACES[face]
    assert set(names) - {"__version__"} <= set(listed)


def test_top_package_exports_every_error():
    from sana_stream import errors

    missing = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.SanaStreamError)
        and name not in sana_stream.__all__
    }  # fmt: skip
    assert missing == {"UnknownClipError"}  # internal


def test_sources_of_the_package_are_links():
    """A copy would hide later changes of the file that it was made of."""
    names = (ROOT / ".src" / "sana_stream").iterdir()
    assert not [path.name for path in names if path.name[0] != "." and not path.is_symlink()]
