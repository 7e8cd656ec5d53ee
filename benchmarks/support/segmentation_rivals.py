"""What a segmenter is measured against: rules, plain classifiers on the same features, and other packages' models.

Every rival but kernel change points is causal: what it says of a bar depends on bars up to it. Other packages are used
where they can be imported; `absent` names those that cannot.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE
from pretrain.data.labelled_market import LabelledMarket
from pretrain.segmenter.scores import confusion_counts, summary_scores

TRAINING_ROWS = 30_000
FLOSS_BARS = 1_000  #: of each market that FLOSS is judged on
FITTED_BARS = 6_000  #: that models of a single series are fitted on


@dataclass(frozen=True)
class Rival:
    """One method on one timescale.

    `fit` gets training and validation markets, and returns what says states (n,) and probabilities (n, C), or None for
    these, of a market's labelled rows. `named` says that the states are classes; else only borders mean something.
    `bars`: it is judged on so many bars of each market, as it takes too long on all. `package`: what it needs.
    """

    fit: Callable[[Sequence[LabelledMarket], Sequence[LabelledMarket], int], Callable[[LabelledMarket], Any]]
    named: bool = True
    bars: int | None = None
    package: str = ""


def rows_of(item: LabelledMarket) -> NDArray[np.int64]:
    """Rows that are judged."""
    return np.arange(item.start, item.end)


def labels_of(item: LabelledMarket, s: int) -> NDArray[np.int64]:
    """(n,) int64 labels of the rows that are judged, -1 unknown."""
    column = item.columns[s]
    return np.where(column.known, np.nan_to_num(column.values), -1)[rows_of(item)].astype(np.int64)


def features_of(item: LabelledMarket) -> NDArray[np.float32]:
    """(n, sum of F_k): the newest bar of every timeframe at each row that is judged."""
    rows = rows_of(item)
    market = item.market
    return np.concatenate([own[market.align[rows, k]] for k, own in enumerate(market.features)], axis=1)


def _majority(train: Sequence[LabelledMarket], _: Sequence[LabelledMarket], s: int) -> Any:
    labels = np.concatenate([labels_of(item, s) for item in train])
    shares = np.bincount(labels[labels >= 0], minlength=len(train[0].columns[s].classes)).astype(np.float64)
    shares /= shares.sum()
    return lambda item: (np.full(len(rows_of(item)), shares.argmax()), np.tile(shares, (len(rows_of(item)), 1)))


def _always_fire(train: Sequence[LabelledMarket], _: Sequence[LabelledMarket], s: int) -> Any:
    classes = len(train[0].columns[s].classes)
    return lambda item: (np.arange(len(rows_of(item))) % classes, None)


def _slope(train: Sequence[LabelledMarket], validation: Sequence[LabelledMarket], s: int) -> Any:
    """Bull above, bear below a threshold of the moving average's slope in units of volatility; length and threshold are
    those with the best macro-F1 on validation markets. Classes are bear, consolidation, bull."""

    def states(item: LabelledMarket, length: int, threshold: float) -> NDArray[np.int64]:
        close = np.log(item.market.prices[:, CLOSE])
        total = np.concatenate([[0.0], np.cumsum(close)])
        mean = np.full(len(close), close[0])
        mean[length - 1 :] = (total[length:] - total[:-length]) / length
        back = max(length // 4, 1)
        slope = np.zeros(len(close))
        slope[back:] = (mean[back:] - mean[:-back]) / back
        moves = np.concatenate([[0.0], np.square(np.diff(close))])
        spread = np.sqrt(np.convolve(moves, np.ones(96) / 96.0)[: len(close)])
        z = slope / np.maximum(spread, 1e-12) * np.sqrt(length)
        return np.where(z > threshold, 2, np.where(z < -threshold, 0, 1))[rows_of(item)]

    best, chosen = -1.0, (16, 0.5)
    for length in (8, 16, 32, 64, 128, 256, 512):
        for threshold in (0.1, 0.2, 0.4, 0.6, 0.9, 1.3):
            counts = sum(confusion_counts(labels_of(i, s), states(i, length, threshold), 3) for i in validation)
            score = summary_scores(np.asarray(counts))["macro_f1"]
            if score > best:
                best, chosen = score, (length, threshold)
    return lambda item: (states(item, *chosen), None)


def _classifier(make: Callable[[], Any]) -> Any:
    def fit(train: Sequence[LabelledMarket], _: Sequence[LabelledMarket], s: int) -> Any:
        x = np.concatenate([features_of(item) for item in train])
        y = np.concatenate([labels_of(item, s) for item in train])
        rows = np.flatnonzero(y >= 0)
        rows = np.random.default_rng(0).permutation(rows)[:TRAINING_ROWS]
        model = make().fit(x[rows], y[rows])
        classes = len(train[0].columns[s].classes)

        def say(item: LabelledMarket) -> Any:
            found = np.zeros((len(rows_of(item)), classes))
            found[:, model.classes_] = model.predict_proba(features_of(item))
            return found.argmax(axis=1), found

        return say

    return fit


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, C=0.05))


def _boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=100, learning_rate=0.08, max_leaf_nodes=31, random_state=0)


def _observed(item: LabelledMarket, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, 2): the log-return of a bar in percent, and the log of its mean absolute value over 16 bars: what models of a
    single series are given."""
    close = np.log(item.market.prices[:, CLOSE])
    moves = 100.0 * np.diff(close, prepend=close[0])
    size = np.convolve(np.abs(moves), np.ones(16) / 16.0)[: len(moves)]
    smooth = np.convolve(moves, np.ones(16) / 16.0)[: len(moves)]
    return np.stack([smooth, np.log(size + 1e-4)], axis=1)[rows]


