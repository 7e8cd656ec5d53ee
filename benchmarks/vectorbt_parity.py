"""The environment's spot equity against vectorbt's `Portfolio.from_orders`, bar by bar.

`python -m benchmarks.vectorbt_parity [--python PATH] [--bars FILE] [--out FILE]`. vectorbt (Apache 2.0 with the Commons
Clause) is a party to the test and nothing else: it runs in a process of its own, in whatever interpreter has it, and
is only asked for equities. Random target exposures are traded by `CryptoTradeEnv` on spot with a proportional fee and
a fixed half-spread (impact 0); vectorbt gets the same bars and targets and must reach the same equity within 1e-9
relative at every bar. A planted fee (1% higher) must be found, or nothing is reported.

How the one is said in terms of the other, and where they differ:

- vectorbt values a target percent at the *order price* unless told otherwise (`val_price=inf`), which is a price nobody
  knows when the order is sent. Here it is the close before the fill, `val_price=close[t]`. The report shows how far
  equity drifts under vectorbt's own default.
- The environment sends an order only when the target changes or exposure drifts beyond the tolerance; other bars are
  NaN sizes.
- The environment fills nothing in a bar without volume; vectorbt fills at any price. Those bars are NaN sizes.
- vectorbt rejects orders under 1e-8 base units unless told otherwise; here `min_size=0`, as `VenueRules` are off.
- The participation cap is `max_size`; a buy that the cash cannot pay is cut to what it can in both.
- A second comparison hands vectorbt the environment's fills as plain amounts: cash and fees alone, no sizing.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import cryptoenv
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from benchmarks.support.walk import walk_bars
from cryptoenv import Costs, Market, RiskLimits
from cryptoenv.bars.timeframe import detect_timeframe

TOLERANCE = 1e-9  #: largest relative difference of equity that counts as equal
FIND_VECTORBT = "import importlib.metadata as m; print(m.version('vectorbt'))"
VECTORBT_SIDE = """
import pathlib, sys
import numpy as np
import vectorbt as vbt

for path in sorted(pathlib.Path(sys.argv[1]).glob("episode-*.npz")):
    e = np.load(path)
    def equity(size, size_type, fee=e["fee"].item(), val_price=e["known_close"]):
        portfolio = vbt.Portfolio.from_orders(
            e["close"], size=size, size_type=size_type, direction="longonly", price=e["open"], val_price=val_price,
            fees=fee, fixed_fees=0.0, min_size=0.0, slippage=e["half_spread"].item(),
            max_size=e["max_size"], init_cash=e["cash"].item(), freq="1h",
        )
        return np.asarray(portfolio.value(), dtype=np.float64).ravel()
    np.savez(
        path.with_name("vectorbt-" + path.name),
        targets=equity(e["target"], "targetpercent"),
        fills=equity(e["fill"], "amount"),
        planted_fee=equity(e["target"], "targetpercent", fee=1.01 * e["fee"].item()),
        valued_at_fill=equity(e["target"], "targetpercent", val_price=np.inf),
    )
