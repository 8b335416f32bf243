"""Make `sana_stream` importable from a checkout that is not installed. Import this module first.

On a machine that lacks some of the dependencies, `stand_ins.py` replaces those that random weights
hardly use.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

from measuring.stand_ins import STAND_INS

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = "sana_stream"
KERNELS = f"{PACKAGE}.models.kernels"
# What is lost without a module that no stand-in replaces.
MODULES = {
    "numpy": "nothing can be measured",
    "PIL": "only the probe can be measured (pip install pillow)",
    "safetensors": "only the probe can be measured",
    "torch": "nothing can be measured",
    "av": "encoding is not measured",
    "transformers": "--model cannot be used, --shapes can",
    "torchao": "int8 is not measured",
    "triton": "nothing is compiled on a GPU, and there are no kernels of our own",
}


ON_GPU = ("torchao", "triton")  # of no use without a GPU


def is_missing(module: str) -> bool:
    """Whether a module cannot be found; a module that is loaded is there."""
    try:
        return module not in sys.modules and find_spec(module) is None
    except ImportError:
        return True


def provide_package(root: Path = ROOT) -> None:
    """Map the package onto the folders of the checkout, unless it is installed or on the path."""
    if not is_missing(PACKAGE):
        return
    public = root / "engine" / "public"
    # submodules are searched in both folders: `errors` is in the first, `engine` in the second
    places = [str(public), str(root)]
    spec = spec_from_file_location(
        PACKAGE, public / "__init__.py", submodule_search_locations=places
    )
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


def provide_stand_ins() -> tuple[str, ...]:
    """Install the stand-ins of modules that are missing; return their names."""
    missing = tuple(name for name in STAND_INS if is_missing(name))
    for name in missing:
        sys.modules[name] = STAND_INS[name]()
    return missing


replaced = provide_stand_ins()
provide_package()
