"""The steps of a measurement in the order of their worth, each a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

MINUTES = 10.0  # for which the limits are given


@dataclass(frozen=True, slots=True)
class Step:
    """A script, its options, and the seconds it may take of a run of ten minutes."""

    name: str
    seconds: float
    words: tuple[str, ...]
    takes: str = "model"  # "model": --model or --shapes; "shapes": only that; "": neither


_SPEED = "measure_speed.py"
_CHECKS = "measure_checks.py"
_BFLOAT16 = ("--dtype", "bfloat16")
_COMPILED = (*_BFLOAT16, "--compile")
STEPS = (
    Step("versions", 40, ("measure_versions.py",), ""),
    Step("probe", 120, ("measure_probe.py",), ""),
    Step("precision", 60, (_CHECKS, "convolution", "float32", "bfloat16"), "shapes"),
    Step("overlap", 45, (_CHECKS, "pipelined", "graphs"), "shapes"),
    Step(
        "bfloat16",
        150,
        (_SPEED, *_BFLOAT16, "--ways", "eager", "pieces", "profile", "graphs", "small", "both"),
    ),
    Step("fp8", 60, (_SPEED, *_BFLOAT16, "--quantize", "fp8", "--ways", "eager", "graphs", "both")),
    # the rows of "bfloat16" use the package's own kernels, where it has any
    Step("torch alone", 45, (_SPEED, *_BFLOAT16, "--torch-alone", "--ways", "eager", "profile")),
    Step("float32", 45, (_SPEED, "--dtype", "float32", "--warmup", "1", "--repeats", "1")),
    # what torch compiles takes minutes: whatever time is left
    Step("compiled check", 90, (_CHECKS, "compiled"), "shapes"),
    Step("compiled", 300, (_SPEED, *_COMPILED, "--ways", "eager", "graphs")),
    Step(
        "fp8 compiled",
        300,
        (_SPEED, *_COMPILED, "--quantize", "fp8", "--ways", "eager", "graphs", "both"),
    ),
)
NAMES = tuple(step.name for step in STEPS)
FOR_2B = ("probe", "torch alone")


def chosen_steps(names: Sequence[str], model: str, shapes: str | None) -> list[Step]:
    """The steps to run, with the options of the model among their words.

    Args:
        names: of steps; none: all that apply. The probe and the kernels have the shapes of the 2B
            models, and so apply to these only.
        model: the checkpoint, unless there are `shapes`.
        shapes: of random weights, which checks need.
    """
    own = ("--shapes", shapes) if shapes else ("--model", model)
    large = shapes is not None and shapes.startswith("2b")
    steps = []
    for step in STEPS:
        if step.name in names if names else large or step.name not in FOR_2B:
            if step.takes == "shapes" and shapes is None:
                continue
            words = (*step.words, *own) if step.takes else step.words
            steps.append(replace(step, words=words))
    return steps
