"""What decides at each close of a live market: an agent, a segmenter, a forecaster or a file of signals.

Each takes in bars one at a time and asks for a target; all of them go through one executor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from agents.evaluation.backtest.signals import SignalsError, checked_signals
from agents.markets.embedded import EmbeddingTable
from agents.policies.agent import Agent
from agents.policies.decision import shares
from agents.policies.segmented_extractor import SegmentedExtractor
from cryptoenv.bars.price_columns import BAR_COLUMNS
from cryptoenv.bars.staleness import REFERENCE
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.features import FeatureSpec
from cryptoenv.live.feed import FeedBar
from cryptoenv.live.growing_market import BOUND_REACHED
from cryptoenv.market.market import Market
from pretrain import Extractor, MarketLayout, Predictor
from pretrain.fitting.blocks import Block
from pretrain.fitting.packing import Wanted, windows_of
from pretrain.fitting.predicting import PredictionStream, on_one_thread
from pretrain.segmenter.stream import SegmentStream

STRAIN = "strain"  #: column of the share of features that stand at their bound


@dataclass(frozen=True)
class Asked:
    """What is asked for at a close.

    Attributes:
        target: signed exposure. confidence: 0 to 1.
        probabilities: that it was chosen from, or None.
        strain: share of features at their bound.
        prediction: what the model said, to the last bit, where there are no probabilities.
    """

    target: float
    confidence: float = 1.0
    probabilities: tuple[float, ...] | None = None
    strain: float = 0.0
    prediction: bytes | None = None


class Decider(Protocol):
    """What decides.

    Attributes:
        layout: what its model reads of a market, None where it reads none.
        timeframes: of the bars, base first. window: bars per timeframe that it reads.
        columns: further columns that bars must bring.
        states: layout of a segmenter whose machines it reads: what they are in depends on where history begins.
        lowest, highest: targets that it can ask for.
    """

    layout: MarketLayout | None
    timeframes: tuple[str, ...]
    window: tuple[int, ...]
    columns: tuple[str, ...]
    states: MarketLayout | None
    lowest: float
    highest: float

    def begin(self, history: pd.DataFrame) -> None:
        """Take in the bars that have closed until now."""
        ...

    def add(self, bar: FeedBar) -> None:
        """Take in the next closed bar."""
        ...

    def decide(self, account: NDArray[np.float32]) -> Asked:
        """What to ask for at the newest close, with the account as observed, (5,) float32."""
        ...


class EmbeddingReader(Predictor):
    """An extractor's embeddings as a table, one row per bar, with the share of its newest features at their bound.

    Args:
        extractor: the artifact.
    """

    def __init__(self, extractor: Extractor) -> None:
        self.extractor, self.device = extractor, extractor.device

    @property
    def layout(self) -> MarketLayout:
        """Of the extractor."""
        return self.extractor.layout

    @property
    def columns(self) -> tuple[str, ...]:
        """D embeddings, then the strain."""
        return (*(f"e{k}" for k in range(self.extractor.config.width)), STRAIN)

    def read(self, block: Block) -> NDArray[np.float32]:
        """(S, D + 1) float32."""
        embedded = self.extractor.embedded(block).cpu().numpy()
        newest = (block.places[0] + self.layout.window[0] - 1).clamp(max=block.bars.shape[1] - 1)
        rows = block.bars[0][newest].cpu().numpy()
        strain = (~(np.abs(rows) < BOUND_REACHED)).mean(axis=1) if rows.shape[1] else np.zeros(len(rows))
        return np.concatenate([embedded, strain.astype(np.float32)[:, None]], axis=1)

    def read_at(self, block: Block, place: int) -> NDArray[np.float32]:
        """(D + 1,) float32: row `place` of `read` (`Predictor.read_at`), of a few rows instead of the whole block's."""
        embedded = self.extractor.embedded_at(block, place).cpu().numpy()
        return np.concatenate([embedded, self._strain(block, place)])

    def _strain(self, block: Block, place: int) -> NDArray[np.float32]:
        """(1,) float32: share of a decision's newest features at their bound."""
        newest = windows_of(block, place, self.layout.window[0])[0][-1].cpu().numpy()
        return np.array([(~(np.abs(newest) < BOUND_REACHED)).mean() if len(newest) else 0.0], np.float32)

    def read_several(self, wanted: Wanted) -> NDArray[np.float32]:
        """(n, D + 1) float32 of one decision of each block (`Predictor.read_several`)."""
        out = np.zeros((len(wanted), len(self.columns)), np.float32)
        for batch, embedded in self.extractor.embedded_together(wanted):
            out[batch.which, :-1] = embedded.cpu().numpy()[batch.rows]
        for row, (block, place) in zip(out, wanted, strict=True):
            row[-1] = self._strain(block, place)[0]
        return out

    def to(self, device: str) -> Self:
        """Its extractor on another device."""
        self.device = self.extractor.to(device).device
        return self

    def draw(self, market: Market, table: pd.DataFrame, folder: Path) -> tuple[Path, ...]:
        """Nothing to draw."""
        return ()


