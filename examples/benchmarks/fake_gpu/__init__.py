"""A fake CUDA device: shapes, dtypes, layouts and memory are followed, nothing is computed.

Open `sessions.py` first.
"""
