"""`cryptoenv serve`: models and agents that answer over HTTP."""