class _StreamDecider:
    """Reads a model's predictions bar by bar; the first is of the last bar of the history."""

    states: MarketLayout | None = None

    def __init__(self, model: Any, layout: MarketLayout) -> None:
        self._model = model
        self.layout: MarketLayout | None = layout
        self.timeframes, self.window, self.columns = layout.timeframes, layout.window, layout.columns
        self._stream: Any = None
        self._newest: pd.Series | None = None

    def begin(self, history: pd.DataFrame) -> None:
        """See `Decider`."""
        self._stream, self._newest = self._started(history.iloc[:-1]), None
        self._take(history.iloc[[-1]])

    def _started(self, history: pd.DataFrame) -> Any:
        return self._model.stream(history, reference=self._reference(history), timeframe=self.timeframes[0])

    def _reference(self, history: pd.DataFrame) -> pd.DataFrame | None:
        """Bars of the reference market, of which the closes alone are read; None where there is none."""
        assert self.layout is not None
        if not self.layout.reference:
            return None
        known = history[REFERENCE].dropna()
        bars = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), known), index=known.index)
        return bars.assign(volume=0.0)

    def add(self, bar: FeedBar) -> None:
        """See `Decider`."""
        self._newest = None
        self._take(bar_frame(bar))

    def _take(self, bars: pd.DataFrame) -> None:
        table = self._stream.append(bars)
        self._newest = table.iloc[-1] if len(table) else None

    def said(self) -> pd.Series:
        """What was predicted at the newest close.

        Raises:
            RuntimeError: nothing was.
        """
        if self._newest is None:
            raise RuntimeError("there is no prediction of the newest bar")
        return self._newest


class _SegmentedRows:
    """Embeddings, segments, strain: rows of an agent that reads a segmenter's states, as bars close."""

    def __init__(self, extractor: SegmentedExtractor, embedded: PredictionStream, segments: SegmentStream) -> None:
        self._extractor, self._embedded, self._segments = extractor, embedded, segments

    def append(self, bar: pd.DataFrame) -> pd.DataFrame:
        """As of a `PredictionStream`: (n, D + E + 1) float32."""
        table, told = self._embedded.append(bar), self._segments.append(bar[list(BAR_COLUMNS)])
        machines = self._extractor.segmenter.machines
        codes = [told[name].cat.codes.to_numpy() for name in machines.state_columns]
        numbers = np.stack(codes, axis=1).astype(np.int64)
        rows = self._extractor.placed(table.index, told.index, machines.probabilities(told), numbers)
        segments = pd.DataFrame(rows, index=table.index).add_prefix("segment_")
        return pd.concat([table.drop(columns=STRAIN), segments, table[[STRAIN]]], axis=1)


