"""Encoders that several models are built on: what they look like, and the network from scaled windows to embeddings."""
