"""Markets driven by hidden regimes: the named tasks, their parameters, and the generators."""
