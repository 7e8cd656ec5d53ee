"""Options of `cryptoenv tokens`, under the founding design's names; what is not given is the recipe's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

_FRACTIONS = re.compile(r"\s*([^,]+),([^,]+),([^,]+)\s*")

RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe", help="tokens (the design's sizes and rates), tokens_trained (learns in minutes), or a YAML file."
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Run folder: data, splits, log, artifact, pictures, figures.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Real tokens: a store's folder, or a file of swaps or bars (CSV or Parquet)."),
]
BarSeconds = Annotated[int, typer.Option("--bar-seconds", help="With --data: seconds of a row of swaps.", min=1)]
NumTokens = Annotated[int | None, typer.Option("--num-tokens", help="Synthetic tokens.", min=1, show_default="5")]
Timesteps = Annotated[int | None, typer.Option("--timesteps", help="Rows of each.", min=20, show_default="4000")]
SeqLength = Annotated[int | None, typer.Option("--seq-length", help="Rows of a window.", min=2, show_default="500")]
EmbedSize = Annotated[int | None, typer.Option("--embed-size", help="Width of the network.", min=2, show_default="64")]
Heads = Annotated[int | None, typer.Option("--nhead", help="Heads of attention.", min=1, show_default="4")]
Feedforward = Annotated[
    int | None, typer.Option("--dim-feedforward", help="Units of a block's inner layer.", min=1, show_default="256")
]
Dropout = Annotated[float | None, typer.Option("--dropout", help="Share in [0, 1).", show_default="0.0")]
Embedding = Annotated[
    Literal["conv", "linear"] | None,
    typer.Option("--embedding", help="How rows are embedded.", show_default="conv"),
]
Epochs = Annotated[float | None, typer.Option("--epochs", help="Passes over the windows.", show_default="30")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", help="Windows of a step.", min=1, show_default="1")]
LearningRate = Annotated[
    float | None, typer.Option("--learning-rate", help="AdamW's, at its highest.", show_default="2.2e-6")
]
SplitStrategy = Annotated[
    Literal["time", "token", "mixed", "strict"] | None,
    typer.Option(
        "--split-strategy", help="time, token (other tokens), mixed (the last time of all) or strict.",
        show_default="time",
    ),
]  # fmt: skip
TokenFractions = Annotated[
    str | None, typer.Option("--split-fractions", help="Train, validation and test.", show_default="0.4,0.2,0.4")
]
TrainTokenRatio = Annotated[
    float | None,
    typer.Option("--train-token-ratio", help="With token or mixed: share of tokens that is learned from."),
]
ShowDataSplits = Annotated[bool, typer.Option("--show-data-splits", help="Print and draw the split, and stop.")]
SaveModel = Annotated[bool, typer.Option(help="Keep the artifact in the run folder.")]
LoadModel = Annotated[
    Path | None,
    typer.Option("--load-model", help="An artifact, or a run, to go on from; with --test-mode, the one to test."),
]
TestMode = Annotated[bool, typer.Option("--test-mode", help="Test and forecast instead of training.")]
TestTokenId = Annotated[int | None, typer.Option("--test-token-id", help="With --test-mode: this token.")]
TestTokenRange = Annotated[
    str | None, typer.Option("--test-token-range", help="With --test-mode: tokens A to B - 1, as A-B: 0-5.")
]
Forecast = Annotated[int, typer.Option("--forecast", help="Rows ahead of prediction_short.png.", min=1)]
ForecastExtended = Annotated[
    int, typer.Option("--forecast-extended", help="Rows ahead of prediction_extended.png.", min=1)
]
Paths = Annotated[int, typer.Option("--paths", help="Sampled paths of a forecast.", min=2)]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="auto: a GPU where there is one.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
Trials = Annotated[int, typer.Option("--trials", help="Finished trials that the study shall have.", min=1)]
Workers = Annotated[int, typer.Option("--workers", help="Processes side by side.", min=1)]
Seconds = Annotated[float | None, typer.Option("--seconds", help="CPU seconds of each training.", min=1.0)]
StudyFolder = Annotated[Path, typer.Option("--out", help="Of the study; one that exists goes on.")]


def fractions(text: str) -> tuple[float, float, float]:
    """Three shares of "0.4,0.2,0.4".

    Raises:
        ValueError: not three numbers.
    """
    found = _FRACTIONS.fullmatch(text)
    try:
        if found is not None:
            train, validation, test = (float(part) for part in found.groups())
            return train, validation, test
    except ValueError:
        pass
    raise ValueError(f"--split-fractions {text!r} is not allowed: three numbers that add up to 1, such as 0.4,0.2,0.4")


def token_range(text: str, count: int) -> range:
    """The ids of "A-B": A to B - 1.

    Raises:
        ValueError: no range, one that runs backwards or is empty, or one beyond the tokens there are.
    """
    found = re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", text)
    allowed = f"A-B with 0 <= A < B <= {count} (tokens A to B - 1)"
    if found is None:
        raise ValueError(f"--test-token-range {text!r} is no range; allowed: {allowed}")
    first, last = int(found[1]), int(found[2])
    if first >= last:
        how = "runs backwards" if first > last else "is empty"
        raise ValueError(f"--test-token-range {text} {how}; allowed: {allowed}")
    if last > count:
        raise ValueError(f"--test-token-range {text} goes beyond the {count} tokens there are; allowed: {allowed}")
    return range(first, last)
