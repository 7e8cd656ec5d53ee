"""Several agents on one market, coupled by the impact of their orders: a parallel environment of PettingZoo.

It needs the extra `multi-agent`; `cryptoenv` itself does not import it.

>>> from cryptoenv import multi_agent
>>> env = multi_agent.parallel_env(agents=2, market="easy", window=(4, 2, 1))
>>> observations, infos = env.reset(seed=0)
>>> env.agents, observations["trader_1"]["account"].shape
(['trader_0', 'trader_1'], (5,))
"""

from cryptoenv.multi_agent.trading_crowd import MultiAgentTradeEnv, parallel_env

__all__ = ["MultiAgentTradeEnv", "parallel_env"]
