"""The networks and their state: pure torch, no video, no files but checkpoints."""
