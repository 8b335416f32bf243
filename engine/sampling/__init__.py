"""From noise to clean latents to frames.

Open `denoise.py` first.
"""
