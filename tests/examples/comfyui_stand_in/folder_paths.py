"""ComfyUI's folders and the numbers of its files."""

from __future__ import annotations

import os
import re
from pathlib import Path

output_directory = temp_directory = ""


def get_output_directory() -> str:
    return output_directory


def get_temp_directory() -> str:
    return temp_directory


def get_save_image_path(
    filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
) -> tuple[str, str, int, str, str]:
    subfolder, filename = os.path.split(os.path.normpath(filename_prefix))
    folder = Path(output_dir, subfolder)
    if not os.path.abspath(folder).startswith(os.path.abspath(output_dir)):
        raise Exception("Saving image outside the output folder is not allowed.")
    folder.mkdir(parents=True, exist_ok=True)
    numbered = (re.match(rf"{re.escape(filename)}_(\d+)_", name) for name in os.listdir(folder))
    counter = max((int(found[1]) for found in numbered if found), default=0) + 1
    return str(folder), filename, counter, subfolder, filename_prefix
