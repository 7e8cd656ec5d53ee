"""The same environment in front of an exchange: `CryptoLive-v0`, brokers, journal, risk checks. See docs/live.md."""
