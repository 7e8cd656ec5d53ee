"""Causal features of bars: stationary, of order one, never fitted to data, and the same whatever history came before.

Every feature of a bar is a function of a fixed slice of bars (see `anchored`), so a feature computed live from the
last few days equals the one computed from all of history, bit for bit.
"""

from cryptoenv.features.anchored import FEATURE_BOUND, FEATURE_NAMES, compute_features, first_valid_row

__all__ = ["FEATURE_BOUND", "FEATURE_NAMES", "compute_features", "first_valid_row"]
