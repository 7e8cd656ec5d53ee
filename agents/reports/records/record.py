"""What is known of a run of any kind: figures, accounts over time, tables, curves, and what could not be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.run_folders.run_folder import read_json

Found = TypeVar("Found")
HOLDING = "buy and hold"  #: what every account is compared with
COSTS = ("fees", "slippage", "funding", "borrow")


@dataclass(frozen=True)
class Track:
    """One account over time, on a market.

    Attributes:
        name: of the market, and of the seed where there are several.
        closes_ms: (S + 1,) int64, when each mark was made, milliseconds since 1970.
        step_ms: length of a bar.
        equity: name -> (S + 1,) float64, quote currency; the first is the account's own, the others are compared with
            it.
        exposure: (S + 1,) float64 held until each mark, or None.
        costs: kind -> (S + 1,) float64 paid in each bar, or None where not kept.
        bars: open, high, low, close (S + 1 rows) of the bars that end at the marks, or None.
        trades: as a backtest keeps them, times of bars' opens in UTC, or None.
        stop_loss, take_profit: distances from the entry at which the account closes, fractions, or None.
    """

    name: str
    closes_ms: NDArray[np.int64]
    step_ms: int
    equity: dict[str, NDArray[np.float64]]
    exposure: NDArray[np.float64] | None = None
    costs: dict[str, NDArray[np.float64]] | None = None
    bars: pd.DataFrame | None = None
    trades: pd.DataFrame | None = None
    stop_loss: float | None = None
    take_profit: float | None = None

    @property
    def market(self) -> str:
        """The market's name, without the seed."""
        return self.name.rpartition(", seed ")[0] or self.name

    @property
    def lead(self) -> str:
        """The account's own name among the equities."""
        return next(iter(self.equity))

    @property
    def own(self) -> NDArray[np.float64]:
        """(S + 1,) its equity."""
        return self.equity[self.lead]


@dataclass(frozen=True)
class Curve:
    """A figure over the steps of a training: `steps` (n,) and `values` (n,)."""

    name: str
    steps: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Attention:
    """Where a model's summary looks: `shares` (n,) of the attention by timeframe and age (n,) of patches in bars."""

    timeframe: str
    ages: NDArray[np.float64]
    shares: NDArray[np.float64]


@dataclass(frozen=True)
class Record:
    """A run as far as it could be read.

    Attributes:
        path: its folder or file.
        kind: "training", "evaluation", "walk-forward", "backtest", "stress" or "model".
        name: what traded, or the model.
        metrics: of `metrics.json`, as it is.
        verdict: word and reason, or None where nothing was judged.
        judged: what the verdict rests on, in words.
        tracks: accounts over time.
        methods: a row per method with figures, the agent's first; its index names them.
        trades: of an account whose equity over time is lost.
        folds, regimes, stress, sweep: tables, as the commands write them.
        curves: of the training.
        looked: attention of the model's summary.
        importance: share of decisions that change when a group of features is hidden, by group.
        pictures: names and files.
        settings: title -> values, nested as in their files.
        listings: title -> text of a recipe.
        sources: rows of data provenance: what, where, from, to, bars, hash.
        missing: what a section would show -> why it is not there.
        notes: what a reader must know: the run is not finished, a file is damaged.
    """

    path: Path
    kind: str
    name: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    verdict: tuple[str, str] | None = None
    judged: str = ""
    tracks: tuple[Track, ...] = ()
    methods: pd.DataFrame | None = None
    trades: pd.DataFrame | None = None
    folds: pd.DataFrame | None = None
    regimes: pd.DataFrame | None = None
    stress: pd.DataFrame | None = None
    sweep: pd.DataFrame | None = None
    curves: tuple[Curve, ...] = ()
    looked: tuple[Attention, ...] = ()
    importance: Mapping[str, float] = field(default_factory=dict)
    pictures: tuple[tuple[str, Path], ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    listings: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[Mapping[str, Any], ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def called(self, track: Track) -> str:
        """What an account is called in charts: what tells it apart from the others, or else what traded."""
        if len(self.tracks) < 2:
            return track.lead
        one_market = len({one.market for one in self.tracks}) == 1
        return track.name.removeprefix(f"{track.market}, ") if one_market else track.name


class Reading:
    """Reads what there is of a run, and keeps in words what is absent or damaged."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes: list[str] = []
        self.missing: dict[str, str] = {}

    def attempt(self, what: str, read: Callable[[], Found], otherwise: str = "") -> Found | None:
        """What `read` returns, or None with a note on what went wrong, under `what` too."""
        try:
            return read()
        except (OSError, ValueError, KeyError, TypeError, ArithmeticError, IndexError, ImportError) as error:
            said = " ".join(str(error).split()) or type(error).__name__
            self.notes.append(f"{what}: {said}")
            self.missing[what] = otherwise or said
            return None

    def table(self, name: str, what: str, why: str) -> pd.DataFrame | None:
        """A Parquet file of the run; `why` says what its absence means."""
        path = self.root / name
        if not path.is_file():
            self.missing[what] = why
            return None
        return self.attempt(what, lambda: read_table(path))

    def json(self, name: str, what: str, why: str) -> dict[str, Any]:
        """A JSON file of the run, {} where it is absent or damaged."""
        if not (self.root / name).is_file():
            self.missing[what] = why
            return {}
        return self.attempt(what, lambda: read_json(self.root / name)) or {}

    def text(self, name: str) -> str | None:
        """A text file of the run."""
        path = self.root / name
        return self.attempt(name, lambda: path.read_text("utf-8")) if path.is_file() else None


def read_table(path: Path) -> pd.DataFrame:
    """A Parquet file.

    Raises:
        ValueError: damaged.
    """
    import pyarrow

    try:
        return pd.read_parquet(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def finite_curve(values: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    """An equity curve (n,) that figures can be reckoned of.

    Raises:
        ValueError: fewer than two marks, or one that is not finite.
    """
    curve = np.asarray(values, dtype=np.float64)
    if len(curve) < 2 or not np.isfinite(curve).all() or curve[0] <= 0.0:
        raise ValueError(f"{where}: equity must be 2 finite values or more, the first above 0")
    return curve
