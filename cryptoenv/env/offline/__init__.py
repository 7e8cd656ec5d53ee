"""Episodes for offline learning: as Minari's datasets or plain Parquet, read back as arrays to learn from."""

from cryptoenv.env.offline.dataset import OfflineData
from cryptoenv.env.offline.episode import Episode
from cryptoenv.env.offline.layout import DataLayout
from cryptoenv.env.offline.transitions import Transitions

__all__ = ["DataLayout", "Episode", "OfflineData", "Transitions"]
