"""Registration of the environments with Gymnasium."""

import gymnasium as gym


def register_environments() -> None:
    """Register `CryptoTrade-v0`; calling it again changes nothing.

    `order_enforce` is off since the environment itself refuses a step before a reset.
    """
    if "CryptoTrade-v0" not in gym.registry:
        gym.register(
            id="CryptoTrade-v0",
            entry_point="cryptoenv.env:CryptoTradeEnv",
            vector_entry_point="cryptoenv.vector_env:CryptoTradeVectorEnv",
            order_enforce=False,
        )
