"""In which blocks prompts with an event id are reported as started, active and completed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.errors import CommandError
from sana_stream.streaming.control.live_control import EVENT_LIMIT, LiveControl
from sana_stream.streaming.control.pending_changes import PendingChanges
from sana_stream.streaming.control.prompt_events import BlockEvents

FRAMES = 16  # of a block


class Stream:
    """A control with the prompt and the blend of a session, as `Session.switch` changes them."""

    def __init__(self) -> None:
        self.control = LiveControl()
        self.prompt, self.left, self.blocks = "day", 0, 0

    def block(self) -> BlockEvents:
        """Begin a block, and return its events."""
        frame = self.blocks * FRAMES
        changes = self.control.drain(frame)
        if changes.prompt not in (None, self.prompt):
            self.prompt, self.left = str(changes.prompt), changes.blend
        blends, self.left = self.left > 0, max(0, self.left - 1)
        events = self.control.events
        events.begin_block(frame, self.prompt, blends, changes.event, changes.superseded)
        self.blocks += 1
        return events.between(frame - 1 if frame else -1, frame)


def test_a_switch_starts_and_completes_in_its_block() -> None:
    stream = Stream()
    assert stream.block() == BlockEvents(0)
    stream.control.prompt("night", event="a")
    assert stream.block() == BlockEvents(1, ("a",), ("a",), ("a",))
    assert stream.block() == BlockEvents(2)


def test_a_blend_is_active_until_the_block_with_the_new_prompt_alone() -> None:
    stream = Stream()
    stream.control.prompt("night", 2, "a")
    assert stream.block() == BlockEvents(0, ("a",), ("a",), ())
    assert stream.block() == BlockEvents(1, (), ("a",), ())
    assert stream.block() == BlockEvents(2, (), ("a",), ("a",))
    assert stream.block() == BlockEvents(3)


def test_of_several_between_two_blocks_the_last_is_used_and_all_are_completed() -> None:
    stream = Stream()
    for event in "abc":
        stream.control.prompt(f"prompt {event}", 1, event)
    assert stream.block() == BlockEvents(0, ("c",), ("c",), ("a", "b"))
    stream.control.prompt("dusk", event="d")
    stream.control.prompt("dawn")  # another client's, without an id
    assert stream.block() == BlockEvents(1, (), (), ("d", "c"))
    assert stream.prompt == "dawn"


def test_another_prompt_ends_a_blend() -> None:
    stream = Stream()
    stream.control.prompt("night", 3, "a")
    stream.block()
    stream.control.prompt("dawn", 1, "b")
    assert stream.block() == BlockEvents(1, ("b",), ("b",), ("a",))
    assert stream.block() == BlockEvents(2, (), ("b",), ("b",))


def test_the_running_prompt_again_is_reached_when_its_blend_is() -> None:
    stream = Stream()
    stream.control.prompt("night", 2, "a")
    stream.block()
    stream.control.prompt("night", event="b")
    assert stream.block() == BlockEvents(1, ("b",), ("b",), ("a",))
    assert stream.block() == BlockEvents(2, (), ("b",), ("b",))


def test_a_viewer_that_missed_blocks_gets_their_events_with_the_next() -> None:
    stream = Stream()
    for event in "abc":
        stream.control.prompt(f"prompt {event}", event=event)
        stream.block()
    stream.control.prompt("dusk", 4, "d")
    stream.block()
    events = stream.control.events
    assert events.between(0, 3 * FRAMES + 5) == BlockEvents(3, ("b", "c", "d"), ("d",), ("b", "c"))
    assert events.between(3 * FRAMES, 3 * FRAMES + 5) == BlockEvents(3, (), ("d",), ())
    assert LiveControl().events.between(-1, 0) == BlockEvents(0)


def test_the_number_of_prompts_that_wait_is_limited() -> None:
    control = LiveControl()
    for number in range(EVENT_LIMIT):
        control.prompt(f"prompt {number}", event=str(number))
    with pytest.raises(CommandError, match=f"{EVENT_LIMIT} prompts wait for the next block"):
        control.prompt("one more", event="x")
    assert control.drain().event == str(EVENT_LIMIT - 1)
    assert control.prompt("one more", event="x") == "one more"


def test_an_event_is_no_change_that_a_resumed_stream_repeats() -> None:
    changes = PendingChanges(event="a", superseded=("b",), back=1.0, branch="c")
    assert changes.lasting == PendingChanges()


TURNS = st.lists(
    st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 3), st.booleans()), max_size=3),
    max_size=12,
)


@given(TURNS)
def test_every_event_is_completed_once_and_started_at_most_once(
    turns: list[list[tuple[str, int, bool]]],
) -> None:
    stream, given_ids, seen = Stream(), [], list[BlockEvents]()
    for turn in turns:
        for prompt, blocks, named in turn:
            event = str(len(given_ids)) if named else None
            given_ids += [event] if event else []
            stream.control.prompt(prompt, blocks, event)
        seen.append(stream.block())
    seen += [stream.block() for _ in range(4)]
    completed = [event for block in seen for event in block.completed]
    started = [event for block in seen for event in block.started]
    assert sorted(completed) == sorted(given_ids)
    assert len(set(started)) == len(started)
    assert all(len(block.active) <= 1 for block in seen)
