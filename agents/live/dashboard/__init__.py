"""The page of `cryptoenv trade --dashboard`: a bounded picture of trading, served beside it, with a switch to halt."""
