"""Chart patterns: their shapes, where they stand in a series, and what a careful trader does."""
