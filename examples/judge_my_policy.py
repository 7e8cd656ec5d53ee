"""How good is a policy of your own? Its share of what the best policy without foresight earns, beside the baselines.

python examples/judge_my_policy.py --markets 8
"""

import argparse

import numpy as np

import agents

SHORT, LONG = 0, 2


def follow_the_week(observation: dict[str, np.ndarray]) -> np.ndarray:
    """Long after seven days that rose on balance, short after days that fell; (N,) actions for N markets at once.

    The first feature of every timeframe is its last bars' log-return in units of their volatility, (N, W, F).
    """
    move = observation["1d"][:, -7:, 0].mean(axis=1)
    return np.where(move > 0.0, LONG, SHORT)


def main() -> None:
    """Judge the rule on validation markets; the test markets are for final figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markets", type=int, default=8)
    parser.add_argument("--days", type=int, default=60)
    options = parser.parse_args()
    table = agents.score(follow_the_week, market="easy", split="validation", markets=options.markets, days=options.days)
    print(table[["score", "score_low", "score_high", "realised_score"]].round(3).to_string())


if __name__ == "__main__":
    main()
