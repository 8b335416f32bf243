"""Video autoencoders that encode and decode a stream in chunks.

Open `registry.py` first.
"""
