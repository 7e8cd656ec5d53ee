"""From markets to a trained agent: demonstrations, clone, PPO; `train` does it all for a benchmark task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from agents.agent import Agent
from agents.cloning import CloningConfig, clone
from agents.demonstrations import collect
from agents.evaluation import tune_margin
from agents.features_extractor import embed
from agents.heads import PolicyShape, bind, new_policy
from agents.ppo_training import PPOConfig, improve
from agents.run_folder import Run
from agents.settings import TradingSettings
from agents.taught_market import TaughtMarket, synthetic_markets
from agents.threads import use_one_thread
from pretrain import Extractor

Algorithm = Literal["bc", "ppo"]
ALGORITHMS: tuple[Algorithm, ...] = ("bc", "ppo")


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that shapes the training of an agent on a given extractor.

    Attributes:
        settings: what is looked at and traded.
        cloning: of the clone.
        ppo: of what follows it.
        train_markets: synthetic markets to learn on ("train" seeds).
        validation_markets: synthetic markets to select on ("validation" seeds).
        days: tradable days of each.
    """

    settings: TradingSettings = field(default_factory=TradingSettings)
    cloning: CloningConfig = field(default_factory=CloningConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    train_markets: int = 32
    validation_markets: int = 24
    days: int = 60


@dataclass(frozen=True)
class Trained:
    """What came out of `learn`: the clone, the agent (the clone itself for "bc"), and figures on the way."""

    clone: Agent
    agent: Agent
    metrics: dict[str, Any]


def learn(
    algorithm: Algorithm,
    extractor: Extractor,
    markets: tuple[Sequence[TaughtMarket], Sequence[TaughtMarket]],
    config: TrainingConfig,
    *,
    seed: int,
    out: Path | None = None,
    progress: bool = True,
) -> Trained:
    """Clone the labels of the training markets, then (for "ppo") go on from the clone.

    Args:
        algorithm: "bc" or "ppo".
        extractor: frozen; its embeddings of every market are computed once.
        markets: training and validation markets; hysteresis and weights are chosen on the latter.
        config: sizes and rates.
        seed: of demonstrations, weights, batches and episodes.
        out: folder for TensorBoard logs, or None.
        progress: show progress bars.

    Raises:
        ValueError: an unknown algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm={algorithm!r} is unknown; choose one of {ALGORITHMS}")
    use_one_thread()
    taught, validation = markets
    logs = out / "tensorboard" if out else None
    began = perf_counter()
    table = embed(extractor, taught, progress=progress)
    demonstrations = collect(
        taught,
        config.settings,
        samples=config.cloning.samples,
        seed=seed,
        dwell=config.cloning.dwell,
        progress=progress,
    )
    shape = PolicyShape(table.rows.shape[1], len(config.settings.positions))
    policy = new_policy(shape, seed)
    bind(policy, table)
    clone(
        policy,
        demonstrations,
        config.cloning,
        seed=seed,
        log_folder=logs / "clone" if logs else None,
        progress=progress,
    )
    cloned = tune_margin(Agent(extractor, policy, shape, config.settings), validation)
    metrics: dict[str, Any] = {"demonstrations": len(demonstrations), "clone_seconds": perf_counter() - began}
    if algorithm == "bc":
        return Trained(cloned, cloned, metrics)
    began = perf_counter()
    result = improve(
        cloned,
        (taught, table),
        (validation, embed(extractor, validation, progress=progress)),
        config.ppo,
        seed=seed,
        log_folder=logs / "ppo" if logs else None,
        progress=progress,
    )
    metrics |= {
        "ppo_seconds": perf_counter() - began,
        "ppo_validation": [list(pair) for pair in result.validation],
        "ppo_kept_step": result.kept_step,
    }
    return Trained(cloned, result.agent, metrics)


def train(
    algorithm: Algorithm = "ppo",
    *,
    market: str = "easy",
    extractor: Extractor | str | Path,
    out: str | Path,
    seed: int = 0,
    config: TrainingConfig | None = None,
    progress: bool = True,
) -> Run:
    """Train an agent on a benchmark task and save its run folder.

    Args:
        algorithm: "bc" (clone only) or "ppo" (clone, then PPO).
        market: name of the task.
        extractor: a pretrained extractor, or the folder of one.
        out: the run folder, made where it does not exist.
        seed: of everything that is drawn.
        config: sizes and rates.
        progress: show progress bars.

    Raises:
        ValueError: an unknown algorithm or task.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm={algorithm!r} is unknown; choose one of {ALGORITHMS}")
    config = config or TrainingConfig()
    loaded = extractor if isinstance(extractor, Extractor) else Extractor.load(Path(extractor))
    folder = Path(out)
    taught = synthetic_markets(market, "train", config.train_markets, config.days, config.settings, progress=progress)
    validation = synthetic_markets(
        market, "validation", config.validation_markets, config.days, config.settings, progress=progress
    )
    trained = learn(algorithm, loaded, (taught, validation), config, seed=seed, out=folder, progress=progress)
    run = Run(folder, trained.agent, trained.clone)
    run.save({"algorithm": algorithm, "market": market, "seed": seed, "training": asdict(config)}, trained.metrics)
    return run
