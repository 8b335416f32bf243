"""Weights and configurations from files, checked before use.

Open `load.py` first.
"""
