"""`CryptoPortfolio-v0`: several assets on one account; the single and the vector environment."""
