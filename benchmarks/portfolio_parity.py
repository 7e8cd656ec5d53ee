"""The portfolio environment's spot equity against vectorbt's `Portfolio.from_orders` with shared cash, bar by bar.

`python -m benchmarks.portfolio_parity [--python PATH] [--bars FILE ...] [--out FILE]`. Random target weights of four
assets are traded by `CryptoPortfolioEnv` on spot with a proportional fee and a fixed half-spread (impact 0); vectorbt
gets the same bars and targets as one group (`cash_sharing=True`, `call_seq="auto"`: sales first) and must reach the
same equity within 1e-9 relative at every bar. How one is said in terms of the other: `benchmarks.vectorbt_parity`.

Where they differ, and what is compared then:

- Where the cash does not pay for all purchases, vectorbt serves them one after the other until it is gone; here they
  share it in proportion to their cost. The scenarios that must be equal keep cash enough for that never to happen, even
  if a bar without volume holds a sale up; "all in" shows the difference.
- vectorbt's own default `call_seq` serves columns in their order, purchases before sales: `in_column_order`, shown.
- The environment's fills as plain amounts, cash and fees alone, must be equal in every scenario.

A fee 1% higher must be found in every scenario, or nothing is reported.
"""

import argparse
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cryptoenv
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from benchmarks.vectorbt_parity import TOLERANCE, gapped_bars, largest_difference, vectorbt_equities, vectorbt_version
from cryptoenv import Costs, PortfolioMarket, RiskLimits
from cryptoenv.bars.timeframe import detect_timeframe
from cryptoenv.trading.account import OrderStatus

Floats = NDArray[np.float64]
VECTORBT_SIDE = """
import pathlib, sys
import numpy as np
import vectorbt as vbt

for path in sorted(pathlib.Path(sys.argv[1]).glob("episode-*.npz")):
    e = np.load(path)
    def equity(size, size_type, fee=e["fee"].item(), call_seq="auto"):
        portfolio = vbt.Portfolio.from_orders(
            e["close"], size=size, size_type=size_type, direction="longonly", price=e["open"],
            val_price=e["known_close"], fees=fee, fixed_fees=0.0, min_size=0.0, slippage=e["half_spread"].item(),
            max_size=e["max_size"], init_cash=e["cash"].item(), freq="1h", group_by=True, cash_sharing=True,
            call_seq=call_seq,
        )
        return np.asarray(portfolio.value(), dtype=np.float64).ravel()
    np.savez(
        path.with_name("vectorbt-" + path.name),
        targets=equity(e["target"], "targetpercent"),
        fills=equity(e["fill"], "amount"),
        planted_fee=equity(e["target"], "targetpercent", fee=1.01 * e["fee"].item()),
        in_column_order=equity(e["target"], "targetpercent", call_seq="default"),
    )
"""


@dataclass(frozen=True)
class Scenario:
    """What is traded: costs, limits, and how weights are drawn.

    Attributes:
        invested: sum of the target weights, at most. keep: chance that all targets are kept. equal: whether vectorbt
            must reach the same equity from the targets. Others: as in `benchmarks.vectorbt_parity`.
    """

    name: str
    invested: float
    equal: bool = True
    fee: float = 0.001
    half_spread: float = 0.0005
    cash: float = 10_000.0
    tolerance: float = 0.05
    participation: float = 0.1
    keep: float = 0.8


SCENARIOS = (
    Scenario("default tolerance", 0.45),
    Scenario("rebalanced at every bar", 0.45, fee=0.0004, half_spread=0.0001, tolerance=0.0),
    Scenario("cut by participation", 0.7, fee=0.0004, half_spread=0.0002, cash=2e7, participation=0.02),
    Scenario("all in", 1.0, equal=False, tolerance=0.0),
)


@dataclass(frozen=True)
class Episode:
    """One episode, arrays (T, A) float64 but `equity` (T,); row i is the bar in which order i would fill.

    Attributes:
        known_close: close of the bar before. open, close: of the bar. target: percent of equity, NaN where no order is
            due or the bar has no volume. max_size: participation cap. fill: signed quantity that was filled.
        equity: marked at `close`. statuses: count of each order status.
    """

    scenario: Scenario
    known_close: Floats
    open: Floats
    close: Floats
    target: Floats
    max_size: Floats
    fill: Floats
    equity: Floats
    statuses: dict[str, int]


def random_weights(steps: int, assets: int, scenario: Scenario, rng: np.random.Generator) -> Floats:
    """(steps, A) target weights >= 0, their sum at most `scenario.invested`: all kept, or all drawn anew."""
    weights, rows = np.zeros(assets), []
    for _ in range(steps):
        if rng.random() >= scenario.keep:
            share = rng.dirichlet(np.ones(assets)) * (rng.random(assets) < 0.8)
            weights = share / share.sum() if share.any() else np.zeros(assets)
            whole = rng.random() < 0.5
            weights = weights * scenario.invested * (1.0 if whole else rng.random())
        rows.append(weights)
    return np.minimum(np.array(rows), 1.0)


