"""Training of the embedded model: optimizer, run, autoencoder, transformer, export."""
