"""`cryptoenv tokens --test-mode`: what is tested on which tokens, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.commands.tokens_options import token_range
from agents.run_folders.new_outputs import told_when_interrupted

if TYPE_CHECKING:
    from pretrain.data.splits import Splits
    from pretrain.tokens.artifact import TokenForecaster
    from pretrain.tokens.recipe import TokenRecipe
    from pretrain.tokens.run import JudgingPlan
    from pretrain.tokens.series import TokenSeries


@dataclass(frozen=True)
class Asked:
    """What was asked for: the run folder, the artifact (None: the run's), the device, the data and seconds of their
    rows, a token's id or a range of them, an MLflow experiment."""

    out: Path
    artifact: Path | None
    device: str
    data: Path | None
    bar_seconds: int
    token: int | None
    token_range: str | None
    mlflow: str | None

    def __post_init__(self) -> None:
        if self.token is not None and self.token_range is not None:
            raise ValueError("--test-token-id and --test-token-range: give one of them")


def loaded(folder: Path, device: str, sizes: Mapping[str, Any]) -> TokenForecaster:
    """The forecaster of an artifact, or of a run, if it has the sizes that were asked for.

    Raises:
        ValueError: another model, or another size.
    """
    import pretrain

    found = pretrain.load(folder, device=device)
    if not isinstance(found, pretrain.TokenForecaster):
        raise ValueError(f"--load-model {folder} holds a model of something else than tokens")
    for name, value in sizes.items():
        if (own := getattr(found.config, name)) != value:
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{flag} {value} does not fit the model in {folder}, which has {own}: leave it out")
    return found


def read(recipe: TokenRecipe, data: Path | None, bar_seconds: int) -> tuple[TokenSeries, ...]:
    """The tokens of a file or store, or the recipe's synthetic ones."""
    from pretrain.tokens.run import tokens_of
    from pretrain.tokens.swaps import read_tokens

    return tokens_of(recipe) if data is None else read_tokens(data, bar_seconds)


def judged_in_test_mode(recipe: TokenRecipe, sizes: Mapping[str, Any], asked: Asked, plan: JudgingPlan) -> None:
    """Forecast and judge; pictures and figures go into the run folder."""
    from pretrain.tokens.run import ARTIFACT, judge_tokens

    forecaster = loaded(asked.artifact or asked.out / ARTIFACT, asked.device, sizes)
    series, splits = _tested(recipe, asked)
    chosen = _chosen(asked, len(series), splits)
    length = forecaster.config.seq_length
    if short := [n for n in chosen if len(series[n]) <= length]:
        rows = len(series[short[0]])
        raise ValueError(f"token {short[0]} has {rows} rows, which is too few for seq_length={length} of the model")
    with told_when_interrupted(lambda: "the pictures that were drawn are kept; the same command draws them again"):
        found = judge_tokens(forecaster, series, chosen, splits, plan, asked.out)
    _report(found, len(chosen), plan, asked)


def _tested(recipe: TokenRecipe, asked: Asked) -> tuple[Sequence[TokenSeries], Splits | None]:
    """The tokens to choose from: those of `--data`, else of the run, else the recipe's; and their split if known."""
    from pretrain.tokens.hdf5_store import METADATA, SPLIT, TokenStore
    from pretrain.tokens.run import DATA

    if asked.data is not None and not asked.data.is_dir():
        return read(recipe, asked.data, asked.bar_seconds), None
    store = TokenStore(asked.data or asked.out / DATA)
    if not (store.folder / METADATA).exists():
        return read(recipe, asked.data, asked.bar_seconds), None
    return store.read_all(), store.split()[0] if (store.folder / SPLIT).exists() else None


def _chosen(asked: Asked, count: int, splits: Splits | None) -> list[int]:
    """The tokens to test: those asked for, else those of the test, else all."""
    if asked.token is not None:
        if not 0 <= asked.token < count:
            raise ValueError(f"--test-token-id {asked.token} is unknown; allowed: ids from 0 to {count - 1}")
        return [asked.token]
    if asked.token_range is not None:
        return list(token_range(asked.token_range, count))
    return sorted({span.market for span in splits.test}) if splits is not None else list(range(count))


def _report(found: dict[str, Any], tested: int, plan: JudgingPlan, asked: Asked) -> None:
    from pretrain.fitting.mlflow_tracking import log_run
    from pretrain.tokens.run import METRICS

    print(f"tokens tested: {tested}, presents of each: {plan.origins}")
    for name, row in found["forecast"].items():
        print(f"{name:12s} " + "  ".join(f"{step} rows {_shown(value)}" for step, value in row.items()))
    for name in ("pump", "rise"):
        if name in found["pumps"]:
            figures = found["pumps"][name]
            print(f"{name:12s} average precision {_shown(figures['average_precision'])} "
                  f"(rows: {_shown(figures['share_of_rows'])})")  # fmt: skip
    if asked.mlflow is not None:
        measured = found["forecast"]["log_error"].items()
        log_run(
            asked.mlflow, asked.out, {}, {f"test/log_error_{s}": value for s, value in measured if value is not None}
        )
    print(f"figures: {asked.out / METRICS}\npictures: {asked.out / 'img'}, {asked.out / 'predictions'}")


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
