"""What every model can do with a market or with bars: predictions as one table, for all of history or bar by bar."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryptoenv.bars.bars import indexed_bars
from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.market.market import Market
from pretrain.fitting.artifact_folder import ArtifactError
from pretrain.fitting.blocks import Block, GrowingBlock, market_blocks
from pretrain.fitting.closing_bars import ClosedBar, ClosingBars, known_history
from pretrain.fitting.market_layout import MarketLayout
from pretrain.fitting.packing import Wanted


class _OneThread:
    """Products of matrices round differently on several threads: predictions use one, wherever they are made.

    Torch's number of threads is one setting of the process, so the last of the predictions at work puts it back.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = Lock(), 0, 1

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = torch.get_num_threads()
                torch.set_num_threads(1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                torch.set_num_threads(self._before)


_ONE_THREAD = _OneThread()


def on_one_thread() -> _OneThread:
    """A context in which torch uses one thread, as every prediction does."""
    return _ONE_THREAD


def chosen_device(name: str) -> torch.device:
    """The device of that name: "cpu", "cuda", "cuda:1", "mps", or "auto" for a GPU where there is one.

    Raises:
        ValueError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        said = str(error).splitlines()[0]
        raise ValueError(
            f'device={name!r} cannot be used here ({said}); "auto" takes a GPU where there is one'
        ) from error
    if device.type == "meta":
        raise ValueError('device="meta" holds no numbers; allowed: "cpu", "cuda", "auto"')
    return device


class Predictor(ABC):
    """A trained model with the layout of the markets it reads. What `pretrain.load` returns is one of these.

    A model says what its `columns` are and fills them for one block of decisions; the rest is here, the same for all.
    On one device, `predict` of a market, of longer bars, of the last bars alone and bar by bar give the same bits.

    Attributes:
        device: where the network is.
    """

    device: torch.device = torch.device("cpu")
    _stream: PredictionStream | None = None

    @property
    @abstractmethod
    def layout(self) -> MarketLayout:
        """Timeframes, windows and features."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """C names of the columns of a prediction."""

    @abstractmethod
    def read(self, block: Block) -> NDArray[np.float32]:
        """(S, C) float32 predictions of a block, whose tensors are on `device`; no row may depend on later bars."""

    def read_at(self, block: Block, place: int) -> NDArray[np.float32]:
        """(C,) float32: row `place` of `read`, bit for bit; a model that needs less than the block overrides it."""
        row: NDArray[np.float32] = self.read(block)[place]
        return row

    def read_several(self, wanted: Wanted) -> NDArray[np.float32]:
        """(n, C) float32: `read_at` of n blocks, bit for bit; a model that reads them together overrides it.

        Args:
            wanted: blocks, their tensors on `device`, and the place of the decision in each; at least one.
        """
        return np.stack([self.read_at(block, place) for block, place in wanted])

    def read_scaled(
        self, windows: Sequence[torch.Tensor], sigma: NDArray[np.float64], closes_ms: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """(n, C) float32 predictions of windows whose features are scaled already, by the artifact's own scaler.

        Args:
            windows: (n, W_k, F_k) float32 per timeframe, on `device`, oldest bar first.
            sigma: (n,) standard deviation of the base bars' log-returns, the unit of predicted returns.
            closes_ms: (n,) when the last base bar closed, for a model that knows the hour.

        Raises:
            ArtifactError: the model reads more than windows.
        """
        raise ArtifactError(f"{type(self).__name__} reads more than one window of features: give bars")

    @abstractmethod
    def to(self, device: str) -> Self:
        """The model, its network moved to a device."""

    @abstractmethod
    def draw(self, market: Market, table: pd.DataFrame, folder: Path) -> tuple[Path, ...]:
        """Draw predictions (`predict` of that market, or its last rows) over the price; the files made."""

    def tables(self, market: Market, table: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
        """Further tables of `predict(market)`, by the name of the file that they are written to: .parquet or .csv."""
        return {}

    def market(
        self,
        bars: pd.DataFrame,
        *,
        reference: pd.DataFrame | None = None,
        funding: pd.Series | None = None,
        name: str = "",
        timeframe: str | None = None,
    ) -> Market:
        """The market of raw bars with this model's timeframes and features: as `MarketLayout.market`."""
        return self.layout.market(bars, reference=reference, funding=funding, name=name, timeframe=timeframe)

    def require(self, market: Market, window: tuple[int, ...] | None = None) -> None:
        """Refuse a market, or an environment's `window`, that the model was not trained for.

        Raises:
            ArtifactError: names what differs, what the model needs and what it was given.
        """
        self.layout.require(market, window)

    def over_blocks(
        self, market: Market, read: Callable[[Block], NDArray[np.float32]]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """What `read` makes of a market, block by block, on one thread and without gradients.

        Args:
            market: of the model's layout.
            read: (S, ...) from a block on the model's device.

        Returns:
            (n,) rows of the market that can be decided at, and (n, ...) what was read of them.

        Raises:
            ArtifactError: the market does not fit. BarsError: it is too short for one decision.
        """
        self.require(market)
        found, parts = [], []
        with _ONE_THREAD, torch.inference_mode():
            for rows, places, block in market_blocks(market, self.layout):
                found.append(rows)
                parts.append(read(block.to(self.device))[places])
        return np.concatenate(found), np.concatenate(parts)

    def predict(self, source: Market | pd.DataFrame, *, reference: pd.DataFrame | None = None) -> pd.DataFrame:
        """What the model says at the close of every bar that it can decide at.

        Args:
            source: a market of the model's layout, or raw bars, from which it is made.
            reference: with bars, those of the reference market, where the features are taken against one.

        Returns:
            float32, one column per name of `columns`, one row per decidable bar: indexed by the bar's open (UTC), as
            bars are; it is known when that bar closes.

        Raises:
            ArtifactError: the market does not fit. BarsError: bars that cannot be used, or too few for one decision.
        """
        if isinstance(source, Market):
            if reference is not None:
                raise ArtifactError("reference= goes with bars: a market brings its own")
            market = source
        else:
            market = self.market(source, reference=reference)
        rows, values = self.over_blocks(market, self.read)
        return self._table(market.start_ms + timeframe_ms(market.timeframes[0]) * rows, values)

    def forecast(self, source: Market | pd.DataFrame, steps: int | None = None, **options: Any) -> pd.DataFrame:
        """Forecasts of the next `steps` bars as a table, where the model is a forecaster.

        Raises:
            ArtifactError: it is none.
        """
        said = f"{type(self).__name__} forecasts no steps ahead"
        raise ArtifactError(f"{said}: its predictions are {self.columns[:4]}...")

    def stream(
        self,
        history: pd.DataFrame | None = None,
        *,
        reference: pd.DataFrame | None = None,
        timeframe: str | None = None,
    ) -> PredictionStream:
        """Predictions of bars to come.

        Args:
            history: closed bars until now, from which nothing is predicted.
            reference: bars of the reference market over `history`; later bars bring its close in a column "reference".
            timeframe: of the bars, the base or a finer one; found out from `history`, else the base.
        """
        return PredictionStream(self, history, reference=reference, timeframe=timeframe)

    def start_stream(self, history: pd.DataFrame | None = None, **options: Any) -> None:
        """Let `predict_stream` go on from `history`; arguments as for `stream`."""
        self._stream = self.stream(history, **options)

    def predict_stream(self, bar: pd.DataFrame | pd.Series | Mapping[str, Any]) -> pd.DataFrame:
        """Take in one closed bar of the model's own stream, which is empty until `start_stream` or the first bar.

        Args:
            bar: a row of bars: a table of one row (or more, in order), a Series named by its open, or a mapping with
                "timestamp"; with the further columns that the features read.

        Returns:
            The rows of `predict` that became known: one where a base bar closed that can be decided at, else none (more
            than one where bars were missing before it, which are filled in as in a market).

        Raises:
            BarsError: a bar that cannot be used; the stream is as it was.
        """
        if self._stream is None:
            self._stream = self.stream()
        return self._stream.append(bar)

    def _table(self, opens_ms: Sequence[int] | NDArray[np.int64], values: NDArray[np.float32]) -> pd.DataFrame:
        index = pd.DatetimeIndex(np.asarray(opens_ms, np.int64).astype("datetime64[ms]"), name="timestamp")
        return pd.DataFrame(values, index=index.tz_localize("UTC"), columns=list(self.columns))


class PredictionStream:
    """A model's predictions as bars close, each with the bits that `Predictor.predict` of all bars so far gives it."""

    def __init__(
        self,
        model: Predictor,
        history: pd.DataFrame | None = None,
        *,
        reference: pd.DataFrame | None = None,
        timeframe: str | None = None,
    ) -> None:
        """Arguments as for `Predictor.stream`."""
        self._model, self._layout = model, model.layout
        self._features = self._layout.stream()
        self._block: GrowingBlock | None = None
        self._decidable_ms = 0
        self._base_ms = timeframe_ms(self._layout.timeframes[0])
        if history is None:
            self._bars = ClosingBars(self._layout.timeframes[0], timeframe, self._layout.columns)
            return
        market = self._layout.market(history, reference=reference, timeframe=timeframe)
        known, self._bars = known_history(history, market, self._layout, reference=reference, timeframe=timeframe)
        self._features.extend(known)
        self._block = GrowingBlock.after(market, self._layout)
        self._decidable_ms = self._layout.decidable_ms(market.start_ms)

    def append(self, bar: pd.DataFrame | pd.Series | Mapping[str, Any]) -> pd.DataFrame:
        """As `Predictor.predict_stream`."""
        opens, rows = [], []
        for closed in self._bars.add(_one_bar(bar)):
            row = self._predicted(closed)
            if row is not None:
                opens.append(closed.open_ms)
                rows.append(row)
        values = np.array(rows, np.float32).reshape(len(rows), len(self._model.columns))
        return self._model._table(opens, values)

    def _predicted(self, bar: ClosedBar) -> NDArray[np.float32] | None:
        features = self._features.append_checked(bar.open_ms, bar.ohlcv, bar.columns)  # `ClosingBars` has checked it
        if self._block is None:
            self._block = GrowingBlock(self._layout, bar.open_ms)
            self._decidable_ms = self._layout.decidable_ms(bar.open_ms)
        self._block.add(float(bar.ohlcv[CLOSE]), features)
        if bar.open_ms + self._base_ms < self._decidable_ms:
            return None
        place, block = self._block.newest()
        with _ONE_THREAD, torch.inference_mode():
            return self._model.read_at(block.to(self._model.device), place)


def _one_bar(bar: pd.DataFrame | pd.Series | Mapping[str, Any]) -> pd.DataFrame:
    """One bar, or bars, as a table by their times."""
    if isinstance(bar, pd.Series):
        index = None if "timestamp" in bar.index else pd.DatetimeIndex([bar.name])
        return indexed_bars(pd.DataFrame([bar.to_dict()], index=index))
    return indexed_bars(bar if isinstance(bar, pd.DataFrame) else pd.DataFrame([dict(bar)]))
