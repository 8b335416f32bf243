"""The commands, one file each.

Open `generate.py` first.
"""
