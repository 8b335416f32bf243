"""Compiled networks, CUDA graphs and benchmarks.

Open `benchmark.py` first.
"""
