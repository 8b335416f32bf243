"""Pictures and clips that a caller gives, read as a viewer shows them.

Open `inputs.py` first.
"""
