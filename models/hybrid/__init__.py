"""The transformer of SANA-Video 2.0: linear and softmax attention, and attention over depth.

Open `transformer.py` first.
"""
