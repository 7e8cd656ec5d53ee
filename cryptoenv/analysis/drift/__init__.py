"""Whether live data still are what a model learned from: features, losses, equity, probabilities."""