def _best_names(states: Sequence[NDArray[np.integer]], labels: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Which class each of three unnamed states is: the assignment with the best macro-F1 on validation markets."""

    def score(names: tuple[int, ...]) -> float:
        counts = sum(confusion_counts(own, np.array(names)[s], 3) for own, s in zip(labels, states, strict=True))
        return summary_scores(np.asarray(counts))["macro_f1"]

    return np.array(max(permutations(range(3)), key=score))


def _unnamed(learn: Callable[[NDArray[np.float64]], Callable[[NDArray[np.float64]], NDArray[np.floating]]]) -> Any:
    """A model of three states of a series: fitted on training bars, its states named on validation markets.

    `learn` gets (n, 2) observations and returns what gives (n, 3) filtered probabilities of others.
    """

    kept: dict[int, Any] = {}  # the model knows no timescale: it is fitted once, and says each market's states once

    def said(one: LabelledMarket) -> NDArray[np.floating]:
        if id(one) not in kept:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kept[id(one)] = np.clip(kept[0](_observed(one, rows_of(one))), 0.0, 1.0)  # 1 + 2e-16 comes, too
        found: NDArray[np.floating] = kept[id(one)]
        return found

    def fit(train: Sequence[LabelledMarket], validation: Sequence[LabelledMarket], s: int) -> Any:
        if 0 not in kept:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kept[0] = learn(_observed(train[0], rows_of(train[0])[:FITTED_BARS]))
        chosen = validation[:4]
        names = _best_names([said(one).argmax(axis=1) for one in chosen], [labels_of(one, s) for one in chosen])

        def say(one: LabelledMarket) -> Any:
            chances = np.empty((len(rows_of(one)), 3))
            chances[:, names] = said(one)
            return chances.argmax(axis=1), chances

        return say

    return fit


def _hidden_markov(observed: NDArray[np.float64]) -> Any:
    """hmmlearn's Gaussian HMM by a forward pass alone: its Viterbi path and `predict_proba` see the future."""
    from hmmlearn.hmm import GaussianHMM

    model = GaussianHMM(3, covariance_type="full", n_iter=60, random_state=0).fit(observed)

    def forward(rows: NDArray[np.float64]) -> NDArray[np.floating]:
        log_likelihood = model._compute_log_likelihood(rows)
        likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
        out, belief = np.empty_like(likelihood), model.startprob_
        for t, one in enumerate(likelihood):
            belief = (belief if t == 0 else belief @ model.transmat_) * one
            belief = belief / belief.sum()
            out[t] = belief
        return out

    return forward


def _jump(observed: NDArray[np.float64]) -> Any:
    from jumpmodels.jump import JumpModel

    scale = observed.std(axis=0)
    model = JumpModel(n_components=3, jump_penalty=50.0, cont=False, random_state=0).fit(observed / scale)
    return lambda rows: np.asarray(model.predict_proba_online(rows / scale), np.float64)


def _markov_regression(observed: NDArray[np.float64]) -> Any:
    """statsmodels' Markov regression with switching mean and variance: *filtered* probabilities."""
    from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

    def model(rows: NDArray[np.float64]) -> Any:
        return MarkovRegression(rows[:, 0], k_regimes=3, switching_variance=True)

    fitted = model(observed[:3_000]).fit(disp=False, maxiter=60)
    return lambda rows: np.asarray(model(rows).filter(fitted.params).filtered_marginal_probabilities, np.float64)


def _floss(train: Sequence[LabelledMarket], _: Sequence[LabelledMarket], s: int) -> Any:
    """stumpy's FLOSS on the closes of every fourth bar (it takes about 20 ms a point): a change where the corrected arc
    curve of the newest points falls below a quarter; borders only."""
    import stumpy

    window, start, every = 24, 120, 4

    def say(item: LabelledMarket) -> Any:
        close = np.log(item.market.prices[rows_of(item), CLOSE])
        points = close[every - 1 :: every]
        stream = stumpy.floss(
            stumpy.stump(points[:start], m=window), points[:start], m=window, L=window, excl_factor=1, custom_iac=None
        )
        states, last = np.zeros(len(close), np.int64), 0
        for n in range(start, len(points)):
            stream.update(points[n])
            low = int(np.argmin(stream.cac_1d_))
            if stream.cac_1d_[low] < 0.25 and low > len(stream.cac_1d_) // 2 and n - last > 2 * window:
                last = n
                states[every * (n + 1) - 1 :] += 1
        return states, None

    return say


def _ruptures(train: Sequence[LabelledMarket], validation: Sequence[LabelledMarket], s: int) -> Any:
    """ruptures' kernel change points of returns, every bar a candidate (jump=1): hindsight. The penalty is the one that
    gives a validation market about as many changes as its labels have."""
    import ruptures

    def borders(rows: NDArray[np.float64], penalty: float) -> list[int]:
        found = ruptures.KernelCPD(kernel="linear", min_size=4, jump=1).fit(rows / rows.std(axis=0))
        return [int(border) for border in found.predict(pen=penalty)[:-1]]

    one = validation[0]
    labels, seen = labels_of(one, s), _observed(one, rows_of(one))
    wanted = int((labels[1:] != labels[:-1]).sum())
    low, high = 0.0, 12.0  # of the penalty's log2
    for _ in range(9):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if len(borders(seen, 2.0**middle)) > wanted else (low, middle)

    def say(item: LabelledMarket) -> Any:
        rows = _observed(item, rows_of(item))
        states = np.zeros(len(rows), np.int64)
        for border in borders(rows, 2.0**high):
            states[border:] += 1
        return states, None

    return say


def rivals() -> dict[str, Rival]:
    """All of them by name, whether what they need can be imported or not (`absent`)."""
    return {
        "majority": Rival(_majority),
        "always-fire": Rival(_always_fire),
        "moving-average slope": Rival(_slope),
        "logistic regression": Rival(_classifier(_logistic)),
        "histogram gradient boosting": Rival(_classifier(_boosting)),
        "Markov regression, filtered (statsmodels)": Rival(_unnamed(_markov_regression), package="statsmodels"),
        "jump model, online (jumpmodels)": Rival(_unnamed(_jump), package="jumpmodels"),
        "Gaussian HMM, forward pass (hmmlearn)": Rival(_unnamed(_hidden_markov), package="hmmlearn"),
        "kernel change points (ruptures, jump=1), hindsight": Rival(_ruptures, named=False, package="ruptures"),
        "FLOSS (stumpy), borders alone": Rival(_floss, named=False, bars=FLOSS_BARS, package="stumpy"),
    }


def absent() -> list[str]:
    """Packages of rivals that cannot be imported here."""
    needed = [one.package for one in rivals().values() if one.package]
    return [name for name in needed if importlib.util.find_spec(name) is None]
