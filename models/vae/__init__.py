"""Video autoencoders that encode and decode in pieces.

Open `registry.py` first.
"""
