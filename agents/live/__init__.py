"""Trading on paper and for real: what decides at each close, and the loop around `CryptoLive-v0`."""
