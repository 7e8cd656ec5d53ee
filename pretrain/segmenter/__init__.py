"""Which regime a market is in, on each of several timescales: class probabilities, state machines, segments."""
