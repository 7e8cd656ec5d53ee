"""The main job, end to end: markets, pretraining, cloning, PPO, evaluation on unseen markets, table and picture."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd

from agents.algorithms.threads import one_thread
from agents.evaluation import baselines
from agents.evaluation.tables import (
    agent_rows,
    charged_in_words,
    judged_policies,
    plain_table,
    rollouts,
    score_table,
)
from agents.markets.expert_market import ExpertMarket, last_bar, split_market, synthetic_markets
from agents.markets.own_markets import own_markets, pays_funding, require_place
from agents.reports.picture import draw
from agents.reports.table import print_table
from agents.run_folders.new_outputs import require_new_folder, write_new_folder
from agents.run_folders.run_folder import INPUTS, LEARNED_UNTIL, PICTURE, PRETRAINING, TRAINED_UNTIL, Run
from agents.run_folders.run_origin import KEPT_CLONE, agent_name, clone_was_kept
from agents.seeds import spread_seed
from agents.settings import TradingSettings
from agents.training.config import AgentTrainingConfig
from agents.training.pipeline import learn
from cryptoenv.trading.config import Costs
from pretrain import Extractor, ExtractorConfig, FitOptions, PretrainingConfig, fit_extractor
from pretrain.fitting.market_inputs import MarketInputs, MarketMaker, require_synthetic

TASK = "easy"
SETTINGS = TradingSettings()


@dataclass(frozen=True)
class DemoConfig:
    """Sizes of the demo; the defaults fit into five minutes on two cores.

    Attributes:
        extractor_markets: synthetic markets the extractor is trained on.
        unseen_markets: synthetic markets the result is judged on ("demo" seeds).
        days: tradable days of a synthetic market.
        training: of the agent.
        pretraining: of the extractor.
        architecture: of the extractor.
    """

    extractor_markets: int = 192
    unseen_markets: int = 24
    days: int = 60
    training: AgentTrainingConfig = field(default_factory=lambda: AgentTrainingConfig(SETTINGS, train_markets=32))
    pretraining: PretrainingConfig = field(default_factory=PretrainingConfig)
    architecture: ExtractorConfig = field(default_factory=ExtractorConfig)

    @property
    def settings(self) -> TradingSettings:
        """What is looked at and traded."""
        return self.training.settings or SETTINGS


@dataclass(frozen=True)
class DemoMarkets:
    """Markets by purpose."""

    extractor: tuple[ExpertMarket, ...]
    train: tuple[ExpertMarket, ...]
    validation: tuple[ExpertMarket, ...]
    unseen: tuple[ExpertMarket, ...]


def synthetic_demo_markets(config: DemoConfig, inputs: MarketInputs | None = None) -> DemoMarkets:
    """Markets of the easy task, from disjoint seed families."""
    settings, training = config.settings, config.training
    layout = (inputs or MarketInputs()).new_layout(settings.timeframes, settings.window)

    def drawn(family: str, count: int) -> tuple[ExpertMarket, ...]:
        return synthetic_markets(TASK, family, count, config.days, settings, layout=layout)

    return DemoMarkets(
        extractor=drawn("extractor", config.extractor_markets),
        train=drawn("train", training.train_markets),
        validation=drawn("validation", training.validation_markets),
        unseen=drawn("demo", config.unseen_markets),
    )


def real_demo_markets(bars: Path, settings: TradingSettings, inputs: MarketInputs | None = None) -> DemoMarkets:
    """One history in time order: extractor and agent learn on the first part; the last is looked at once."""
    inputs = MarketInputs() if inputs is None else inputs
    maker = MarketMaker(inputs.new_layout(settings.timeframes, settings.window), inputs)
    split = split_market(own_markets(bars, settings, maker)[0], settings, inputs.fractions)
    return DemoMarkets((split.train,), (split.train,), (split.validation,), (split.test,))


def for_real_bars(config: DemoConfig) -> DemoConfig:
    """The same demo with full costs (impact too), and validation ten times as often.

    One history is a small fraction of the synthetic data: the extractor has soon seen all of it, and overfits.
    """
    settings = replace(config.settings, costs=Costs())
    often = max(config.pretraining.validate_every // 10, 1)
    return replace(
        config,
        training=replace(config.training, settings=settings),
        pretraining=replace(config.pretraining, validate_every=often),
    )


def run_demo(
    *,
    out: Path,
    seed: int = 0,
    bars_file: Path | None = None,
    inputs: MarketInputs | None = None,
    config: DemoConfig | None = None,
) -> tuple[Run, pd.DataFrame]:
    """Run the demo and save its run folder.

    Args:
        out: run folder.
        seed: of everything that is drawn in training; the synthetic markets are always the same.
        bars_file: bars of one's own (a file, a saved market's folder, a store's series), or None for synthetic markets.
        inputs: timeframes and features; with bars of one's own, a reference market and exogenous columns.
        config: sizes.

    Returns:
        The run and the printed table.

    The folder appears whole, at the end: what fails or is interrupted before leaves nothing.

    Raises:
        ValueError: bars that are not valid, or too few, with what is allowed.
        FileNotFoundError: no such file. FileExistsError: `out` holds something.
    """
    require_new_folder(out)
    if bars_file is not None:
        if not bars_file.exists():
            raise FileNotFoundError(f"no such file of bars: {bars_file}")
        require_place(bars_file)
    inputs = inputs or MarketInputs()
    config = _on_timeframes(config or DemoConfig(), inputs.timeframes)
    if bars_file is None:
        require_synthetic(inputs.new_layout(config.settings.timeframes, config.settings.window))
        inputs.require_own("the demo's markets are synthetic")
    found: list[tuple[Run, pd.DataFrame]] = []

    def fill(folder: Path) -> None:
        with one_thread():
            found.append(_demonstrated(folder, seed, (bars_file, inputs), config))

    write_new_folder(out, fill)
    run, table = replace(found[0][0], folder=out), found[0][1]
    print(f"run folder: {out}\npicture:    {out / PICTURE}\nreport:     cryptoenv report {shlex.quote(str(out))}")
    return run, table


def _on_timeframes(config: DemoConfig, timeframes: tuple[str, ...] | None) -> DemoConfig:
    """The demo on other timeframes, each with the window of the one in its place."""
    if timeframes is None:
        return config
    architecture = config.architecture.for_timeframes(timeframes)
    last = len(config.settings.window) - 1
    window = tuple(config.settings.window[min(place, last)] for place in range(len(timeframes)))
    settings = replace(config.settings, timeframes=timeframes, window=window)
    return replace(config, architecture=architecture, training=replace(config.training, settings=settings))


def _demonstrated(
    folder: Path, seed: int, source: tuple[Path | None, MarketInputs], config: DemoConfig
) -> tuple[Run, pd.DataFrame]:
    """The demo in a folder of its own; prints the table."""
    began = perf_counter()
    bars_file, inputs = source
    if bars_file is None:
        _stage("1/5 synthetic markets with a known optimum")
        training_markets = synthetic_demo_markets(config, inputs)
    else:
        _stage(f"1/5 reading {bars_file.name}, splitting it in time order")
        config = for_real_bars(config)
        training_markets = real_demo_markets(bars_file, config.settings, inputs)
    run, metrics = _trained(training_markets, config, seed, folder)
    _stage("5/5 evaluation on unseen markets")
    is_clone = clone_was_kept(metrics)
    table, figures = _judged(run, training_markets, config, bars_file, seed, is_clone=is_clone)
    metrics |= figures | {"seconds": perf_counter() - began}
    told = {"bars": str(bars_file) if bars_file else TASK, "seed": seed, "demo": asdict(config)}
    if beside := replace(inputs, timeframes=None, features=None).given:
        told[INPUTS] = beside
    if bars_file is not None:
        told |= {
            TRAINED_UNTIL: last_bar(training_markets.train), LEARNED_UNTIL: last_bar(training_markets.validation),
        }  # fmt: skip
    run.save(told, metrics)
    title = _title(bars_file, training_markets) + (f"\n{KEPT_CLONE}" if is_clone else "")
    funded = bars_file is not None and pays_funding(bars_file, inputs)
    print_table(table, title, charged=charged_in_words(config.settings, real=bars_file is not None, funded=funded))
    print(f"{metrics['seconds']:.0f} s in all")
    return run, table


def pretrained(
    labelled: Sequence[ExpertMarket], validation: Sequence[ExpertMarket], config: DemoConfig, *, seed: int, out: Path
) -> Extractor:
    """The extractor, trained on the labels of `labelled`, stopped on those of `validation`."""
    settings = config.settings
    architecture = replace(
        config.architecture,
        timeframes=settings.timeframes,
        window=settings.window,
        positions=settings.positions,
    )
    return fit_extractor(
        [t.labelled for t in labelled],
        [t.labelled for t in validation],
        architecture,
        config.pretraining,
        seed=spread_seed(seed, "pretraining"),
        options=FitOptions(out),
    )


def _trained(training_markets: DemoMarkets, config: DemoConfig, seed: int, out: Path) -> tuple[Run, dict[str, Any]]:
    """Pretrain the extractor, clone, PPO."""
    _stage("2/5 pretraining the extractor")
    began = perf_counter()
    extractor = pretrained(
        training_markets.extractor, training_markets.validation, config, seed=seed, out=out / PRETRAINING
    )
    metrics: dict[str, Any] = {"pretraining_seconds": perf_counter() - began}
    _stage("3/5 cloning the labels, 4/5 PPO from the clone")
    markets = (training_markets.train, training_markets.validation)
    trained = learn("ppo", extractor, markets, config.training, seed=seed, out=out)
    return Run(out, trained.agent, trained.clone), metrics | trained.metrics


def _judged(
    run: Run, training_markets: DemoMarkets, config: DemoConfig, bars_file: Path | None, seed: int, *, is_clone: bool
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Table of all methods on the unseen markets; draws the picture."""
    settings = config.settings
    rule = baselines.tuned_cross(training_markets.validation, settings)
    rows = agent_rows(run, is_clone=is_clone)
    policies = judged_policies(rows, training_markets.unseen, settings, rule, spread_seed(seed, "baselines"))
    found = rollouts(policies, training_markets.unseen, settings)
    table = plain_table(found, settings) if bars_file else score_table(found, training_markets.unseen, settings)
    name = (
        bars_file.name
        if bars_file
        else f"the first of {len(training_markets.unseen)} unseen synthetic markets ({TASK})"
    )
    draw(
        found,
        training_markets.unseen[0],
        0,
        agent=agent_name("ppo", is_clone=is_clone),
        title=name,
        path=run.folder / PICTURE,
    )
    return table, {"ema_cross": asdict(rule), "table": table.to_dict(orient="index")}


def _title(bars_file: Path | None, training_markets: DemoMarkets) -> str:
    if bars_file is None:
        return f"{len(training_markets.unseen)} unseen synthetic markets, task {TASK!r}"
    test = training_markets.unseen[0]
    times = test.market.bars.index
    return f"{bars_file.name}: out of sample, {times[test.first]:%Y-%m-%d} to {times[-1]:%Y-%m-%d}"


def _stage(text: str) -> None:
    print(f"\n== {text}", file=sys.stderr, flush=True)
