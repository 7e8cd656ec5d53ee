"""Future poison over everything that stands between bars and a decision, family by family."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cryptoenv.analysis.leakage import Leak, check_fit, future_reads, leading_columns
from cryptoenv.bars.bars import bars_timeframe
from cryptoenv.bars.price_columns import BAR_COLUMNS
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.features import FeatureSpec, LookAheadError
from cryptoenv.market.market import Market

LOOKS = 8  #: rows of each family after which bars are replaced
WARM_UP_DAYS = 100  #: last days of the bars that models are tried on


@dataclass(frozen=True)
class Suspects:
    """What is to be checked.

    Attributes:
        bars: with further columns, where there are some.
        timeframes: of the market whose features are checked, base first.
        features: their spec, a user's own functions among them.
        labels: values by the open of their bar. look_ahead: bars that they may look ahead.
        model: a `pretrain.Predictor`. agent: an `agents.Agent`.
        functions: further makings by name, from bars to a table.
        fits: what is fitted on the bars before row `until`, by name.
        until: row after the last training bar.
    """

    bars: pd.DataFrame
    timeframes: tuple[str, ...] = ("15m", "4h", "1d")
    features: FeatureSpec | None = field(default_factory=FeatureSpec)
    labels: pd.DataFrame | None = None
    look_ahead: int = 0
    model: Any = None
    agent: Any = None
    functions: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = field(default_factory=dict)
    fits: dict[str, Callable[[pd.DataFrame], dict[str, Any]]] = field(default_factory=dict)
    until: int | None = None


def check_leakage(suspects: Suspects, *, looks: int = LOOKS, seed: int = 0) -> Iterator[tuple[str, list[Leak]]]:
    """Check family by family: features, further columns, labels, functions, fits, the model, the agent.

    Args:
        suspects: what to check.
        looks: rows of each family after which bars are replaced.
        seed: of draws and poison.

    Yields:
        The name of each family as it is done, and what was found; nothing where it is clean.
    """
    bars, options = suspects.bars, {"looks": looks, "seed": seed}
    if suspects.features is not None:
        making = _features(suspects.timeframes, suspects.features)
        yield "features", _reads(making, bars, "features", suspects.timeframes[0], options)
    further = bars.columns.difference(list(BAR_COLUMNS))
    if len(further):
        yield "columns of the bars", leading_columns(bars[further], bars, part="columns of the bars")
    if suspects.labels is not None:
        found = leading_columns(suspects.labels, bars, part="labels", allowed=suspects.look_ahead)
        yield "labels", found
    for name, function in suspects.functions.items():
        yield name, future_reads(function, bars, part=name, **options)
    for name, fit in suspects.fits.items():
        yield name, check_fit(fit, bars, suspects.until or len(bars) // 2, part=name, seed=seed)
    late = bars[bars.index >= bars.index[-1] - pd.Timedelta(WARM_UP_DAYS, "D")]
    if suspects.model is not None:
        base = suspects.model.layout.timeframes[0]
        yield "model", _reads(suspects.model.predict, late, "model", base, options)
    if suspects.agent is not None:
        base = suspects.agent.settings.timeframes[0]
        yield "agent", _reads(_targets(suspects.agent), late, "agent", base, options)


def _reads(
    making: Callable[[pd.DataFrame], pd.DataFrame], bars: pd.DataFrame, part: str, base: str, options: dict[str, int]
) -> list[Leak]:
    """`future_reads`, where a row is of a bar of `base`, which several of the bars given may make up."""

    def of_bars_there(given: pd.DataFrame) -> pd.DataFrame:
        table = making(given)
        return table[table.index.isin(given.index)]  # a gap has rows, and no bar

    inside = timeframe_ms(base) // timeframe_ms(bars_timeframe(bars))
    try:
        return future_reads(of_bars_there, bars, part=part, allowed=max(inside - 1, 0), **options)
    except LookAheadError as error:  # a user's feature, as the market is made
        return [Leak(part, error.feature, None if error.future else 0, error.bar)]


def _features(timeframes: tuple[str, ...], spec: FeatureSpec) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def making(bars: pd.DataFrame) -> pd.DataFrame:
        market = Market.from_bars(bars, timeframes, features=spec)
        parts = []
        first = market.first_decision((1,) * len(timeframes))
        for k, timeframe in enumerate(timeframes):
            rows = market.align[first:, k]
            names = [f"{timeframe} {name}" for name in market.feature_names[k]]
            parts.append(pd.DataFrame(market.features[k][rows], index=market.bars.index[first:], columns=names))
        return pd.concat(parts, axis=1)

    return making


def _targets(agent: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    from agents.evaluation.backtest.deciders import agent_targets

    def making(bars: pd.DataFrame) -> pd.DataFrame:
        market = agent.market(bars)
        return pd.DataFrame({"target": agent_targets(agent, market)}, index=market.bars.index).dropna()

    return making


def function_in(place: str) -> Callable[..., Any]:
    """A user's own function: "file.py:name". The file is run, as `python file.py` would.

    Raises:
        ValueError: no such form, file or name.
    """
    import importlib.util

    path, colon, name = place.rpartition(":")
    if not colon or not Path(path).is_file():
        raise ValueError(f"{place!r} names no function: say FILE.py:NAME")
    spec = importlib.util.spec_from_file_location(f"_suspect_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(found):
        raise ValueError(f"{path} has no function {name!r}")
    return found
