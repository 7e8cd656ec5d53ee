"""Trade bars of your own: any CSV, JSON, Parquet or Feather file that names time, open, high, low, close and volume.

    python examples/own_bars.py my_bars.csv.gz

Without a file it writes one of synthetic bars first.
"""

import argparse
import tempfile
from pathlib import Path

import gymnasium as gym

import cryptoenv
import synthetic


def sample_file() -> Path:
    """A CSV of 90 days of made-up 15m bars."""
    path = Path(tempfile.mkdtemp()) / "bars.csv.gz"
    synthetic.regime_market("easy", days=90, seed=1).bars.to_csv(path)
    return path


def main() -> None:
    """Read, check, split in time, and hold the market through the later part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path)
    path = parser.parse_args().file or sample_file()
    table, how = cryptoenv.import_bars(path)
    print(how)
    bars, report = cryptoenv.clean(table)
    print(report)
    market = cryptoenv.Market.from_bars(bars, timeframes=("15m", "4h", "1d"))
    env = gym.make("CryptoTrade-v0", market=market, episode_bars=len(market), random_start=False)
    _, info = env.reset(seed=0)
    print(f"first decision at bar {info['bar']} of {len(market)}, {market.bars.index[info['bar']]}")
    over = False
    while not over:
        _, _, terminated, truncated, info = env.step(2)
        over = terminated or truncated
    print(f"held to the end: equity {info['equity']:.0f} after fees of {info['fees']:.0f}")


if __name__ == "__main__":
    main()
