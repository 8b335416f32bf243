"""Conventions of the code that weights were trained or published with.

The same weights are computed differently by their authors' code (NVlabs/Sana) and by diffusers:
another instruction text, another epsilon, other noise levels. `ORIGINS` says what is taken for
which weights, and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from sana_stream.models.attention import QK_NORM_EPS

from .instructions import AUTHORS_INSTRUCTION, VIDEO_INSTRUCTION


@dataclass(frozen=True, slots=True, kw_only=True)
class Conventions:
    """How a checkpoint's weights are used; each value is a key of `stream.json`."""

    instruction: tuple[str, ...] = ()  # lines before the prompt
    lower_case: bool = True  # prompts are converted to lower case
    cross_norm_eps: float = QK_NORM_EPS  # of cross attention's norms of queries and keys
    whole_timesteps: bool = False  # the network is called at timesteps rounded down
    # renoise: sigma is the nearest of 1000 levels with this flow shift; None: sigma is t / 1000
    sigma_shift: float | None = None

    @classmethod
    def of(cls, other: Conventions) -> Conventions:
        """The conventions of a preset, without its other values."""
        return Conventions(**{name: getattr(other, name) for name in _NAMES})

    def changed(self) -> dict[str, object]:
        """The values that differ from the defaults, by name, without the instruction."""
        default = Conventions(instruction=self.instruction)
        pairs = {name: getattr(self, name) for name in _NAMES}
        return {name: value for name, value in pairs.items() if value != getattr(default, name)}


_NAMES = tuple(field.name for field in fields(Conventions))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where weights come from, and the conventions that follow."""

    name: str
    weights: str  # which files and folders
    conventions: Conventions
    reason: str


AUTHORS_LONGSANA = Origin(
    "the authors' (LongSANA)",
    "LongSANA, in the original layout and as the published folder",
    Conventions(
        instruction=AUTHORS_INSTRUCTION,
        lower_case=False,
        cross_norm_eps=1e-6,
        whole_timesteps=True,
        sigma_shift=7.0,
    ),
    "distilled by the authors' code with these values; diffusers has no class for LongSANA",
)
AUTHORS_50_STEPS = Origin(
    "the authors' (original layout)",
    "the 50-step models, as a file in the original layout",
    Conventions(
        instruction=AUTHORS_INSTRUCTION,
        lower_case=False,
        cross_norm_eps=1e-6,
        whole_timesteps=True,
    ),
    "trained and sampled by the authors' code with these values",
)
DIFFUSERS = Origin(
    "diffusers'",
    "the 50-step models, as a folder or a file in the diffusers layout",
    Conventions(instruction=VIDEO_INSTRUCTION),
    "the published folders are used with SanaVideoPipeline, and give its frames here",
)
ORIGINS = (AUTHORS_LONGSANA, AUTHORS_50_STEPS, DIFFUSERS)
OWN = "the model's own"  # from its stream.json, or the defaults


def describe_conventions(conventions: Conventions) -> str:
    """Whose conventions they are, and each value, on one line."""
    given = Conventions.of(conventions)
    whose = next((origin.name for origin in ORIGINS if origin.conventions == given), OWN)
    return f"{whose}: {', '.join(_values(given))}"


def _values(given: Conventions) -> Iterator[str]:
    lines = given.instruction
    kind = "image " if "image generation" in "".join(lines) else ""
    kind = "video " if "video generation" in "".join(lines) else kind
    quote = " in double quotes" if '"Enhanced prompt"' in "".join(lines) else ""
    yield f"{kind}instruction of {len(lines)} lines{quote}" if lines else "no instruction"
    yield "prompts in lower case" if given.lower_case else "prompts with their case"
    yield f"cross-attention eps {given.cross_norm_eps:g}"
    yield "whole timesteps" if given.whole_timesteps else "timesteps of the solver"
    shift = given.sigma_shift
    yield "sigma t/1000" if shift is None else f"sigma of 1000 levels at flow shift {shift:g}"