"""


@dataclass(frozen=True)
class Scenario:
    """What is traded: costs, limits and how often targets change.

    Attributes:
        fee: per filled notional. half_spread: fraction paid on every fill. cash: quote currency at the start.
        tolerance: rebalance tolerance. participation: share of a bar's volume. keep: chance that a target is kept.
    """

    name: str
    fee: float = 0.001
    half_spread: float = 0.0005
    cash: float = 10_000.0
    tolerance: float = 0.05
    participation: float = 0.1
    keep: float = 0.8


SCENARIOS = (
    Scenario("default tolerance"),
    Scenario("rebalanced at every bar", fee=0.0004, half_spread=0.0001, tolerance=0.0),
    Scenario("cut by participation", fee=0.0004, half_spread=0.0002, cash=2e7, participation=0.02),
    Scenario("free of fees", fee=0.0, half_spread=0.001),
)


@dataclass(frozen=True)
class Episode:
    """One episode of the environment, all arrays (T,) float64; row i is the bar in which order i would fill.

    Attributes:
        known_close: close of the bar before, what the order is sized at. open, close: of the bar.
        target: target percent of equity, NaN where no order is due or the bar has no volume.
        max_size: participation cap in base units. fill: signed base quantity that the environment filled.
        equity: marked at `close`. statuses: count of each order status.
    """

    scenario: Scenario
    known_close: NDArray[np.float64]
    open: NDArray[np.float64]
    close: NDArray[np.float64]
    target: NDArray[np.float64]
    max_size: NDArray[np.float64]
    fill: NDArray[np.float64]
    equity: NDArray[np.float64]
    statuses: dict[str, int]


def gapped_bars(count: int, seed: int = 0) -> pd.DataFrame:
    """Random-walk bars whose opens differ from the close before, so that it matters which price values a target."""
    rng = np.random.default_rng(seed)
    bars = walk_bars(count, seed)
    bars["open"] *= np.exp(0.001 * rng.standard_normal(count))
    bars["high"], bars["low"] = bars[["open", "high"]].max(axis=1), bars[["open", "low"]].min(axis=1)
    bars.loc[bars.index[rng.random(count) < 0.01], "volume"] = 0.0
    return bars


def random_targets(steps: int, keep: float, rng: np.random.Generator) -> list[float]:
    """(steps,) target exposures in [0, 1]: kept with chance `keep`, else all in, all out, or anything between."""
    targets, target = [], 0.0
    for _ in range(steps):
        if rng.random() >= keep:
            target = float(rng.choice([0.0, 1.0, rng.random(), rng.random()]))
        targets.append(target)
    return targets


def play(market: Market, scenario: Scenario, steps: int, seed: int) -> Episode:
    """Trade `steps` random targets on `market` and record bars, orders, fills and equity.

    Raises:
        RuntimeError: the account was ruined on the way, so that there is no equity to compare.
    """
    env = cryptoenv.CryptoTradeEnv(
        market,
        window=(1,),
        instrument="spot",
        actions="continuous",
        observation="index",
        costs=Costs(fee=scenario.fee, half_spread=scenario.half_spread, impact=0.0),
        limits=RiskLimits(participation=scenario.participation, rebalance_tolerance=scenario.tolerance),
        initial_cash=scenario.cash,
        episode_bars=steps,
    )
    _, info = env.reset(seed=seed)
    first, last_target = info["bar"], 0.0
    volume = market.bars["volume"].to_numpy()
    due, fill, equity, statuses = np.full(steps, np.nan), np.zeros(steps), np.zeros(steps), dict[str, int]()
    for i, target in enumerate(random_targets(steps, scenario.keep, np.random.default_rng(seed))):
        wanted = target != last_target or abs(target - info["exposure"]) > scenario.tolerance
        if wanted and volume[first + 1 + i] > 0.0:
            due[i] = target
        info = env.step(np.array([target]))[4]
        last_target = target
        fill[i], equity[i] = info["fill_quantity"], info["equity"]
        status = info["order_status"].name
        statuses[status] = statuses.get(status, 0) + 1
    if info["ruined"] or info["bar"] != first + steps:
        raise RuntimeError(f"scenario {scenario.name!r} (seed {seed}) did not last {steps} bars: fewer or cheaper ones")
    opened, close = (market.bars[name].to_numpy() for name in ("open", "close"))
    rows = slice(first + 1, first + 1 + steps)
    cap = np.where(volume[rows] > 0.0, scenario.participation * volume[rows], np.inf)  # vectorbt refuses a cap of 0
    return Episode(scenario, close[first : first + steps], opened[rows], close[rows], due, cap, fill, equity, statuses)


def vectorbt_version(python: str) -> str | None:
    """Version of vectorbt in the interpreter `python`, None where it has none."""
    try:
        done = subprocess.run([python, "-I", "-c", FIND_VECTORBT], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def save_episode(episode: Any, path: Path) -> None:
    """Write what vectorbt's side reads of an episode, of one market or of a portfolio."""
    names = ("known_close", "open", "close", "target", "max_size", "fill")
    arrays = {name: np.ascontiguousarray(getattr(episode, name)) for name in names}
    numbers = {name: np.float64(getattr(episode.scenario, name)) for name in ("fee", "half_spread", "cash")}
    np.savez(path, allow_pickle=False, **arrays, **numbers)


