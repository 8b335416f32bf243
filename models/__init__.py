"""Networks of the model and their streaming state: torch only, no files but model weights."""
