"""Bodies to what models read: bars, windows and tokens, refused by name where they do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from agents.live.serving.bodies import (
    MS_OF_1973,
    MS_OF_2262,
    Account,
    Bars,
    BodyError,
    PredictSequence,
    PredictToken,
)
from cryptoenv.bars.price_columns import BAR_COLUMNS
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.env.episode import ACCOUNT_OBSERVATION, observe_account
from cryptoenv.trading.account import (
    ACCOUNT_WIDTH,
    BARS_HELD,
    CLOSE_PRICE,
    DRAWDOWN,
    EQUITY,
    EXPOSURE,
    QUANTITY,
    TARGET,
)
from pretrain import MarketLayout
from pretrain.tokens.series import SeriesError, TokenSeries

T = TypeVar("T")


def bar_table(asked: Bars, layout: MarketLayout) -> pd.DataFrame:
    """Bars as a table, with the further columns.

    Raises:
        BodyError: rows of another length, times that are none, out of order or with gaps.
    """
    return _table(asked.bars, asked.columns, "bars", asked.timeframe, layout, asked.gaps)


def reference_table(asked: Bars, layout: MarketLayout) -> pd.DataFrame | None:
    """Bars of the reference market, or None; errors as `bar_table`."""
    if asked.reference is None:
        return None
    return _table(asked.reference, [], "reference", asked.timeframe, layout, asked.gaps)


def _table(
    rows: Sequence[Sequence[float]], further: Sequence[str], what: str, timeframe: str | None, layout: MarketLayout,
    gaps: bool,
) -> pd.DataFrame:  # fmt: skip
    names = [*BAR_COLUMNS, *further]
    if len(set(names)) != len(names):
        raise BodyError(f"columns: {names} name a column twice")
    values = _rectangle(rows, 1 + len(names), what, f"[time in ms, {', '.join(names)}]")
    times = values[:, 0]
    wrong = (times != np.floor(times)) | (times < MS_OF_1973) | (times > MS_OF_2262)
    if wrong.any():
        row = int(wrong.argmax())
        raise BodyError(
            f"{what}[{row}][0]: {times[row]:.17g} is no time: whole milliseconds since 1970, of 1973 or later "
            "(seconds have three digits less)"
        )
    opens = times.astype(np.int64)
    steps = np.diff(opens)
    if (steps <= 0).any():
        row = int((steps <= 0).argmax()) + 1
        raise BodyError(f"{what}[{row}][0]: bars must come oldest first, each once; this one is not later than before")
    step = _step(timeframe, steps, layout)
    if len(steps) and not gaps and (steps != step).any():
        row = int((steps != step).argmax()) + 1
        missing = pd.Timestamp(int(opens[row - 1]) + step, unit="ms", tz="UTC").isoformat()
        raise BodyError(
            f"{what}[{row}][0]: a gap: the next bar opens at {missing}. Send the bars that are missing, or gaps: true "
            "where the exchange has none: they are then flat and without volume"
        )
    index = pd.DatetimeIndex(opens.astype("datetime64[ms]"), name="timestamp").tz_localize("UTC")
    return pd.DataFrame(values[:, 1:], index=index, columns=names)


def _step(timeframe: str | None, steps: NDArray[np.int64], layout: MarketLayout) -> int:
    base = timeframe_ms(layout.timeframes[0])
    if timeframe is not None:
        try:
            step = timeframe_ms(timeframe)
        except ValueError as error:
            raise BodyError(f"timeframe: {error}") from None
    else:
        step = int(steps.min()) if len(steps) else base
    if step > base or base % step:
        raise BodyError(
            f"bars of {pd.Timedelta(step, unit='ms')} make no bars of {layout.timeframes[0]}, which the model reads: "
            f"send bars of {layout.timeframes[0]}, or of a finer timeframe that divides it"
        )
    return step


def _rectangle(rows: Sequence[Sequence[float]], width: int, what: str, form: str) -> NDArray[np.float64]:
    """(n, width) float64.

    Raises:
        BodyError: a row has another length.
    """
    if isinstance(rows, np.ndarray) and rows.shape[1] == width:
        return rows
    for number, row in enumerate(rows):
        if len(row) != width:
            raise BodyError(f"{what}[{number}] has {len(row)} numbers; expected {width}: {form}")
    return np.array(rows, np.float64)


def window_shapes(layout: MarketLayout) -> dict[str, list[int]]:
    """Shape (bars, features) of a window per timeframe."""
    widths = (len(names) for names in layout.feature_names)
    return {name: [bars, width] for name, bars, width in zip(layout.timeframes, layout.window, widths, strict=True)}


def sequence_windows(asked: PredictSequence, layout: MarketLayout) -> tuple[torch.Tensor, ...]:
    """One (W_k, F_k) float32 tensor per timeframe.

    Raises:
        BodyError: other timeframes or shapes than the model reads; the message names the expected ones.
    """
    shapes = window_shapes(layout)
    given = asked.sequence
    if not isinstance(given, dict):
        if len(shapes) > 1:
            raise BodyError(f"sequence: expected an object of one table per timeframe, of the shapes {shapes}")
        given = {layout.timeframes[0]: given}
    if set(given) != set(shapes):
        raise BodyError(f"sequence: expected the timeframes and shapes {shapes}, got {sorted(given)[:10]}")
    out = []
    for name, (bars, width) in shapes.items():
        place = "sequence" if len(shapes) == 1 else f"sequence.{name}"
        rows = given[name]
        if len(rows) != bars:
            raise BodyError(f"{place}: expected the shape [{bars}, {width}] (bars, features), got {len(rows)} rows")
        values = _rectangle(rows, width, place, f"the shape is [{bars}, {width}] (bars, features)")
        out.append(torch.from_numpy(values.astype(np.float32)))
    return tuple(out)


def token_series(asked: PredictToken) -> TokenSeries:
    """A token's rows.

    Raises:
        BodyError: rows that are no token's.
    """
    values = _rectangle(asked.token, 6, "token", "[time in ms, price, volume, liquidity, buys, sells]")
    times = values[:, 0]
    if ((times != np.floor(times)) | (times < MS_OF_1973) | (times > MS_OF_2262)).any():
        raise BodyError("token: times must be whole milliseconds since 1970, of 1973 or later")
    values = np.ascontiguousarray(np.column_stack([values[:, 1:], values[:, 1] * asked.supply]))
    try:
        return TokenSeries("token", times.astype(np.int64), values, asked.supply)
    except SeriesError as error:
        raise BodyError(str(error)) from None


def observed(account: Account, limit: float) -> NDArray[np.float32]:
    """(5,) float32: what an agent observes of an account, by the environment's own code.

    Args:
        account: as told.
        limit: of exposure, in the agent's settings.
    """
    row = np.zeros(ACCOUNT_WIDTH)
    row[EXPOSURE], row[DRAWDOWN], row[BARS_HELD] = account.exposure, account.drawdown, account.bars_held
    row[TARGET] = account.exposure if account.target is None else account.target
    row[QUANTITY], row[CLOSE_PRICE], row[EQUITY] = account.unrealised_return, 1.0, 1.0
    out = np.zeros(ACCOUNT_OBSERVATION, np.float32)
    observe_account(row, out, limit)
    return out


def needs_of(layout: MarketLayout) -> dict[str, Any]:
    """What a request to a model must bring, ready for JSON."""
    base = timeframe_ms(layout.timeframes[0])
    return {
        "timeframe": layout.timeframes[0],
        "timeframes": list(layout.timeframes),
        "columns": list(layout.features.columns),
        "reference": layout.reference,
        "bars": int(layout.decidable_ms(0) // base),
        "sequence": window_shapes(layout),
        "features": {name: list(names) for name, names in zip(layout.timeframes, layout.feature_names, strict=True)},
    }