def vectorbt_equities(
    episodes: Sequence[Any], python: str, side: str = VECTORBT_SIDE
) -> list[dict[str, NDArray[np.float64]]]:
    """Equities (T,) that vectorbt reaches on each episode, by the names that `side`, the code it runs, gives them.

    Here: by `targets`, by `fills`, with a `planted_fee`, and `valued_at_fill` as its own default has it.

    Raises:
        RuntimeError: vectorbt's process failed, with the end of what it said.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i, episode in enumerate(episodes):
            save_episode(episode, folder / f"episode-{i:03d}.npz")
        done = subprocess.run([python, "-I", "-c", side, name], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"vectorbt's process failed in {python}:\n{done.stderr[-2000:]}")
        found = []
        for i in range(len(episodes)):
            with np.load(folder / f"vectorbt-episode-{i:03d}.npz") as arrays:
                found.append(dict(arrays))
        return found


def largest_difference(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Largest relative difference over all bars; infinite where one is NaN or the lengths differ."""
    if ours.shape != theirs.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return float("inf")
    return float(np.max(np.abs(ours / theirs - 1.0)))


def compare(episode: Episode, theirs: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    """Largest relative differences of one episode.

    Raises:
        AssertionError: a planted fee was not found where a fee is charged.
    """
    differences = {name: largest_difference(episode.equity, equity) for name, equity in theirs.items()}
    if episode.scenario.fee > 0.0 and not differences["planted_fee"] > 1e3 * TOLERANCE:
        raise AssertionError(f"a fee 1% higher went unnoticed in {episode.scenario.name!r}: the comparison is blind")
    return {
        "scenario": asdict(episode.scenario),
        "bars": len(episode.equity),
        "orders": int(np.isfinite(episode.target).sum()),
        "statuses": episode.statuses,
        "equity_end_over_start": float(episode.equity[-1] / episode.scenario.cash),
        "differences": differences,
        "equal": differences["targets"] <= TOLERANCE and differences["fills"] <= TOLERANCE,
    }


def parity(bars: pd.DataFrame, python: str, steps: int, seed: int = 0) -> list[dict[str, Any]]:
    """One row of differences per scenario, on random stretches of `bars`."""
    market = Market.from_bars(bars, timeframes=(detect_timeframe(pd.DatetimeIndex(bars.index)),))
    episodes = [play(market, scenario, steps, seed + i) for i, scenario in enumerate(SCENARIOS)]
    found = vectorbt_equities(episodes, python)
    return [compare(episode, theirs) for episode, theirs in zip(episodes, found, strict=True)]


def main() -> None:
    """Compare on all scenarios, print the differences, write them; exit 1 where equities differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has vectorbt")
    parser.add_argument("--bars", type=Path, help="file of bars (default: a random walk)")
    parser.add_argument("--steps", type=int, default=10_000, help="bars per scenario")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/vectorbt_parity.json"))
    options = parser.parse_args()
    version = vectorbt_version(options.python)
    if version is None:
        parser.error(f"{options.python} has no vectorbt: pip install vectorbt in an environment and pass its --python")
    bars = gapped_bars(2 * options.steps) if options.bars is None else cryptoenv.read_bars(options.bars)
    rows = parity(bars, options.python, options.steps, options.seed)
    print(f"{'largest relative difference':28s}{'orders':>8s}{'targets':>12s}{'fills':>12s}", end="")
    print(f"{'fee +1%':>12s}{'valued at fill':>16s}")
    for row in rows:
        d = row["differences"]
        print(f"{row['scenario']['name']:28s}{row['orders']:8d}{d['targets']:12.2e}{d['fills']:12.2e}", end="")
        print(f"{d['planted_fee']:12.2e}{d['valued_at_fill']:16.2e}  {row['statuses']}")
    source = "random walk" if options.bars is None else options.bars.name
    result = {**header(), "vectorbt": version, "bars": source, "tolerance": TOLERANCE, "rows": rows}
    write_result(options.out, result)
    sys.exit(0 if all(row["equal"] for row in rows) else 1)


if __name__ == "__main__":
    main()
