"""Custom nodes of ComfyUI for sana-stream; ComfyUI calls `comfy_entrypoint` when it starts."""

from .nodes import SanaStreamExtension


async def comfy_entrypoint() -> SanaStreamExtension:
    """The extension with its nodes."""
    return SanaStreamExtension()
