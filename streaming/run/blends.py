"""The check of a story's blends against the blocks that its prompts are shown for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from sana_stream.engine.story.story import Story
from sana_stream.engine.story.timeline import Placement
from sana_stream.errors import StoryError


def check_blends(
    story: Story, placements: Sequence[Placement], blocks: int | None, *, begins: bool
) -> None:
    """Check that each blend is complete before the next prompt begins or the video ends.

    Args:
        story: whose cues are placed.
        placements: of its cues, in order.
        blocks: of the whole video; `None`: endless.
        begins: the stream begins with the first cue, so that there is nothing to blend it from.

    Raises:
        StoryError: a blend is as long as its prompt is shown or longer, or has nothing before it.
    """
    first = placements[0].cue
    if begins and first.blend:
        raise StoryError(
            f"{story.where(first)}: the first prompt has no prompt before it that it could be"
            f" blended from: leave ~{first.blend} out"
        )
    for placement, end in _with_ends(placements, blocks):
        blend = placement.cue.blend
        shown = 0 if placement.block is None else end - placement.block
        if blend and blend >= shown:
            advice = f"write ~{shown - 1}" if shown > 1 else f"leave ~{blend} out"
            count = "1 block" if blend == 1 else f"{blend} blocks"
            raise StoryError(
                f"{story.where(placement.cue)}: a blend over {count} is not complete in the"
                f" {shown} that its prompt is shown for: {advice}, or show the prompt longer"
            )


def _with_ends(
    placements: Sequence[Placement], blocks: int | None
) -> list[tuple[Placement, float]]:
    """Each placement with the number of the block that no longer has its prompt."""
    ends: list[float] = [float("inf") if blocks is None else blocks]
    for later, _ in pairwise(reversed(placements)):
        ends.append(ends[-1] if later.block is None else later.block)
    return list(zip(placements, reversed(ends), strict=True))
