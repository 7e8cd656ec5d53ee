"""Markets as the environment trades them: prices, features, alignment, funding; pools of them; their files."""

from cryptoenv.market.market import SIGMA_BARS, Market, feature_matrices

__all__ = [
    "SIGMA_BARS",
    "Market",
    "feature_matrices",
]
