"""Options that several commands have: one word for one thing, declared once; and the words of the version before."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from pretrain.fitting.market_inputs import MarketInputs

TASK_HELP = "Synthetic task: easy, standard or hard."
BARS_HELP = "Your own bars: a file, a saved market's folder, or a store's series (STORE/EXCHANGE/SYMBOL/TIMEFRAME)."

Task = Annotated[str | None, typer.Option("--task", help=TASK_HELP)]
Bars = Annotated[Path | None, typer.Option("--bars", help=BARS_HELP)]
SeveralBars = Annotated[list[Path] | None, typer.Option("--bars", help=f"{BARS_HELP} Once per market.")]
Seed = Annotated[
    int, typer.Option("--seed", help="Of everything that is drawn: the same seed, the same result.", min=0)
]
RecipeSeed = Annotated[int | None, typer.Option("--seed", help="Instead of the recipe's seed.", min=0)]
Steps = Annotated[int | None, typer.Option("--steps", help="Steps of the training, instead of the recipe's.", min=1)]
Days = Annotated[int, typer.Option("--days", help="Tradable days of each synthetic market.", min=1)]
Extractor = Annotated[str | None, typer.Option("--extractor", help="default, or the folder of an artifact.")]
RunFolder = Annotated[Path, typer.Argument(help="Run folder.", exists=True, file_okay=False)]
Timeframes = Annotated[
    str | None,
    typer.Option("--timeframes", help="Of the market, base first: 1m,15m. What an artifact says wins, and must agree."),
]
Features = Annotated[Path | None, typer.Option("--features", help="Feature spec: a YAML or JSON file.")]
Reference = Annotated[
    Path | None,
    typer.Option("--reference", help="Bars of the market that features are taken against, in any form of --bars."),
]
Exogenous = Annotated[
    list[str] | None,
    typer.Option(
        "--exogenous",
        help="Values beside the bars: a file with a time column, or a store's series, and how long after its time a "
        "value was public: greed.csv@1d. Once per source.",
    ),
]
Funding = Annotated[
    list[Path] | None,
    typer.Option(
        "--funding",
        help="Funding rates of --bars: a file as exchanges and ccxt give it, or a store's series. Once per market.",
    ),
]
SplitFractions = Annotated[
    str | None,
    typer.Option(
        "--split-fractions",
        help="Shares in time of --bars: to learn from, to choose by, to look at once.",
        show_default="0.6,0.2,0.2",
        metavar="TRAIN,VALIDATION,TEST",
    ),
]
Instrument = Annotated[str | None, typer.Option("--instrument", help="What is traded: spot, margin or perpetual.")]
Reward = Annotated[
    str | None,
    typer.Option("--reward", help="What learning is paid: a name, or weights: log_return=1,drawdown=0.2."),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any other value of the recipe, once per value: costs.fee=0.0005, limits.stop_loss=0.05, "
        "actions=[-1,0,1], learning.gamma=0.98.",
        metavar="KEY=VALUE",
    ),
]
Accelerator = Annotated[
    Literal["auto", "cpu", "gpu"] | None,
    typer.Option("--accelerator", help="Where networks run, instead of the recipe's; auto: a GPU where there is one."),
]
LearningDevice = Annotated[
    Literal["auto", "cpu", "cuda"] | None,
    typer.Option("--device", help="Where the agent learns, instead of the recipe's; auto: a GPU where there is one."),
]
MLflow = Annotated[str | None, typer.Option("--mlflow", help="Also log to this MLflow experiment.")]


def earlier(old: str, new: str) -> None:
    """Tell in one line that an option's name is of the version before, and which it is now."""
    warnings.warn(f"{old} is {new} now; the old name works in this version only", FutureWarning, stacklevel=3)


def hidden(*names: str) -> Any:
    """An option of the version before: it works, and no help shows it."""
    return typer.Option(*names, hidden=True)


def one_source(task: str | None, bars: Path | Sequence[Path] | None) -> str | tuple[str, ...] | None:
    """The task or the paths of own bars that a command was given; None where neither.

    Raises:
        ValueError: both.
    """
    paths = [bars] if isinstance(bars, Path) else list(bars or ())
    if task is not None and paths:
        raise ValueError("--task and --bars: name one of them at a time")
    if not paths:
        return task
    named = tuple(_as_path(path) for path in paths)
    return named[0] if len(named) == 1 else named


def market_inputs(
    timeframes: str | None,
    features: Path | None,
    reference: Path | None,
    exogenous: Sequence[str] | None,
    *,
    funding: Sequence[Path] | None = None,
    split_fractions: str | None = None,
) -> MarketInputs:
    """What --timeframes, --features, --reference and so on say; nothing where none was given.

    Raises:
        ConfigError: a value that is not allowed, or a file that is not there.
    """
    from pretrain.fitting.market_inputs import MarketInputs

    given = {
        "timeframes": timeframes,
        "features": None if features is None else str(features),
        "reference": None if reference is None else str(reference),
        "exogenous": list(exogenous) if exogenous else None,
        "funding": tuple(map(str, funding)) if funding else None,
        "split_fractions": split_fractions,
    }
    return MarketInputs.read(given, "the command line")


def recipe_changes(
    instrument: str | None = None, reward: str | None = None, changes: Sequence[str] | None = None
) -> dict[str, Any]:
    """What --instrument, --reward and --set change in a recipe, by dotted key.

    Raises:
        ValueError: no KEY=VALUE.
    """
    from cryptoenv.files.bounded_yaml import parse_yaml

    found: dict[str, Any] = {}
    for text in changes or ():
        key, equals, value = text.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise ValueError(f"--set {text!r} is no KEY=VALUE, such as costs.fee=0.0005")
        found[key.strip()] = parse_yaml(value, f"--set {key.strip()}")
    if instrument is not None:
        found["instrument"] = instrument
    if reward is not None:
        found["reward"] = _weights(reward) if "=" in reward else reward
    return found


def _weights(text: str) -> dict[str, float]:
    """Weights of rewards, "log_return=1,drawdown=0.2"."""
    found = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        try:
            found[name.strip()] = float(weight)
        except ValueError as error:
            raise ValueError(f"--reward {text!r}: {weight!r} is no weight; say such as log_return=1") from error
    return found


def _as_path(path: Path) -> str:
    # A file called like a task is the file here: "easy" alone would be the task.
    from synthetic import TASKS

    return f"./{path}" if str(path) in TASKS else str(path)


def of_earlier(market: str | None, old: str, task: str | None, bars: Any) -> tuple[str | None, Any]:
    """`--task` and `--bars`, where an option of the version before named either.

    Args:
        market: what was given to the old option, or None.
        old: its name.
        task, bars: what was given to the new ones; a list where the command takes several bars, or a path.
    """
    if market is None:
        return task, bars
    from synthetic import TASKS

    is_task = market in TASKS and not Path(market).is_file()
    earlier(old, "--task" if is_task else "--bars")
    if is_task:
        return market, bars
    return task, [*bars, Path(market)] if isinstance(bars, list) else bars or Path(market)
