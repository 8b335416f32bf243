"""How the embedded model is trained: optimiser, run, autoencoder, transformer, export."""