class AgentDecider(_StreamDecider):
    """A trained agent, with the code path and the bits of its evaluation.

    Where it reads a segmenter's states, their machines run through the history first: from one first bar they are the
    states of an evaluation.

    Args:
        agent: whose.
    """

    def __init__(self, agent: Agent) -> None:
        super().__init__(EmbeddingReader(agent.extractor), agent.extractor.layout)
        self._agent = agent
        if isinstance(agent.extractor, SegmentedExtractor):
            self.states = agent.extractor.segmenter.layout
        self._table = EmbeddingTable([np.zeros((1, agent.extractor.width), np.float32)])
        self._policy = agent.decide_on(self._table)
        self._index = np.zeros((1, 2), dtype=np.int64)
        low, high = agent.settings.exposure_bounds
        self.lowest = low if agent.continuous else min(agent.actions)
        self.highest = high if agent.continuous else max(agent.actions)

    def _started(self, history: pd.DataFrame) -> Any:
        embedded, extractor = super()._started(history), self._agent.extractor
        if not isinstance(extractor, SegmentedExtractor):
            return embedded
        bars = history[list(BAR_COLUMNS)]  # all that the segmenter reads
        market = Market.from_bars(bars, extractor.segmenter.config.timeframes, features=FeatureSpec.none())
        base = self.timeframes[0]
        whole = market.start_ms + len(market) * timeframe_ms(base)
        if whole >= extractor.segmenter.layout.decidable_ms(market.start_ms):
            segments = SegmentStream(extractor.segmenter, bars, timeframe=base)
        else:  # it cannot decide yet: 0 until it can, as in an evaluation
            segments = SegmentStream(extractor.segmenter, timeframe=base)
            segments.append(bars)
        return _SegmentedRows(extractor, embedded, segments)

    def decide(self, account: NDArray[np.float32]) -> Asked:
        """See `Decider`; `account` (5,) float32."""
        return self.decide_from(self.said(), account)

    def chance_of_rise(self) -> float:
        """What the extractor says of the newest close: the chance that it is higher `config.horizons[0]` bars later.

        Raises:
            RuntimeError: nothing was predicted.
        """
        extractor = self._agent.extractor
        embedding = self.said().iloc[: extractor.config.width].to_numpy(np.float32)
        with on_one_thread(), torch.inference_mode():
            read = torch.from_numpy(embedding.copy())[None].to(extractor.device)
            return float(torch.sigmoid(extractor.model.returns_said(read).direction_logits)[0, 0])

    def decide_from(self, row: pd.Series, account: NDArray[np.float32]) -> Asked:
        """What to ask for where an `EmbeddingReader` said `row` (D + 1,) of a close; `account` (5,) float32."""
        embedding = row.iloc[:-1].to_numpy(np.float32)
        if not np.isfinite(embedding).all():
            raise ValueError("the embedding of the newest bar is not finite")
        self._table.rows[0] = embedding
        seen = np.asarray(account, np.float32)[None]
        with on_one_thread():
            target = float(self._policy.targets(self._index, seen)[0])
            if self._agent.continuous:
                return Asked(target, strain=float(row.iloc[-1]), prediction=embedding.tobytes())
            chances = tuple(map(float, shares(self._policy.preferences(self._index, seen)[0])))
        at = int(np.abs(np.array(self._agent.actions) - target).argmin())
        return Asked(target, min(chances[at], 1.0), chances, float(row.iloc[-1]))


class StateDecider(_StreamDecider):
    """Long while a segmenter's likeliest state of a timescale is "bull", `below` while it is "bear", else as before.

    Args:
        model: a segmenter.
        timescale: whose columns count, such as "4h".
        below: exposure in a bear state.

    Raises:
        SignalsError: no such columns.
    """

    def __init__(self, model: Predictor, timescale: str, below: float = 0.0) -> None:
        super().__init__(model, model.layout)
        ending = f"_{timescale}"
        self._names = [str(name) for name in model.columns if str(name).endswith(ending)]
        states = [name.removesuffix(ending) for name in self._names]
        if not {"bull", "bear"} <= set(states):
            raise SignalsError(f"no columns 'bull{ending}' and 'bear{ending}' in {list(model.columns)[:40]}")
        self._targets = {f"bull{ending}": 1.0, f"bear{ending}": below}
        self._held = 0.0
        self.lowest, self.highest = min(below, 0.0), 1.0

    def decide(self, account: NDArray[np.float32]) -> Asked:
        """See `Decider`; `account` (5,) float32."""
        said = self.said()[self._names].to_numpy(np.float64)
        best = int(said.argmax())
        self._held = self._targets.get(self._names[best], self._held)
        return Asked(self._held, float(np.clip(said[best], 0.0, 1.0)), tuple(map(float, said)))


