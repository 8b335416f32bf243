"""Input images and videos, decoded as players display them.

Open `inputs.py` first.
"""
