"""How good the embedded model is: measured against rendered truth, and shown on contact sheets."""
