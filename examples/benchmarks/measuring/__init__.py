"""The parts of `measure.py`, and what its scripts share."""
