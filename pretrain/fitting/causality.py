"""Does a model know the future? All bars after a decision are replaced, and no bit of its prediction may change."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptoenv.bars.bars import bars_timeframe, indexed_bars
from cryptoenv.bars.price_columns import BAR_COLUMNS
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.features import LookAheadError
from pretrain.data.stretches import STRETCH
from pretrain.fitting.predicting import Predictor


def check_predictions(model: Predictor, bars: pd.DataFrame, *, decisions: int | None = 1000, seed: int = 0) -> int:
    """Checks that no prediction depends on bars after its own: from raw bars to the model's output.

    Args:
        model: any; its features are not taken against a reference market.
        bars: as for `Predictor.predict`.
        decisions: how many, drawn at random, to look at; None for all.
        seed: of the draw, and of the bars put after each decision.

    Returns:
        How many decisions were looked at.

    Raises:
        LookAheadError: a prediction that changed; it names column and bar.
        BarsError: bars that cannot be used, or too few.
    """
    bars = indexed_bars(bars)
    table = model.predict(bars)
    rng = np.random.default_rng(seed)
    chosen = np.arange(len(table))
    if decisions is not None and decisions < len(chosen):
        chosen = np.sort(rng.choice(chosen, decisions, replace=False))
    base = pd.Timedelta(timeframe_ms(model.layout.timeframes[0]), unit="ms")
    step = pd.Timedelta(timeframe_ms(bars_timeframe(bars)), unit="ms")
    reach = (STRETCH + model.layout.window[0]) * base
    start_ms = int(bars.index[0].value // 1_000_000)
    depth = pd.Timedelta(model.layout.decidable_ms(start_ms) - start_ms, unit="ms") + 2 * reach
    for row in chosen:
        moment = table.index[int(row)]
        first = max((moment - depth).floor("7D"), bars.index[0])
        known = bars.loc[first : moment + base - step]
        later = model.predict(pd.concat([known, _poison(known, step, 2 * int(base / step) * STRETCH // 8, rng)]))
        before, after = (np.ascontiguousarray(t.loc[moment].to_numpy(np.float32)) for t in (table, later))
        wrong = np.flatnonzero(before.view(np.int32) != after.view(np.int32))
        if len(wrong):
            raise LookAheadError(model.columns[int(wrong[0])], model.layout.timeframes[0], moment, True)
    return len(chosen)


def _poison(known: pd.DataFrame, step: pd.Timedelta, count: int, rng: np.random.Generator) -> pd.DataFrame:
    """`count` bars after those known: a wild walk from the last close, further columns drawn from their past."""
    close = float(known["close"].iloc[-1]) * np.exp(np.cumsum(rng.normal(0.0, 0.02, count)))
    opened = np.append(known["close"].iloc[-1], close[:-1])
    wick = np.exp(rng.exponential(0.01, (2, count)))
    index = pd.date_range(known.index[-1] + step, periods=count, freq=step, name=known.index.name)
    columns = (opened, np.maximum(opened, close) * wick[0], np.minimum(opened, close) / wick[1], close)
    bars = pd.DataFrame(dict(zip(BAR_COLUMNS[:4], columns, strict=True)), index=index)
    bars["volume"] = float(known["volume"].mean()) * rng.lognormal(0.0, 2.0, count)
    return bars.assign(**{name: rng.choice(known[name], count) for name in known.columns if name not in bars.columns})
