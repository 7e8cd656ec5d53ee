"""What a loaded model answers: predictions of bars, windows and tokens, and what an agent does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from agents.live.deciders import AgentDecider, Asked, EmbeddingReader
from agents.live.serving.bodies import Act, BodyError, PredictBars, PredictSequence, PredictToken
from agents.live.serving.inputs import (
    bar_table,
    needs_of,
    observed,
    reference_table,
    sequence_windows,
    token_series,
)
from agents.policies.agent import Agent
from agents.policies.segmented_extractor import SegmentedExtractor
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.files.typed_values import ConfigError
from cryptoenv.market.market import Market
from pretrain import ArtifactError, MarketLayout, Predictor
from pretrain.fitting.blocks import Block, market_blocks
from pretrain.fitting.predicting import on_one_thread
from pretrain.forecaster.artifact import Forecaster
from pretrain.segmenter.artifact import Segmenter
from pretrain.tokens.artifact import TokenForecaster

MONDAY_MS = 1_578_268_800_000  #: 2020-01-06
NO_AGENT = "the model is no agent: ask /predict, or name an agent's run (/models says which are)"
NOT_YET = "an agent that reads a segmenter's states beside columns of other sources is not served yet"


class NotFiniteError(RuntimeError):
    """A model said something that is no number."""


@dataclass(frozen=True)
class Window:
    """Scaled windows, one row of a batch: (W_k, F_k) float32 per timeframe, the sigma that returns are told in, and
    when the last base bar closed."""

    parts: tuple[torch.Tensor, ...]
    sigma: float
    close_ms: int


@dataclass(frozen=True)
class Decided:
    """The last bars of a market: blocks with the places of decisions in them, and when each decision's bar opened."""

    wanted: tuple[tuple[Block, int], ...]
    opens_ms: tuple[int, ...]
    closes: tuple[float, ...]
    acting: bool = False


@dataclass(frozen=True)
class Whole:
    """A request that is answered by itself: predictions of a market or a token, as a table of its last rows."""

    source: Any
    last: int
    forecast: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Traced:
    """Bars whose whole history an agent reads, a segmenter's states among it; fields as of `Decided`."""

    opens_ms: tuple[int, ...]
    closes: tuple[float, ...]
    bars: pd.DataFrame


Item = Window | Decided | Whole | Traced


