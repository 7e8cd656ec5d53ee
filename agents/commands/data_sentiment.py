"""`cryptoenv data sentiment`: dated texts become hourly scores beside the bars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agents.run_folders.new_outputs import require_new_file, write_new_file


def sentiment(
    texts: Annotated[Path, typer.Argument(help="CSV or JSON lines with a time and a text per row.", dir_okay=False)],
    out: Annotated[Path, typer.Option(help="Parquet or CSV file to write.")],
    model: Annotated[
        str, typer.Option(help="lexicon (VADER), or the folder of a Hugging Face classifier.", metavar="lexicon|FOLDER")
    ] = "lexicon",
    delay: Annotated[str, typer.Option(help="From a text's time to the moment it could be read.")] = "5min",
) -> None:
    """Score dated texts, and write their mean and number by the hour, known at each row's time (join with @0s)."""
    from pretrain.sentiment.dated_texts import read_texts
    from pretrain.sentiment.hourly import hourly_scores
    from pretrain.sentiment.scorers import new_scorer

    require_new_file(out, ".parquet", ".csv")
    found = read_texts(texts)
    scores = new_scorer(model)(found["text"].tolist())
    table = hourly_scores(found, scores, delay)
    write_new_file(out, table.to_parquet if out.suffix.lower() == ".parquet" else table.to_csv)
    print(f"{out}: {len(found):,} texts in {len(table):,} hours, {table.index[0]} to {table.index[-1]}, mean score "
          f"{scores.mean():+.3f}")  # fmt: skip
