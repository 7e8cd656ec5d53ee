"""From markets to a trained agent: demonstrations, clone, reinforcement learning; `train` does it all."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import KVWriter

from agents.algorithms.registry import ALGORITHMS, ON_DEVICES, new_config, require_actions
from agents.algorithms.threads import one_thread
from agents.cloning.behaviour_cloning import CloningConfig, clone, cloning_of
from agents.cloning.dagger import DaggerConfig, dagger
from agents.cloning.demonstrations import collect
from agents.evaluation.hysteresis import tune_margin
from agents.markets.embedded import EmbeddedMarkets, TrainingMarkets, embedding_on
from agents.markets.expert_market import ExpertMarket, last_bar, markets_of, split_market, synthetic_markets
from agents.markets.own_markets import MarketSource, has_path, in_words, maker_for, own_markets, several, task_named
from agents.policies.agent import Agent
from agents.policies.heads import bind, new_policy
from agents.policies.policy_shape import PolicyShape
from agents.policies.segmented_extractor import load_extractor
from agents.run_folders.run_folder import (
    CHECKPOINTS,
    INPUTS,
    LEARNED_UNTIL,
    LOG,
    RECIPE,
    TRAINED_UNTIL,
    Run,
    writing_run,
)
from agents.seeds import spread_seed
from agents.settings import CONTINUOUS, TradingChoice, TradingSettings
from agents.training.checkpoint import CheckpointError, Checkpoints
from agents.training.config import AgentTrainingConfig
from agents.training.learning_loop import improve
from agents.training.recipe import write_recipe
from agents.training.selection import Schedule
from agents.training.value_teacher import agent_of_values, knows_values, taught_by_values
from cryptoenv.files.typed_values import written_values
from pretrain import Extractor
from pretrain.data.splits import JUDGED_BY, refuse_families
from pretrain.fitting.market_inputs import MarketInputs, MarketMaker
from pretrain.fitting.predicting import chosen_device


@dataclass(frozen=True)
class Trained:
    """What came out of `learn`: the clone, the agent (the clone itself for "bc"), and figures on the way."""

    clone: Agent
    agent: Agent
    metrics: dict[str, Any]


def cloned(
    extractor: Extractor,
    training_markets: TrainingMarkets,
    settings: TradingSettings,
    config: CloningConfig | None = None,
    *,
    seed: int,
    correction: DaggerConfig | None = None,
    log_folder: Path | None = None,
    progress: bool = True,
) -> Agent:
    """A clone of the teacher's actions on the training markets, its hysteresis tuned on validation markets.

    `config`: None is what suits the labels. `correction`: rounds of DAgger after the first cloning, or None.
    """
    train = training_markets.train
    config = config or cloning_of(train.labelled[0].label_kind)
    demonstrations = collect(
        train.labelled, settings, samples=config.samples, seed=spread_seed(seed, "demonstrations"), dwell=config.dwell,
        progress=progress,
    )  # fmt: skip
    shape = PolicyShape(train.table.rows.shape[1], len(settings.positions))
    policy = new_policy(shape, spread_seed(seed, "weights"))
    bind(policy, train.table)
    cloning = spread_seed(seed, "cloning")
    clone(policy, demonstrations, config, seed=cloning, log_folder=log_folder, progress=progress)
    agent = Agent(extractor, policy, shape, settings)
    if correction is not None:
        corrections = spread_seed(seed, "dagger")
        dagger(agent, demonstrations, train, correction, config, seed=corrections, progress=progress)
    return tune_margin(agent, training_markets.validation.labelled)


def learn(
    algorithm: str,
    extractor: Extractor,
    markets: tuple[Sequence[ExpertMarket], Sequence[ExpertMarket]],
    config: AgentTrainingConfig,
    *,
    seed: int,
    out: Path | None = None,
    writer: KVWriter | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
) -> Trained:
    """Clone the labels of the training markets, then go on from the clone with `algorithm`.

    Where the extractor knows what the positions are worth (`bars`), its own decisions are the labels; fitted Q then
    needs no clone and begins with the values themselves. Torch's and numba's thread counts are left as they were;
    meanwhile both use one.

    Args:
        algorithm: one of `NAMES`; "bc" is the clone alone.
        extractor: frozen; its embeddings of every market are computed once.
        markets: training and validation markets; hysteresis and weights are chosen on the latter.
        config: sizes and rates.
        seed: of demonstrations, weights, batches and episodes.
        out: folder for TensorBoard logs and checkpoints, or None.
        writer: gets what is logged, too, or None.
        resume: go on from the last checkpoint in `out`.
        force: resume although configuration or data changed, or begin anew where checkpoints are gone.
        progress: show progress bars.

    Raises:
        ValueError: an unknown algorithm, another one's configuration, or markets that are kept to judge by.
        CheckpointError: nothing good to resume from, or it is gone. FileExistsError: `out` holds checkpoints, and
            `resume` is False.
        FolderLockedError: another process trains in `out`.
    """
    _require_fit(algorithm, extractor, markets, config)
    learning_device(algorithm, config)
    logs, began = out / LOG if out else None, perf_counter()
    checkpoints = None
    with ExitStack() as stack:
        stack.enter_context(one_thread())
        if out is not None and algorithm != "bc":
            made_of = identity(algorithm, extractor, markets, config, seed)
            checkpoints = Checkpoints(out / CHECKPOINTS, made_of, force=force)
            _hold(stack, checkpoints, out, resume)
        with embedding_on(extractor, config.accelerator):
            train, validation = (EmbeddedMarkets.of(extractor, part, progress=progress) for part in markets)
        settings = config.settings_for(extractor)
        if knows_values(extractor, settings):
            train = taught_by_values(extractor, train, settings)
        training_markets = TrainingMarkets(train, validation)
        if begins_with_values(algorithm, extractor, settings):
            start = agent_of_values(extractor, training_markets, settings, seed=spread_seed(seed, "weights"))
        else:
            start = cloned(
                extractor, training_markets, settings, config.cloning,
                seed=seed, correction=config.dagger,
                log_folder=logs / "clone" if logs else None, progress=progress,
            )  # fmt: skip
        metrics: dict[str, Any] = {"clone_seconds": perf_counter() - began}
        if algorithm == "bc":
            return Trained(start, start, metrics)
        began = perf_counter()
        learner, schedule = _learner(algorithm, start, train, config, seed=spread_seed(seed, "learning"))
        if checkpoints is None:
            schedule = replace(schedule, checkpoint_every=0)
        head = start.head if start.head == ALGORITHMS[algorithm].on_values else None
        kind = (algorithm, head or ALGORITHMS[algorithm].for_actions(start.settings.continuous)[1])
        result = improve(
            learner, start, kind, validation, schedule,
            checkpoints=checkpoints, log_folder=logs / algorithm if logs else None, writer=writer, progress=progress,
        )  # fmt: skip
    metrics |= {
        "learning_seconds": perf_counter() - began,
        "validation": [list(pair) for pair in result.validation],
        "kept_step": result.kept_step,
        **result.metrics,
    }
    return Trained(start, result.agent, metrics)


def begins_with_values(algorithm: str, extractor: Extractor, settings: TradingSettings) -> bool:
    """Whether an agent begins with the very values that its extractor knows, instead of with a clone."""
    can = algorithm in ALGORITHMS and ALGORITHMS[algorithm].on_values is not None
    return can and knows_values(extractor, settings)


def _require_fit(
    algorithm: str,
    extractor: Extractor,
    markets: tuple[Sequence[ExpertMarket], Sequence[ExpertMarket]],
    config: AgentTrainingConfig,
) -> None:
    """Refuse what does not go together, and markets that are kept to judge by."""
    if algorithm != "bc" and not isinstance(config.learning, (type(new_config(algorithm)), type(None))):
        raise ValueError(f"config.learning={config.learning!r} is not the configuration of {algorithm!r}")
    require_actions(algorithm, config.settings_for(extractor).continuous)
    refuse_families(markets_of(markets[0]), ("extractor", *JUDGED_BY), "train")
    refuse_families(markets_of(markets[1]), ("extractor", "train", *JUDGED_BY), "validation")


def _hold(stack: ExitStack, checkpoints: Checkpoints, out: Path, resume: bool) -> None:
    """Keep other processes from `out` until the stack is left; what is there is looked at before and after."""
    _require_checkpoints(checkpoints, out, resume)
    stack.enter_context(checkpoints.held())
    _require_checkpoints(checkpoints, out, resume)
    if resume and not checkpoints.generations():
        warnings.warn(f"{out} has no checkpoint yet: the training begins anew", stacklevel=3)


def _require_checkpoints(checkpoints: Checkpoints, out: Path, resume: bool) -> None:
    """There are some to resume from, or none in the way; a resumption is refused where there were some."""
    if checkpoints.generations():
        if not resume:
            raise FileExistsError(f"{out} holds checkpoints of an earlier training: resume, or choose another folder")
    elif (
        resume
        and not checkpoints.force
        and (checkpoints.saved_before() or (not checkpoints.begun() and any((out / LOG).rglob("events.*"))))
    ):
        raise CheckpointError(
            f"{out / CHECKPOINTS} had checkpoints, and they are gone: put them back, begin anew in another folder, "
            "or in this one with --force"
        )


def _learner(
    algorithm: str, start: Agent, train: EmbeddedMarkets, config: AgentTrainingConfig, *, seed: int
) -> tuple[BaseAlgorithm, Schedule]:
    """The algorithm, ready to learn, and for how long."""
    found = ALGORITHMS[algorithm]
    learning = config.learning if config.learning is not None else new_config(algorithm)
    schedule = Schedule(
        steps=learning.steps, evaluate_every=learning.evaluate_every, patience=config.patience,
        checkpoint_every=config.checkpoint_every or max(learning.steps // 10, 1),
        curriculum=getattr(learning, "curriculum", 0.0),
    )  # fmt: skip
    builder, _ = found.for_actions(start.settings.continuous)
    elsewhere = {} if config.device == "cpu" else {"device": learning_device(algorithm, config)}
    return getattr(import_module(found.module), builder)(start, train, learning, seed=seed, **elsewhere), schedule


def learning_device(algorithm: str, config: AgentTrainingConfig) -> str:
    """Where the agent learns, as torch names it.

    Raises:
        ValueError: there is no GPU, or the algorithm learns on the processor alone.
    """
    device = str(chosen_device(config.device))
    if device != "cpu" and (algorithm not in ON_DEVICES or config.trading.actions == CONTINUOUS):
        raise ValueError(
            f"device: {config.device} is for {', '.join(ON_DEVICES)} among positions; "
            f"{algorithm} {'over exposures ' if algorithm in ON_DEVICES else ''}learns on the cpu"
        )
    return device


def identity(
    algorithm: str,
    extractor: Extractor,
    markets: tuple[Sequence[ExpertMarket], Sequence[ExpertMarket]],
    config: AgentTrainingConfig,
    seed: int,
) -> dict[str, Any]:
    """What a training is made of: a resumed one must be made of the same."""
    told = asdict(config)
    del told["accelerator"], told["device"]  # where it is made is not what it is made of
    if config.learning is not None:
        told["learning"] = written_values(config.learning)
    if told["settings"] is not None and not told["settings"]["continuous"]:
        del told["settings"]["continuous"]
    if config.trading == TradingChoice():
        del told["trading"]  # as versions that had none wrote it: their trainings go on
    if begins_with_values(algorithm, extractor, config.settings_for(extractor)):
        told["begins"] = "with values"
    return {
        "algorithm": algorithm,
        "config": told,
        "extractor": extractor.hash,
        "seed": seed,
        "train_markets": [t.market.hash for t in markets[0]],
        "validation_markets": [t.market.hash for t in markets[1]],
    }


def expert_markets_for(
    market: MarketSource,
    settings: TradingSettings,
    config: AgentTrainingConfig,
    maker: MarketMaker,
    *,
    progress: bool = True,
) -> tuple[tuple[ExpertMarket, ...], tuple[ExpertMarket, ...]]:
    """Training and validation markets: of a synthetic task by name, or of markets of one's own, each split in time.

    The last part of each is left for evaluation; labels of bars need no truth (`pretrain.data.teachers.bar_labels`).
    `maker` makes them with the features of the extractor.

    Raises:
        ValueError: neither a task nor markets that will do.
    """
    task = task_named(market)
    if task is not None:
        maker.inputs.require_own(f"{task} is a task")
        counts = {"train": config.train_markets, "validation": config.validation_markets}
        train, validation = (
            synthetic_markets(task, family, count, config.days, settings, layout=maker.layout, progress=progress)
            for family, count in counts.items()
        )
        return train, validation
    fractions = maker.inputs.fractions
    splits = [split_market(whole, settings, fractions) for whole in own_markets(market, settings, maker)]
    return tuple(split.train for split in splits), tuple(split.validation for split in splits)


def train(
    algorithm: str = "ppo",
    *,
    market: MarketSource = "easy",
    extractor: Extractor | str | Path = "default",
    out: str | Path,
    seed: int = 0,
    config: AgentTrainingConfig | None = None,
    inputs: MarketInputs | None = None,
    segments: str | None = None,
    mlflow: str | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
) -> Run:
    """Train an agent and save its run folder.

    Args:
        algorithm: "bc" (clone only), or what goes on from the clone: one of `NAMES`.
        market: name of a synthetic task, or one or several markets of your own, each split in time: a frame of bars, a
            file of them, a `Market`, its folder, or the folder of a store's series.
        extractor: a pretrained extractor, the folder of one, or "default", the one that ships.
        out: the run folder, made where it does not exist.
        seed: of everything that is drawn.
        config: sizes and rates.
        inputs: for bars: where the reference market and exogenous columns that the extractor reads come from; funding
            rates, and shares in time.
        segments: folder of a segmenter, or of the run that made it: its probabilities and states are read beside the
            embeddings of the extractor.
        mlflow: also log to MLflow, an experiment of this name (`MLFLOW_TRACKING_URI` says where).
        resume: go on from the last checkpoint in `out`.
        force: resume although configuration or data changed.
        progress: show progress bars.

    Raises:
        ValueError: an unknown algorithm or task. ImportError: `mlflow` is asked for and not installed.
        FileExistsError: `out` holds a run, finished or not, and `resume` is False. FolderLockedError: another process
        writes it. What fails before the first checkpoint leaves nothing in `out`.
    """
    new_config(algorithm)
    require_actions(algorithm, config is not None and config.trading.actions == CONTINUOUS)
    config, folder = config or AgentTrainingConfig(), Path(out)
    learning_device(algorithm, config)
    with writing_run(folder, resume=resume):
        loaded = load_extractor(extractor, segments)
        settings = config.settings_for(loaded)
        maker = maker_for(loaded, inputs, "the extractor" if loaded is extractor else f"the extractor {extractor}")
        markets = expert_markets_for(market, settings, config, maker, progress=progress)
        told = {"algorithm": algorithm, "market": in_words(market), "seed": seed, "training": asdict(config)}
        told |= {} if segments is None else {"segments": segments}
        told |= {INPUTS: maker.inputs.given} if maker.inputs.given else {}
        if markets[0][0].truth is None:  # bars: whoever judges must look at later ones
            told |= {TRAINED_UNTIL: last_bar(markets[0]), LEARNED_UNTIL: last_bar(markets[1])}
        if has_path(market) and not isinstance(extractor, Extractor) and config.settings is None:
            named = tuple(map(str, several(market)))
            market_key = named[0] if len(named) == 1 else named
            _write_recipe(
                folder, config, algorithm=algorithm, market=market_key, extractor=str(extractor), seed=seed,
                inputs=maker.inputs, segments=segments,
            )  # fmt: skip
        with ExitStack() as stack:
            writer = None
            if mlflow is not None:
                from agents.training.mlflow_log import MLflowRun

                writer = stack.enter_context(MLflowRun(mlflow, str(folder), told | {"extractor": loaded.hash}))
            trained = learn(
                algorithm, loaded, markets, config, seed=seed, out=folder, writer=writer, resume=resume, force=force,
                progress=progress,
            )  # fmt: skip
            run = Run(folder, trained.agent, trained.clone)
            run.save(told, trained.metrics)
            if writer is not None:
                writer.log({f"kept/{key}": value for key, value in trained.metrics.items()})
                writer.keep(folder)
        return run


def _write_recipe(folder: Path, config: AgentTrainingConfig, **named: Any) -> None:
    """Write what `cryptoenv train --resume` goes on with, where it is not there; `named`: the recipe's other values."""
    from agents.training.recipe import AgentRecipe

    if not (folder / RECIPE).exists():
        if config.learning is None:
            config = replace(config, learning=new_config(named["algorithm"]))
        write_recipe(AgentRecipe(training=config, **named), 1, folder)
