"""Evaluation of the embedded model: figures against rendered scenes, and contact sheets."""
