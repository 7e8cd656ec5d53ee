"""cryptoenv: a Gymnasium-registered, multi-timeframe crypto trading environment with jitted, proven money.

Shape legend used in all docstrings: `T` bars, `N` envs, `F` features, `W` window, `D` model width, `K` timeframes,
`M` markets, `A` actions, `P` positions.

>>> import gymnasium as gym
>>> import cryptoenv
>>> env = gym.make("CryptoTrade-v0", market="easy", window=(4, 2, 1))
>>> observation, info = env.reset(seed=0)
>>> {name: array.shape for name, array in observation.items()}
{'15m': (4, 34), '4h': (2, 18), '1d': (1, 18), 'account': (5,)}
>>> observation, reward, terminated, truncated, info = env.step(2)  # full long, at the next open
>>> info["order_status"].name, round(info["exposure"], 1)
('FILLED', 1.0)
"""

from pathlib import Path

from synthetic.jit_cache import drop_stale_cache  # first: it guards the cache of what is imported below

# isort: split

from cryptoenv.analysis.performance import performance
from cryptoenv.analysis.slippage_calibration import SlippageFit, calibrate_slippage
from cryptoenv.bar_files.reading import ImportReport, import_bars, read_bars
from cryptoenv.bars.bars import validate_bars
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.exogenous import join_exogenous
from cryptoenv.cleaning.cleaning import clean
from cryptoenv.cleaning.report import CleaningReport
from cryptoenv.env.portfolio.single import CryptoPortfolioEnv
from cryptoenv.env.portfolio.vector import CryptoPortfolioVectorEnv
from cryptoenv.env.registration import register_environments
from cryptoenv.env.saved_state import EnvState, StateError
from cryptoenv.env.seeds import spread_seeds
from cryptoenv.env.single import CryptoTradeEnv
from cryptoenv.env.vector import CryptoTradeVectorEnv
from cryptoenv.files.package_version import PACKAGE_VERSION
from cryptoenv.market.funding_files import read_funding
from cryptoenv.market.market import Market
from cryptoenv.market.pool import MarketPool
from cryptoenv.market.portfolio_market import CorrelatedTask, PortfolioMarket
from cryptoenv.trading.account import ExitKind, OrderStatus
from cryptoenv.trading.config import Costs, PortfolioLimits, RiskLimits, Sizing, TradingConfig, VenueRules

__version__ = PACKAGE_VERSION
__distribution__ = "cryptoenv-rl"

__all__ = [
    "BarsError",
    "CleaningReport",
    "CorrelatedTask",
    "Costs",
    "CryptoPortfolioEnv",
    "CryptoPortfolioVectorEnv",
    "CryptoTradeEnv",
    "CryptoTradeVectorEnv",
    "EnvState",
    "ExitKind",
    "ImportReport",
    "Market",
    "MarketPool",
    "OrderStatus",
    "PortfolioLimits",
    "PortfolioMarket",
    "RiskLimits",
    "Sizing",
    "SlippageFit",
    "StateError",
    "TradingConfig",
    "VenueRules",
    "calibrate_slippage",
    "clean",
    "import_bars",
    "join_exogenous",
    "performance",
    "read_bars",
    "read_funding",
    "register_environments",
    "spread_seeds",
    "validate_bars",
]

register_environments()
drop_stale_cache(Path(__file__).parent)