class ForecastDecider(_StreamDecider):
    """Long where a forecaster says up with enough certainty, `below` where it says down, else flat.

    Args:
        model: a forecaster.
        horizon: whose direction counts, in base bars; its first where None.
        least: probability that a side needs.
        below: exposure where it says down.

    Raises:
        SignalsError: it says no direction over that horizon.
    """

    def __init__(self, model: Predictor, horizon: int | None = None, least: float = 0.5, below: float = 0.0) -> None:
        super().__init__(model, model.layout)
        known = [str(name).split("_")[1] for name in model.columns if str(name).endswith("_up")]
        chosen = str(horizon) if horizon is not None else (known[0] if known else "")
        if chosen not in known:
            raise SignalsError(f"the model says no direction over {chosen or 'any number of'} bars; known are {known}")
        self._names = [f"direction_{chosen}_{side}" for side in ("down", "flat", "up")]
        self._least, self._below = least, below
        self.lowest, self.highest = min(below, 0.0), 1.0

    def decide(self, account: NDArray[np.float32]) -> Asked:
        """See `Decider`; `account` (5,) float32."""
        said = tuple(map(float, self.said()[self._names]))
        down, _, up = said
        if max(up, down) < self._least:
            return Asked(0.0, 1.0, said)
        return Asked(1.0, up, said) if up >= down else Asked(self._below, down, said)


class SignalDecider:
    """Targets of a table of signals: the last that was known at each close.

    Args:
        signals: as `read_signals` gives them.
        timeframe: of the bars.
    """

    layout: MarketLayout | None = None
    columns: tuple[str, ...] = ()
    states: MarketLayout | None = None

    def __init__(self, signals: pd.DataFrame, timeframe: str) -> None:
        known = checked_signals(signals)
        self._times = pd.DatetimeIndex(known.index).as_unit("ms").asi8
        self._targets, self._confidence = known["target"].to_numpy(), known["confidence"].to_numpy()
        self.timeframes: tuple[str, ...] = (timeframe,)
        self.window: tuple[int, ...] = (2,)
        self._close_ms, self._step = 0, timeframe_ms(timeframe)
        self.lowest, self.highest = min(float(self._targets.min()), 0.0), max(float(self._targets.max()), 0.0)

    def begin(self, history: pd.DataFrame) -> None:
        """See `Decider`."""
        self._close_ms = int(pd.DatetimeIndex(history.index[-1:]).as_unit("ms").asi8[0]) + self._step

    def add(self, bar: FeedBar) -> None:
        """See `Decider`."""
        self._close_ms = bar.open_ms + self._step

    def decide(self, account: NDArray[np.float32]) -> Asked:
        """See `Decider`; `account` (5,) float32."""
        at = int(np.searchsorted(self._times, self._close_ms, side="right")) - 1
        return Asked(0.0) if at < 0 else Asked(float(self._targets[at]), float(self._confidence[at]))


def bar_frame(bar: FeedBar) -> pd.DataFrame:
    """A bar as a table of one row, with the further columns that came with it."""
    values: Mapping[str, float] = {**dict(zip(BAR_COLUMNS, bar.ohlcv, strict=True)), **bar.columns}
    index = pd.DatetimeIndex([pd.Timestamp(bar.open_ms, unit="ms", tz="UTC")], name="timestamp")
    return pd.DataFrame([values], index=index)
