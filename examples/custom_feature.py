"""A feature of your own, beside the ones that ship, checked for look-ahead.

python examples/custom_feature.py
"""

import gymnasium as gym
import numpy as np

import cryptoenv
import synthetic
from cryptoenv.features import FeatureBars, FeatureSpec, check_causal, feature


@feature("range_place", bound=1.0, memory=20)
def range_place(bars: FeatureBars) -> np.ndarray:
    """Where the close stands in the range of the last 20 bars: -1 at the lowest low, +1 at the highest high."""
    place = np.zeros(len(bars.close))
    for t in range(20, len(place)):
        high, low = bars.high[t - 19 : t + 1].max(), bars.low[t - 19 : t + 1].min()
        place[t] = 2.0 * (bars.close[t] - low) / (high - low) - 1.0 if high > low else 0.0
    return place


def main() -> None:
    """Build a market with the feature and look at it in an observation."""
    bars = synthetic.regime_market("easy", days=30, seed=3).bars
    spec = FeatureSpec().with_functions(range_place)
    check_causal(spec, bars, timeframes=("15m", "4h", "1d"))
    market = cryptoenv.Market.from_bars(bars, timeframes=("15m", "4h", "1d"), features=spec)
    column = market.feature_names[0].index("range_place")
    env = gym.make("CryptoTrade-v0", market=market)
    observation, info = env.reset(seed=0)
    print(f"bar {info['bar']}: range_place of the last four 15m bars", observation["15m"][-4:, column].round(2))


if __name__ == "__main__":
    main()
