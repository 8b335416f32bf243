"""Prompt files, parsed to cues with times.

Open `story.py` first; `read.py` chooses the reader of a format.
"""
