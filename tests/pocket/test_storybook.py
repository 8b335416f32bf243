"""The storybook: rendering is deterministic, and frames show what the labels name."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from PIL import Image, ImageFilter

from storybook.light import SUBJECT_RGB
from storybook.motion import BEGINNINGS, Path
from storybook.scenes import SceneRenderer, draw_clip
from storybook.world import (
    COLOURS,
    FPS,
    HEIGHT,
    HELD_OUT,
    PLACES,
    SIDES,
    SUBJECTS,
    WIDTH,
    Scene,
    completed,
    draw_scene,
)

SCENE = Scene("day", "hills", "clear", "balloon", "red")
PATH = Path(0.2)


def test_draw_clip_is_deterministic() -> None:
    scenes = (SCENE, replace(SCENE, time="night", subject="boat"))
    first, second = (draw_clip(scenes, (0, 3), 6, PATH, dissolve=2) for _ in range(2))
    assert first.frames.shape == (6, HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(first.frames, second.frames)
    np.testing.assert_array_equal(first.masks, second.masks)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_mask_covers_the_subject(subject: str) -> None:
    red, _ = _frame(replace(SCENE, subject=subject, colour="red"))
    blue, mask = _frame(replace(SCENE, subject=subject, colour="blue"))
    changed = (red.astype(int) != blue).any(axis=-1)
    near = np.asarray(Image.fromarray(mask).filter(ImageFilter.MaxFilter(5)))
    assert not changed[near == 0].any()  # only the subject has its colour, and its soft rim
    assert changed[mask == 255].mean() > 0.4
    assert 0.01 < (mask > 128).mean() < 0.25


@pytest.mark.parametrize("colour", COLOURS)
def test_subject_has_its_named_colour(colour: str) -> None:
    frame, mask = _frame(replace(SCENE, subject="boat", colour=colour))
    inside = frame[mask == 255].astype(float)
    nearest = {
        name: np.abs(inside - np.array(rgb)).sum(axis=1).min() for name, rgb in SUBJECT_RGB.items()
    }
    assert min(nearest, key=lambda name: nearest[name]) == colour
    assert (np.abs(inside - np.array(SUBJECT_RGB[colour])).sum(axis=1) < 30).mean() > 0.25


def test_subjects_stay_on_screen() -> None:
    for subject in SUBJECTS:
        renderer = SceneRenderer(replace(SCENE, subject=subject, size="near"))
        for seconds in range(8):
            mask = renderer.frame(float(seconds))[1]
            assert (mask > 128).sum() > 1200, (subject, seconds)


def test_night_is_darker_and_snow_is_whiter() -> None:
    day, _ = _frame(SCENE)
    assert _frame(replace(SCENE, time="night"))[0].mean() < 0.5 * day.mean()
    ground = np.s_[220:, :120]
    assert _frame(replace(SCENE, weather="snow"))[0][ground].min() > day[ground].mean()


def test_dissolve_ends_at_the_new_scene() -> None:
    new = replace(SCENE, place="town")
    clip = draw_clip((SCENE, new), (0, 2), 6, PATH, dissolve=3)
    old_only = draw_clip((SCENE,), (0,), 6, PATH)
    new_only = draw_clip((new,), (0,), 6, PATH)
    np.testing.assert_array_equal(clip.frames[:2], old_only.frames[:2])
    np.testing.assert_array_equal(clip.frames[4:], new_only.frames[4:])
    assert (clip.frames[2] != old_only.frames[2]).any()


def test_held_out_pairs_are_drawn_on_request_only() -> None:
    rng = np.random.default_rng(0)
    assert not any((s.subject, s.colour) in HELD_OUT for s in (draw_scene(rng) for _ in range(300)))
    assert all(
        (s.subject, s.colour) in HELD_OUT
        for s in (draw_scene(rng, held_out=True) for _ in range(30))
    )


def test_side_names_where_the_subject_begins_and_goes() -> None:
    middle, left, right = (Path().x(BEGINNINGS[side]) for side in SIDES)
    assert left < middle < right
    assert [Path().facing(BEGINNINGS[side]) > 0 for side in SIDES] == [True, True, False]


def test_a_stream_from_a_side_begins_later_in_the_cycle() -> None:
    scene = replace(SCENE, weather="cloudy", side="right")
    begun = draw_clip((scene,), (0,), 2).frames[1]
    np.testing.assert_array_equal(begun, SceneRenderer(scene).frame(3 + 1 / FPS)[0])
    later = draw_clip((scene,), (0,), 1, offset=5.0).frames[0]
    np.testing.assert_array_equal(later, SceneRenderer(replace(scene, side="left")).frame(8.0)[0])


def test_missing_labels_follow_from_the_given_ones() -> None:
    assert completed({}) == Scene("day", "hills", "clear", "balloon", "red")
    assert completed({"place": "sea"}).subject == "boat"
    assert completed({"subject": "fox", "colour": "blue"}).place == "forest"
    for place, subject in product(PLACES, SUBJECTS):
        scene = completed({"place": place, "subject": subject, "time": "night"})
        assert (scene.place, scene.subject, scene.time) == (place, subject, "night")
        assert (scene.subject, scene.colour) not in HELD_OUT


def test_sparse_scenes_have_more_attributes_that_follow() -> None:
    rng = np.random.default_rng(0)
    scenes = [[draw_scene(rng, sparse=share) for _ in range(300)] for share in (0.0, 1.0)]
    plain, sparse = (sum(scene.time == "day" for scene in some) for some in scenes)
    assert sparse > 1.4 * plain


def _frame(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    return SceneRenderer(scene, PATH).frame(0.5)
