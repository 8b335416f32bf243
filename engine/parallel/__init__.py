"""One stream on several devices: guidance, latent frames, token rows and decoding divided.

Open `layout.py` first, then `calls.py` and `leader.py`.
"""
