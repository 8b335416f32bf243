"""How one stream's work is divided among devices; needs no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from sana_stream._arguments import shown
from sana_stream.engine.peers import MAX_DEVICES
from sana_stream.errors import ConfigError

WAYS = ("guidance", "decoder", "frames", "rows")
_GRID = re.compile(r"([1-9]\d?)x([1-9]\d?)")  # frames x rows


@dataclass(frozen=True, slots=True)
class Layout:
    """Parts of the work: each is a number of devices.

    The prompts' parts times frames times rows devices sample. With `decoder` one more decodes.
    """

    guidance: int = 1  # 2: the prompt on one half of the devices, the negative prompt on the other
    frames: int = 1  # parts of a block's latent frames
    rows: int = 1  # parts of a frame's token rows
    decoder: bool = False

    @property
    def context(self) -> int:
        """Devices that compute one call of the transformer together."""
        return self.frames * self.rows

    @property
    def sampling(self) -> int:
        """Devices that sample."""
        return self.guidance * self.context

    @property
    def devices(self) -> int:
        """All devices."""
        return self.sampling + self.decoder

    def __str__(self) -> str:
        parts = (("guidance", self.guidance), ("frames", self.frames), ("rows", self.rows))
        words = [f"{name} {count}" for name, count in parts if count > 1]
        return ", ".join([*words, *(["decoder"] if self.decoder else [])])


def check_devices(devices: object, parallel: object = None) -> None:
    """Check the number of devices and the way to use them, each by itself.

    Raises:
        ConfigError: which numbers and words are allowed.
    """
    if not isinstance(devices, int) or isinstance(devices, bool) or not 1 <= devices <= MAX_DEVICES:
        raise ConfigError(f"devices {shown(devices)}: give 1 to {MAX_DEVICES}")
    if parallel is None:
        return
    if not isinstance(parallel, str) or (parallel not in WAYS and not _GRID.fullmatch(parallel)):
        raise ConfigError(
            f"parallel {shown(parallel)} is not known; use {', '.join(WAYS)} or FRAMESxROWS, such"
            " as 2x2"
        )


def has_decoder(devices: int, parallel: str | None) -> bool:
    """Whether the last device decodes: if asked for, and by default where the number is odd."""
    if parallel is None:
        return devices >= 3 and devices % 2 == 1
    return parallel == "decoder"


def choose_layout(
    devices: int, parallel: str | None, guided: bool, block_frames: int, token_rows: int
) -> Layout:
    """Divide a stream's work among devices.

    By default guidance comes first, since it exchanges least. Up to three devices divide latent
    frames; four and more divide rows, or frames and rows where that is better balanced. Of an odd
    number the last device decodes.

    Args:
        devices: 1 or more.
        parallel: "guidance", "decoder", "frames", "rows", or parts such as "2x2"; None chooses.
        guided: the stream has classifier-free guidance.
        block_frames: latent frames a block.
        token_rows: rows of a frame's tokens.

    Raises:
        ConfigError: the work cannot be divided so; says which numbers are possible.
    """
    check_devices(devices, parallel)
    if devices == 1:
        if parallel is not None:
            raise ConfigError(f'parallel="{parallel}" needs 2 or more devices: give devices=2')
        return Layout()
    decoder = has_decoder(devices, parallel)
    left = devices - decoder
    if parallel == "guidance":
        if not guided:
            raise ConfigError('parallel="guidance" needs guidance other than 1: give guidance=4')
        if devices % 2:
            raise ConfigError(f'parallel="guidance" on {devices} devices: give an even number')
    prompts = 2 if guided and left % 2 == 0 and parallel in (None, "guidance", "decoder") else 1
    count = left // prompts
    if parallel == "frames":
        _check_part(devices, "frames", count, block_frames, "latent frames a block")
        return Layout(1, count, 1)
    if parallel == "rows":
        _check_part(devices, "rows", count, token_rows, "token rows")
        return Layout(1, 1, count)
    if parallel is not None and (grid := _GRID.fullmatch(parallel)):
        frames, rows = int(grid[1]), int(grid[2])
        if frames * rows != devices:
            raise ConfigError(
                f'parallel="{parallel}" takes {frames * rows} devices, {devices} are given: give'
                f" devices={frames * rows}"
            )
        _check_part(frames, "frames", frames, block_frames, "latent frames a block")
        _check_part(rows, "rows", rows, token_rows, "token rows")
        return Layout(1, frames, rows)
    frames, rows = _balanced(devices, count, block_frames, token_rows)
    return Layout(prompts, frames, rows, decoder)


def check_layout(layout: Layout, model: str, causal: bool, quantize: str | None = None) -> None:
    """Refuse to divide the calls of a model that attends to all tokens by softmax, and of fp8.

    Args:
        layout: of the stream.
        model: its name, for the message.
        causal: whether it streams block after block, by linear attention.
        quantize: how its weights are quantized.

    Raises:
        ConfigError: names the ways that are possible.
    """
    if layout.context > 1 and quantize == "fp8":
        raise ConfigError(
            'fp8 cannot be divided over frames or rows: give quantize="int8", or devices=2 with'
            ' parallel="guidance" or parallel="decoder"'
        )
    if layout.context > 1 and not causal:
        raise ConfigError(
            f"{model} cannot be divided over frames or rows: give devices=2 with"
            ' parallel="guidance" or parallel="decoder"'
        )


def _balanced(devices: int, count: int, block_frames: int, token_rows: int) -> tuple[int, int]:
    """The parts of frames and rows whose largest share is smallest."""
    grids = [
        (frames, count // frames)
        for frames in range(1, count + 1)
        if count % frames == 0 and frames <= block_frames and count // frames <= token_rows
    ]
    if not grids:
        raise ConfigError(
            f"a block of {block_frames} latent frames and {token_rows} token rows cannot be divided"
            f" among {devices} devices: give fewer devices, such as devices=2"
        )
    if count <= 3 and (count, 1) in grids:
        return count, 1

    def share(grid: tuple[int, int]) -> tuple[int, int]:
        frames, rows = grid
        return -(-block_frames // frames) * -(-token_rows // rows), frames

    return min(grids, key=share)


def _check_part(devices: int, way: str, count: int, most: int, what: str) -> None:
    if count > most:
        raise ConfigError(
            f'{devices} devices cannot divide {most} {what} (parallel="{way}"): give 1 to'
            f" {most} devices, or another way"
        )


def spans(total: int, parts: int) -> list[tuple[int, int]]:
    """Near-equal ranges of `total` items, the larger ones first: 5 in 2 parts is 3 and 2."""
    small, larger = divmod(total, parts)
    ends = [0]
    for part in range(parts):
        ends.append(ends[-1] + small + (part < larger))
    return list(pairwise(ends))
