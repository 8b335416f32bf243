"""Changes of prompt that are spread over several blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sana_stream._prompts import Mix, merge, parse_mix


@dataclass(frozen=True, slots=True)
class PromptBlend:
    """A change of prompt that is spread over several blocks.

    The share of the new prompt grows evenly: of `blocks` blocks, number k (from 1) has
    k / (blocks + 1) of it. The block before them has the old prompt alone, the block after them the
    new one.
    """

    prompt: Mix  # that the change begins with
    negative: Mix  # the same of the negative prompt
    blocks: int
    done: int = 0  # blocks that are generated

    @property
    def left(self) -> int:
        """Blocks that are still to be generated."""
        return self.blocks - self.done

    def mixes(self, prompt: str, negative: str) -> tuple[Mix, Mix]:
        """What the next block is generated from, in a change to these prompts."""
        return self._towards(prompt, negative, self.done + 1)

    def last_mixes(self, prompt: str, negative: str) -> tuple[Mix, Mix]:
        """What the last block was generated from."""
        return self._towards(prompt, negative, self.done)

    def advanced(self) -> PromptBlend | None:
        """The change after one more block; `None` once it is complete."""
        return None if self.left <= 1 else replace(self, done=self.done + 1)

    def _towards(self, prompt: str, negative: str, step: int) -> tuple[Mix, Mix]:
        share = step / (self.blocks + 1)
        pairs = (self.prompt, parse_mix(prompt)), (self.negative, ((negative, 1.0),))
        before, after = (_between(old, new, share) for old, new in pairs)
        return before, after


def _between(old: Mix, new: Mix, share: float) -> Mix:
    return merge(
        (
            *((text, weight * (1 - share)) for text, weight in old),
            *((text, weight * share) for text, weight in new),
        )
    )