@dataclass(frozen=True)
class Answering:
    """A model as it was loaded, and what it answers.

    Attributes:
        folder: of the artifact or the run.
        version: the first 12 signs of the sha256 over the checksums of its files.
        model: what predicts.
        agent: what acts, where the folder holds a run.
    """

    folder: Path
    version: str
    model: Predictor | TokenForecaster
    agent: Agent | None = None
    _embeddings: EmbeddingReader | None = field(default=None, repr=False)
    _decider: AgentDecider | None = field(default=None, repr=False)

    @property
    def kind(self) -> str:
        """For people."""
        return "Agent" if self.agent is not None else type(self.model).__name__

    @cached_property
    def needs(self) -> dict[str, Any]:
        """What a request must bring."""
        if isinstance(self.model, TokenForecaster):
            return {"rows": self.model.config.seq_length, "columns": list(self.model.columns)}
        return needs_of(self.model.layout)

    @cached_property
    def columns(self) -> list[str]:
        """Of its answers."""
        return list(self.model.columns)

    @property
    def told(self) -> dict[str, Any]:
        """What /models says of it; no path."""
        provenance = getattr(self.model, "provenance", None)
        acts = {} if self.agent is None else {"actions": list(self.agent.actions), "algorithm": self.agent.algorithm}
        return {
            "kind": self.kind, "version": self.version, "columns": self.columns, "needs": self.needs,
            "acts": self.agent is not None, **acts,
            "metrics": {} if provenance is None else dict(provenance.metrics),
        }  # fmt: skip

    @property
    def layout(self) -> MarketLayout:
        """What it reads of a market.

        Raises:
            BodyError: it reads tokens.
        """
        if isinstance(self.model, TokenForecaster):
            raise BodyError('the model reads the rows of a token: send "token" and "supply"', self.needs)
        return self.model.layout

    def prepared(self, asked: PredictBars | PredictSequence | PredictToken | Act) -> Item:
        """A request as the model reads it; what costs little, so that it is done beside the model's thread.

        Raises:
            BodyError: it does not fit the model; the message names what is needed.
        """
        try:
            if isinstance(asked, PredictToken):
                if not isinstance(self.model, TokenForecaster):
                    raise BodyError('the model reads bars: send "bars" or "sequence"', self.needs)
                return Whole(token_series(asked), asked.last)
            layout = self.layout
            if isinstance(asked, PredictSequence):
                sigma = 1.0 if asked.sigma is None else asked.sigma
                return Window(sequence_windows(asked, layout), sigma, asked.time)
            return self._of_bars(asked, layout)
        except BodyError as error:
            raise BodyError(str(error), error.needs or self.needs) from None
        except (BarsError, ArtifactError, ConfigError, ValueError, OverflowError) as error:
            raise BodyError(f"bars: {error}", self.needs) from None

    def _of_bars(self, asked: PredictBars | Act, layout: MarketLayout) -> Item:
        acting = isinstance(asked, Act)
        if acting and self._decider is None:
            raise BodyError(NO_AGENT)
        assert isinstance(self.model, Predictor)
        market = self.model.market(
            bar_table(asked, layout), reference=reference_table(asked, layout), timeframe=asked.timeframe
        )
        first = market.first_decision(layout.window)
        whole = self.agent is not None and isinstance(self.agent.extractor, SegmentedExtractor)
        if acting and whole:
            if layout.columns:
                raise BodyError(NOT_YET)
            row = len(market) - 1
            opened = market.start_ms + timeframe_ms(layout.timeframes[0]) * row
            return Traced((opened,), (float(market.prices[row, CLOSE]),), market.bars)
        if isinstance(asked, PredictBars):
            if asked.steps is not None and not isinstance(self.model, Forecaster):
                raise BodyError("steps: only a forecaster says what comes step by step")
            if asked.steps is not None or whole:
                ahead = None if asked.steps is None else (asked.steps, asked.paths, asked.seed)
                return Whole(market, asked.last, ahead)
        last = asked.last if isinstance(asked, PredictBars) else 1
        return _last_decisions(market, layout, max(first, len(market) - last), acting)

    def warm(self) -> None:
        """Answer once, of a random walk: what is compiled on first use is, before anybody waits for it.

        Raises:
            Exception: whatever it meets; NotFiniteError where the model says what is no number.
        """
        if isinstance(self.model, TokenForecaster):
            return
        bars = int(self.needs["bars"]) + 2
        asked = PredictBars(
            bars=_random_walk(bars, self.model.layout), columns=list(self.model.layout.features.columns),
            reference=_random_walk(bars, self.model.layout, further=False) if self.model.layout.reference else None,
        )  # fmt: skip
        (answer,) = self.read([self.prepared(asked)])
        if isinstance(answer, Exception):
            raise answer

    def read(self, items: Sequence[Item]) -> list[Any]:
        """Answers of items, in their order: (n, C) float32 of each, a table, or the exception that it met.

        Those of one kind are read together: windows in a batch of their number, decisions with the bits that each has
        alone.
        """
        out: list[Any] = [None] * len(items)
        with on_one_thread(), torch.inference_mode():
            for kind in (0, 1, 2):
                mine = [i for i, item in enumerate(items) if _kind_of(item) == kind]
                if kind == 0:
                    found: list[Any] = self._windows([items[i] for i in mine])  # type: ignore[misc]
                else:
                    found = self._decisions([items[i] for i in mine], kind == 2)  # type: ignore[misc]
                for i, answer in zip(mine, found, strict=True):
                    out[i] = answer
        for i, item in enumerate(items):
            if isinstance(item, Whole):
                out[i] = self._whole(item)
            elif isinstance(item, Traced):
                out[i] = self._traced(item)
        return out

    def _windows(self, windows: list[Window]) -> list[Any]:
        if not windows:
            return []
        assert isinstance(self.model, Predictor)
        parts = [torch.stack(part).to(self.model.device) for part in zip(*(w.parts for w in windows), strict=True)]
        try:
            sigma, closes = [window.sigma for window in windows], [window.close_ms for window in windows]
            found = self.model.read_scaled(parts, np.array(sigma), np.array(closes, np.int64))
        except ArtifactError as error:
            return [BodyError(f"sequence: {error}", self.needs)] * len(windows)
        return [_finite(row[None]) for row in found]

    def _decisions(self, decided: list[Decided], acting: bool) -> list[Any]:
        if not decided:
            return []
        reader = self._embeddings if acting else self.model
        assert isinstance(reader, Predictor)
        moved: dict[int, Block] = {}  # decisions of one block stay decisions of one
        wanted = []
        for block, place in (pair for one in decided for pair in one.wanted):
            wanted.append((moved.setdefault(id(block), block.to(reader.device)), place))
        found = reader.read_several(wanted)
        borders = np.cumsum([0, *(len(one.wanted) for one in decided)])
        return [_finite(found[start:end]) for start, end in pairwise(borders)]

    def _whole(self, item: Whole) -> Any:
        try:
            table = self.model.predict(item.source).iloc[-item.last :]
            if item.forecast is None:
                return table, None
            steps, paths, seed = item.forecast
            assert isinstance(self.model, Forecaster)
            return table, self.model.forecast(item.source, steps, paths=paths, seed=seed)
        except (ValueError, ArtifactError) as error:
            return BodyError(str(error), self.needs)

    def _traced(self, item: Traced) -> Any:
        assert self._decider is not None
        try:
            self._decider.begin(item.bars)
            return _finite(self._decider.said().to_numpy(np.float32)[None])
        except (ValueError, RuntimeError, ArtifactError) as error:
            return BodyError(f"bars: {error}", self.needs)

    def action(self, asked: Act, item: Decided | Traced, found: NDArray[np.float32]) -> dict[str, Any]:
        """What the agent asks for, with the row (1, D + 1) that was read of the last bar and the account as told."""
        assert self.agent is not None and self._decider is not None
        seen = observed(asked.account, float(self.agent.settings.limits.exposure))
        said: Asked = self._decider.decide_from(pd.Series(found[0]), seen)
        chances = said.probabilities
        named = {} if chances is None else dict(zip((f"{at:g}" for at in self.agent.actions), chances, strict=True))
        return {
            "time": _moment(item.opens_ms[0]), "close": item.closes[0], "target": said.target,
            "confidence": said.confidence, "probabilities": named, "strain": said.strain,
        }  # fmt: skip

    def told_of(self, asked: PredictBars | PredictSequence | PredictToken, item: Item, found: Any) -> dict[str, Any]:
        """An answer, ready for JSON."""
        columns = self.columns
        if isinstance(item, Window):
            assert isinstance(asked, PredictSequence)
            values = dict(zip(columns, found[0].tolist(), strict=True))
            return {"values": values, **self.headline(values, asked.close, asked.sigma)}
        if isinstance(item, Decided):
            rows: list[dict[str, Any]] = [
                {"time": _moment(at), "close": close, "values": dict(zip(columns, row, strict=True))}
                for at, close, row in zip(item.opens_ms, item.closes, found.tolist(), strict=True)
            ]
            return {"rows": rows, **self.headline(rows[-1]["values"], item.closes[-1], 1.0)}
        table, ahead = found
        out: dict[str, Any] = {"rows": _records(table)}
        if ahead is not None:
            times = {name: [_iso(at) for at in ahead[name]] for name in ("origin", "time")}
            out["forecast"] = ahead.assign(**times).to_dict("records")
            prices = [row["price_q50"] for row in out["forecast"]]
            out["predicted_close"] = prices
        return out

    def headline(self, values: dict[str, float], close: float | None, sigma: float | None = 1.0) -> dict[str, Any]:
        """What people ask for first: the segment of a segmenter, the closes of a forecaster."""
        if isinstance(self.model, Segmenter):
            config = self.model.config
            chosen = {}
            for scale in config.timescales:
                chances = [values[f"{name}_{scale}"] for name in config.classes]
                chosen[scale] = int(np.argmax(chances))
            first = chosen[config.timescales[0]]
            return {
                "predicted_segment": first, "segment": config.classes[first], "predicted_segments": chosen,
                "classes": list(config.classes),
            }  # fmt: skip
        if isinstance(self.model, Forecaster):
            horizons = self.model.config.horizons
            moves = [values[f"return_{ahead}_mean"] for ahead in horizons]
            if close is None or sigma is None:
                unit = "log-return" if sigma is not None else "log-return in standard deviations of a base bar's"
                return {"predicted_close": moves, "unit": unit, "horizons": list(horizons)}
            return {"predicted_close": [close * float(np.exp(move)) for move in moves], "unit": "price",
                    "horizons": list(horizons)}  # fmt: skip
        return {}


