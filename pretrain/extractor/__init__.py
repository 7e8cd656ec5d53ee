"""The feature extractor: architecture, training, recipes, artifact, pictures."""
