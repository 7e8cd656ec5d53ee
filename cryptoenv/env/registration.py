"""Registration of the environments with Gymnasium."""

import gymnasium as gym


def register_environments() -> None:
    """Register `CryptoTrade-v0`, `CryptoPortfolio-v0` and `CryptoLive-v0`; calling it again changes nothing.

    The order-enforcing and checking wrappers are off: the environment itself refuses a step before a reset and bad
    actions, its tests run the checkers, and the wrappers cost 15% of a step.
    """
    if "CryptoTrade-v0" not in gym.registry:
        gym.register(
            id="CryptoTrade-v0",
            entry_point="cryptoenv.env.single:CryptoTradeEnv",
            vector_entry_point="cryptoenv.env.vector:CryptoTradeVectorEnv",
            order_enforce=False,
            disable_env_checker=True,
        )
    if "CryptoPortfolio-v0" not in gym.registry:
        gym.register(
            id="CryptoPortfolio-v0",
            entry_point="cryptoenv.env.portfolio.single:CryptoPortfolioEnv",
            vector_entry_point="cryptoenv.env.portfolio.vector:CryptoPortfolioVectorEnv",
            order_enforce=False,
            disable_env_checker=True,
        )
    if "CryptoLive-v0" not in gym.registry:
        gym.register(
            id="CryptoLive-v0",
            entry_point="cryptoenv.live.environment:CryptoLiveEnv",
            order_enforce=False,
            disable_env_checker=True,
        )