def _random_walk(bars: int, layout: MarketLayout, *, further: bool = True) -> list[list[float]]:
    """Rows of bars that begin with a day's first, as a body has them; zeros in further columns."""
    rng = np.random.default_rng(0)
    step, start = timeframe_ms(layout.timeframes[0]), MONDAY_MS
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.002, bars)))
    opens = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opens, close) * 1.001, np.minimum(opens, close) * 0.999
    columns = [start + step * np.arange(bars), opens, high, low, close, rng.lognormal(3.0, 0.5, bars)]
    if further:
        columns += [np.zeros(bars)] * len(layout.features.columns)
    return np.column_stack(columns).tolist()


def _kind_of(item: Item) -> int:
    if isinstance(item, Whole | Traced):
        return 3
    return 0 if isinstance(item, Window) else 1 + item.acting


def _last_decisions(market: Market, layout: MarketLayout, first: int, acting: bool) -> Decided:
    wanted: list[tuple[Block, int]] = []
    rows: list[int] = []
    for of_block, places, block in market_blocks(market, layout):
        for row, place in zip(of_block.tolist(), places.tolist(), strict=True):
            if row >= first:
                wanted.append((block, place))
                rows.append(row)
    step = timeframe_ms(layout.timeframes[0])
    closes = market.prices[:, CLOSE]
    opens = tuple(market.start_ms + step * row for row in rows)
    return Decided(tuple(wanted), opens, tuple(float(closes[row]) for row in rows), acting)


def _finite(found: NDArray[np.float32]) -> Any:
    return found if np.isfinite(found).all() else NotFiniteError("the model's answer is not finite")


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    columns = [str(name) for name in table.columns]
    return [
        {"time": _iso(at), "values": dict(zip(columns, row, strict=True))}
        for at, row in zip(table.index, table.to_numpy().tolist(), strict=True)
    ]


def _moment(ms: int) -> str:
    return _iso(pd.Timestamp(int(ms), unit="ms", tz="UTC"))


def _iso(moment: pd.Timestamp) -> str:
    return moment.isoformat().replace("+00:00", "Z")
