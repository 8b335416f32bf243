"""The ComfyUI nodes, loaded and executed as ComfyUI does, against a stand-in of its node API."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sana_stream import Engine, StoryError

PACKAGE = Path(__file__).parents[2] / "examples" / "comfyui"
STAND_IN = Path(__file__).with_name("comfyui_stand_in")
MODULES = ("comfy", "comfy_api", "folder_paths", "comfyui_sana_stream")
WORKFLOW = json.loads((PACKAGE / "workflow.json").read_text("utf-8"))
Graph = dict[str, dict[str, Any]]


class ComfyUI:
    """Loads the package and executes graphs in the format of its HTTP API."""

    def __init__(self, folder: Path) -> None:
        import folder_paths
        from comfy import model_management, utils

        self.output = folder / "output"
        self.output.mkdir()
        folder_paths.output_directory = str(self.output)
        folder_paths.temp_directory = str(folder / "temp")
        self.management = model_management
        self.previews: list[tuple[float, float, Any]] = []
        self.cancel_after: int | None = None  # previews
        utils.set_progress_bar_global_hook(self._progress)
        self.nodes = asyncio.run(self._load())

    async def _load(self) -> dict[str, Any]:
        path = PACKAGE / "__init__.py"
        spec = importlib.util.spec_from_file_location("comfyui_sana_stream", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        extension = await module.comfy_entrypoint()
        await extension.on_load()
        return {node.GET_SCHEMA().node_id: node for node in await extension.get_node_list()}

    def _progress(self, value: float, total: float, preview: Any) -> None:
        self.management.throw_exception_if_processing_interrupted()
        self.previews.append((value, total, preview))
        if len(self.previews) == self.cancel_after:
            self.management.interrupt_current_processing()

    def execute(self, graph: Graph) -> dict[str, Any]:
        """The results of all nodes of a graph whose order is that of its links."""
        results: dict[str, Any] = {}
        with torch.inference_mode():  # as ComfyUI executes nodes
            for key, entry in graph.items():
                node = self.nodes[entry["class_type"]]
                values = {
                    name: results[value[0]].args[value[1]] if isinstance(value, list) else value
                    for name, value in entry["inputs"].items()
                }
                self._validate(node, values)
                results[key] = node.execute(**values)
                types = [each.io_type for each in node.GET_SCHEMA().outputs]
                assert len(results[key].args) == len(types)
        return results

    def _validate(self, node: Any, values: dict[str, Any]) -> None:
        """As ComfyUI does before a graph is executed; raises ValueError."""
        checked = hasattr(node, "validate_inputs")
        for each in node.GET_SCHEMA().inputs:
            if each.id not in values:
                assert each.optional, f"{each.id} is missing"
                continue
            value, limits = values[each.id], each.values
            if each.io_type == "COMBO" and not checked:
                assert value in limits["options"]
            if each.io_type in ("INT", "FLOAT"):
                assert limits["min"] <= value <= limits["max"]
        if checked:
            if (answer := node.validate_inputs(video=values["video"])) is not True:
                raise ValueError(answer)
            node.fingerprint_inputs(**values)


@pytest.fixture
def comfyui(
    tmp_path: Path, tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ComfyUI]:
    monkeypatch.syspath_prepend(str(STAND_IN))
    monkeypatch.setattr(Engine, "load", lambda *_, **__: tiny_engine)
    yield ComfyUI(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] in MODULES]:
        del sys.modules[name]


def graph(**changes: Any) -> Graph:
    """The workflow of the package with other inputs of its video."""
    made = json.loads(json.dumps(WORKFLOW))
    made["4"]["inputs"] |= changes
    return made


def resume(video: str) -> Graph:
    inputs = {"engine": ["1", 0], "video": video, "frames": "all frames"}
    return {"1": WORKFLOW["1"], "2": {"class_type": "SanaStreamResume", "inputs": inputs}}


def test_workflow_makes_video_and_images_with_previews(comfyui: ComfyUI) -> None:
    made = comfyui.execute(graph(frames="all frames"))["4"]
    video, images, path = made.args
    assert images.shape == (64, 32, 48, 3)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    assert video.get_dimensions() == (48, 32)
    decoded = video.get_components().images
    assert decoded.shape == images.shape
    assert (decoded - images).abs().mean() < 0.05
    assert Path(path) == comfyui.output / "video" / "sana-stream_00001_.mp4"
    shown = {"filename": "sana-stream_00001_.mp4", "subfolder": "video", "type": "output"}
    assert made.ui.as_dict()["images"] == [shown]
    assert [value for value, _, _ in comfyui.previews] == [9, 17, 25, 33, 41, 49, 57, 64]
    value, total, (kind, picture, _) = comfyui.previews[1]
    assert (total, kind) == (64, "JPEG")
    assert np.array_equal(np.asarray(picture), (images[int(value) - 1] * 255).round().byte())
    captions = Path(path).with_suffix(".vtt").read_text("utf-8")
    assert "00:00:02.0" in captions
    assert "boat on the sea at night" in captions


def test_cancelled_video_is_resumed(comfyui: ComfyUI) -> None:
    whole = comfyui.execute(graph(filename_prefix="whole"))["4"].args[0].get_components().images
    comfyui.cancel_after = len(comfyui.previews) + 2
    with pytest.raises(comfyui.management.InterruptProcessingException):
        comfyui.execute(graph(filename_prefix="cut"))
    assert comfyui.nodes["SanaStreamResume"].GET_SCHEMA().inputs[1].values["options"] == [
        "cut_00001_.mp4"
    ]
    made = comfyui.execute(resume("cut_00001_.mp4"))["2"]
    assert torch.equal(made.args[1], whole)
    assert torch.equal(made.args[0].get_components().images, whole)
    with pytest.raises(ValueError, match="not an interrupted video"):
        comfyui.execute(resume("cut_00001_.mp4"))
    with pytest.raises(ValueError, match="not an interrupted video"):
        comfyui.execute(resume("../cut_00001_.mp4"))


def test_image_starts_the_video(comfyui: ComfyUI) -> None:
    red = torch.zeros(1, 32, 48, 3)
    red[..., 0] = 1
    with_image = graph(seconds=0.5, story="a red boat", frames="all frames", image=red)
    frames = comfyui.execute(with_image)["4"].args[1]
    plain = graph(seconds=0.5, story="a red boat", frames="all frames")
    assert not torch.equal(comfyui.execute(plain)["4"].args[1], frames)
    assert not list((comfyui.output.parent / "temp").iterdir())


def test_bad_inputs_are_named(comfyui: ComfyUI) -> None:
    with pytest.raises(ValueError, match="width 64, height 0: give both"):
        comfyui.execute(graph(width=64))
    untimed = graph()
    untimed["3"]["inputs"]["start"] = -1
    with pytest.raises(StoryError, match="has no time"):
        comfyui.execute(untimed)
    untimed["2"]["inputs"]["prompt"] = " "
    with pytest.raises(ValueError, match="prompt is empty"):
        comfyui.execute(untimed)
