"""cryptoenv: a Gymnasium-registered, multi-timeframe crypto trading environment with jitted, proven money.

Shape legend used in all docstrings: `T` bars, `N` envs, `F` features, `W` window, `D` model width, `K` timeframes,
`M` markets, `A` actions, `P` positions.
"""

from pathlib import Path

from synthetic.jit_cache import drop_stale_cache  # first: it guards the cache of what is imported below

# isort: split

from cryptoenv.account import ExitKind, OrderStatus
from cryptoenv.bar_files import ImportReport, import_bars, read_bars
from cryptoenv.bars import BarsError, validate_bars
from cryptoenv.cleaning import clean
from cryptoenv.cleaning_report import CleaningReport
from cryptoenv.config import Costs, RiskLimits, Sizing, TradingConfig, VenueRules
from cryptoenv.env import CryptoTradeEnv
from cryptoenv.exogenous import join_exogenous
from cryptoenv.market import Market
from cryptoenv.metrics import performance
from cryptoenv.pool import MarketPool
from cryptoenv.registration import register_environments
from cryptoenv.slippage_calibration import SlippageFit, calibrate_slippage
from cryptoenv.vector_env import CryptoTradeVectorEnv

__version__ = "0.1.0"

__all__ = [
    "BarsError",
    "CleaningReport",
    "Costs",
    "CryptoTradeEnv",
    "CryptoTradeVectorEnv",
    "ExitKind",
    "ImportReport",
    "Market",
    "MarketPool",
    "OrderStatus",
    "RiskLimits",
    "Sizing",
    "SlippageFit",
    "TradingConfig",
    "VenueRules",
    "calibrate_slippage",
    "clean",
    "import_bars",
    "join_exogenous",
    "performance",
    "read_bars",
    "register_environments",
    "validate_bars",
]

register_environments()
drop_stale_cache(Path(__file__).parent)
