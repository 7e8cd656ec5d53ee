"""Token markets: a constant-product pool, its order flow, pumps and other events."""
