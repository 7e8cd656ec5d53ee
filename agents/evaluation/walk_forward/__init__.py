"""Walk-forward: borders of folds on markets, one account that goes on over them, regimes, and what it all says."""
