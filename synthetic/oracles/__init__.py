"""The best policies: the exact filter and the causal optimum on it, and the programme that sees everything."""
