"""A stream's order knows the blocks of its blends as a session does."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sana_stream.engine.engine import Engine
from sana_stream.streaming.fleet.order import StreamChange, StreamOrder

SWITCH = st.tuples(
    st.sampled_from(["day", "night", "dusk"]), st.sampled_from([None, "rain"]), st.integers(0, 3)
)


def test_blocks_of_blends_are_those_of_a_session(tiny_engine: Engine) -> None:
    first = tiny_engine.session("day").snapshot()

    @given(st.lists(st.none() | SWITCH, max_size=12))
    def check(switches: list[tuple[str, str | None, int] | None]) -> None:
        stream = first
        order = StreamOrder(stream.settings, stream.prompt, stream.negative_prompt, 4)
        for block, switch in enumerate(switches):
            if switch is not None:
                prompt, negative, blend = switch
                before, stream = stream, stream.with_prompts(*switch)
                change = StreamChange(
                    block,
                    None if prompt == before.prompt else prompt,
                    None if negative in (None, before.negative_prompt) else negative,
                )
                if not change.empty:
                    order = order.with_change(replace(change, blend=blend))
            assert order.blends(block) == stream.is_blending
            blend = None if stream.blend is None else stream.blend.advanced()
            stream = replace(stream, blend=blend)

    check()