def play(market: PortfolioMarket, scenario: Scenario, steps: int, seed: int) -> Episode:
    """Trade `steps` random weights on `market` and record bars, orders, fills and equity."""
    env = cryptoenv.CryptoPortfolioEnv(
        market, window=(1,), instrument="spot", observation="index", episode_bars=steps,
        costs=Costs(fee=scenario.fee, half_spread=scenario.half_spread, impact=0.0), initial_cash=scenario.cash,
        limits=RiskLimits(participation=scenario.participation, rebalance_tolerance=scenario.tolerance),
    )  # fmt: skip
    _, info = env.reset(seed=seed)
    first, assets = info["bar"], len(market.names)
    places = zip(market.markets, market.offsets, strict=True)
    frames = [one.bars.iloc[first - offset :][: steps + 1] for one, offset in places]
    opened, close, volume = (
        np.column_stack([bars[name].to_numpy() for bars in frames]) for name in ("open", "close", "volume")
    )
    due, fill, equity = np.full((steps, assets), np.nan), np.zeros((steps, assets)), np.zeros(steps)
    statuses: Counter[str] = Counter()
    unfinished = np.zeros(assets, dtype=np.bool_)
    last = np.zeros(assets)
    for i, weights in enumerate(random_weights(steps, assets, scenario, np.random.default_rng(seed))):
        wanted = (weights != last) | (np.abs(weights - info["exposures"]) > scenario.tolerance) | unfinished
        due[i] = np.where(wanted & (volume[i + 1] > 0.0), weights, np.nan)
        info = env.step(weights)[4]
        last, fill[i], equity[i] = weights, info["fill_quantity"], info["equity"]
        unfinished = np.isin(info["order_status"], (OrderStatus.PARTIAL, OrderStatus.NO_VOLUME))
        statuses.update(OrderStatus(int(status)).name for status in info["order_status"])
    cap = np.where(volume[1:] > 0.0, scenario.participation * volume[1:], np.inf)  # vectorbt refuses a cap of 0
    return Episode(scenario, close[:-1], opened[1:], close[1:], due, cap, fill, equity, dict(statuses))


def compare(episode: Episode, theirs: dict[str, Floats]) -> dict[str, Any]:
    """Largest relative differences of one episode.

    Raises:
        AssertionError: a planted fee was not found.
    """
    differences = {name: largest_difference(episode.equity, equity) for name, equity in theirs.items()}
    if not differences["planted_fee"] > 1e3 * TOLERANCE:
        raise AssertionError(f"a fee 1% higher went unnoticed in {episode.scenario.name!r}: the comparison is blind")
    same = differences["fills"] <= TOLERANCE and (differences["targets"] <= TOLERANCE or not episode.scenario.equal)
    return {
        "scenario": asdict(episode.scenario), "bars": len(episode.equity),
        "orders": int(np.isfinite(episode.target).sum()), "statuses": episode.statuses,
        "equity_end_over_start": float(episode.equity[-1] / episode.scenario.cash), "differences": differences,
        "equal": same,
    }  # fmt: skip


def parity(market: PortfolioMarket, python: str, steps: int, seed: int = 0) -> list[dict[str, Any]]:
    """One row of differences per scenario."""
    episodes = [play(market, scenario, steps, seed + i) for i, scenario in enumerate(SCENARIOS)]
    found = vectorbt_equities(episodes, python, VECTORBT_SIDE)
    return [compare(episode, theirs) for episode, theirs in zip(episodes, found, strict=True)]


def main() -> None:
    """Compare on all scenarios, print the differences, write them; exit 1 where equities differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has vectorbt")
    parser.add_argument("--bars", type=Path, nargs="+", help="files of bars on one grid (default: four random walks)")
    parser.add_argument("--steps", type=int, default=10_000, help="bars per scenario")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/portfolio_parity.json"))
    options = parser.parse_args()
    version = vectorbt_version(options.python)
    if version is None:
        parser.error(f"{options.python} has no vectorbt: pip install vectorbt in an environment and pass its --python")
    if options.bars is None:
        bars = {f"walk-{k}": gapped_bars(2 * options.steps, seed=k) for k in range(4)}
    else:
        bars = {f"{k} {path.name}": cryptoenv.read_bars(path) for k, path in enumerate(options.bars)}
    base = detect_timeframe(next(iter(bars.values())).index)  # type: ignore[arg-type]
    rows = parity(PortfolioMarket.from_bars(bars, (base,)), options.python, options.steps, options.seed)
    print(f"{'largest relative difference':28s}{'orders':>8s}{'targets':>12s}{'fills':>12s}", end="")
    print(f"{'fee +1%':>12s}{'in column order':>17s}")
    for row in rows:
        d = row["differences"]
        print(f"{row['scenario']['name']:28s}{row['orders']:8d}{d['targets']:12.2e}{d['fills']:12.2e}", end="")
        print(f"{d['planted_fee']:12.2e}{d['in_column_order']:17.2e}  {row['statuses']}")
    source = "four random walks" if options.bars is None else [path.name for path in options.bars]
    result = {**header(), "vectorbt": version, "bars": source, "tolerance": TOLERANCE, "rows": rows}
    write_result(options.out, result)
    sys.exit(0 if all(row["equal"] for row in rows) else 1)


if __name__ == "__main__":
    main()
