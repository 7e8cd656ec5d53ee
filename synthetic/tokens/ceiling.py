"""What can be known of a token's future: a bound that no forecaster of its past can pass, from the generator's truth.

Who knows the generator's hidden state knows more than who saw the bars: the mood and the restlessness of the crowd,
what it thinks fair, and every event that has begun, to its end. What has not begun is drawn anew, and so is every
trade. Forecasts of that knower are as good as any can be; a causal forecaster has to infer the state, and may not
reach them.
For pumps the knower sees who gathers and since when, but not whether, or when, a pump follows: nobody could.

Shape legend: `T` bars, `P` paths.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from synthetic.tokens.events import (
    GATHERING_LEAST,
    GATHERING_MEDIAN,
    GATHERING_SPREAD,
    EventCounts,
    Forces,
    plan_events,
)
from synthetic.tokens.market import TokenConfig, TokenSample, autoregression
from synthetic.tokens.pool import CLOSE, Flow, PoolNumbers, trade_bars

Floats = NDArray[np.float64]


def gathering_ends_by(rows: Floats) -> Floats:
    """Probability that a gathering lasts at most so many bars (whole numbers, any shape)."""
    z = np.log(np.maximum(rows + 0.5, 1e-12) / GATHERING_MEDIAN) / GATHERING_SPREAD
    erf = np.vectorize(math.erf, otypes=[np.float64])
    return np.where(rows < GATHERING_LEAST, 0.0, 0.5 * (1.0 + erf(z / math.sqrt(2.0))))


def pump_chances(sample: TokenSample, token: str, ahead: int) -> Floats:
    """(T,) probability that a pump starts within the next `ahead` bars, for who sees every gathering.

    A gathering is a pump's with the share of pumps among what has not come to its end; it ends by its law. Of pumps
    whose gathering has not begun, the start is as likely in every bar that is left. Gatherings count as independent of
    each other, which they are but for the number of pumps that is left.

    Args:
        sample: the market.
        token: of it.
        ahead: bars, at least 1.
    """
    events = sample.events[sample.events["token"] == token]
    length = sample.config.bars
    pumps = events[events["kind"] == "pump_and_dump"]
    decoys = events[events["kind"] == "accumulation"]
    starts = np.concatenate([(pumps["first"] - pumps["gathering"]).to_numpy(), decoys["first"].to_numpy()])
    ends = np.concatenate([pumps["first"].to_numpy(), (decoys["last"] + 1).to_numpy()])  # first bar after it
    t = np.arange(length)
    left_pumps = (t[:, None] < pumps["first"].to_numpy()).sum(axis=1)
    left = (t[:, None] < ends).sum(axis=1)
    real = left_pumps / np.maximum(left, 1)
    none = np.ones(length)
    at_work = np.zeros(length)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        rows = np.arange(max(0, start), min(end, length))
        age = (rows - start + 1).astype(np.float64)
        over = gathering_ends_by(age - 1.0)
        soon = (gathering_ends_by(age - 1.0 + ahead) - over) / np.maximum(1.0 - over, 1e-12)
        none[rows] *= 1.0 - real[rows] * soon
        at_work[rows] += 1.0
    late = np.maximum(left - at_work, 0.0) * real  # pumps to be expected of gatherings that have not begun
    each = gathering_ends_by(np.arange(ahead, dtype=np.float64)).sum() / np.maximum(length - t, ahead)
    return 1.0 - none * (1.0 - each) ** late


def known_futures(
    sample: TokenSample, token: str, row: int, *, steps: int, paths: int, seed: int = 0
) -> Floats:
    """(P, steps) prices after bar `row`, as they may come for who knows the generator's state there.

    Args:
        sample: the market.
        token: of it.
        row: the last bar that is known.
        steps: bars ahead; paths end with the market's last bar only if they are cut there by the caller.
        paths: how many.
        seed: of what is drawn anew.
    """
    config = sample.config
    number = list(sample.bars).index(token)
    rng = np.random.default_rng([sample.seed, number])
    assert config.events is not None
    forces, begun = plan_events(config.events, config.bars, rng, until=row)
    mood = config.mood * autoregression(rng.standard_normal(config.bars), config.mood_memory)[row]
    restless = config.activity_spread * autoregression(rng.standard_normal(config.bars), config.mood_memory)[row]
    counts = {kind: count - sum(e.kind == kind for e in begun) for kind, count in vars(config.events).items()}
    pool, shift = _state(sample, token, row, forces)
    out = np.empty((paths, steps))
    for path in range(paths):
        own = np.random.default_rng([seed, sample.seed, number, row, path])
        ahead = _ahead(forces, EventCounts(**counts), row + 1, steps, max(config.bars - row - 1, 1), own)
        flow = _flow(config, ahead, (mood, restless), shift, own)
        out[path] = trade_bars(flow, pool)[0][:, CLOSE]
    return out


def _state(sample: TokenSample, token: str, row: int, forces: Forces) -> tuple[PoolNumbers, float]:
    """The pool after a bar, and the log distance of what is thought fair to its price there, forces apart."""
    config, bars, truth = sample.config, sample.bars[token], sample.truth[token]
    x, y = float(bars["liquidity"].iloc[row]), float(truth["token_reserve"].iloc[row])
    reserve = np.concatenate([[config.token_reserve], truth["token_reserve"].to_numpy()[: row + 1]])
    bought = -(reserve[1:] - reserve[:-1] * forces.liquidity[: row + 1]).sum()  # tokens that trades took out
    outside = max(config.supply - config.token_reserve + bought, 0.0)
    value, price = float(truth["log_value"].iloc[row]), float(np.log(bars["close"].iloc[row]))
    fair = value - forces.log_value[row] + (1.0 - config.value_memory) * (price - value)
    return PoolNumbers(x, y, outside, config.fee, config.pull, config.value_memory), fair - math.log(x / y)


def _ahead(forces: Forces, counts: EventCounts, first: int, steps: int, left: int, rng: np.random.Generator) -> Forces:
    """(steps,) forces: of the events that have begun, and of others drawn over the bars that are left."""
    length = max(left, steps)
    new, _ = plan_events(counts, length, rng, earliest=0, latest=left)
    known = [part[first : first + steps] for part in forces]
    padded = [np.concatenate([part, np.full(steps - len(part), rest)]) for part, rest in zip(known, _REST, strict=True)]
    if len(known[3]) < steps and len(forces.log_value):
        padded[3][len(known[3]) :] = forces.log_value[-1]
    mine = [part[:steps] for part in new]
    return Forces(
        padded[0] * mine[0], padded[1] * mine[1], padded[2] + mine[2], padded[3] + mine[3], padded[4] * mine[4],
        np.maximum(padded[5], mine[5]),
    )  # fmt: skip


_REST = (1.0, 1.0, 0.0, 0.0, 1.0, 0.0)  #: of each of `Forces`, where nothing happens


def _flow(
    config: TokenConfig, forces: Forces, state: tuple[float, float], shift: float, rng: np.random.Generator
) -> Flow:
    """An order flow that goes on from a mood and a restlessness."""
    steps = len(forces.size)
    going = []
    for value, deviation in zip(state, (config.mood, config.activity_spread), strict=True):
        shocks = deviation * math.sqrt(1.0 - config.mood_memory**2) * rng.standard_normal(steps)
        values = np.empty(steps)
        for t in range(steps):
            value = config.mood_memory * value + shocks[t]
            values[t] = value
        going.append(values)
    trades = rng.poisson(config.trades_per_bar * np.exp(going[1]) * forces.activity)
    total = int(trades.sum())
    return Flow(
        trades.astype(np.int64), config.trade_size * forces.size, going[0] + forces.pressure, forces.log_value + shift,
        forces.liquidity, rng.random(total), config.size_spread * rng.standard_normal(total),
    )  # fmt: skip

