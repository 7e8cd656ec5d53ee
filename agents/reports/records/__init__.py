"""What is left of a run, read as far as it can be read: one module per kind of run."""
