"""`cryptoenv synth`: synthetic bars with their truth, as files."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agents.run_folders.new_outputs import require_new_folder, write_new_folder

if TYPE_CHECKING:
    import pandas as pd


class Kind(StrEnum):
    """Which generator."""

    regime = "regime"
    pattern = "pattern"
    token = "token"


class Format(StrEnum):
    """Of the tables."""

    parquet = "parquet"
    csv = "csv"


def synth(
    kind: Annotated[Kind, typer.Option(help="regime: hidden regimes; pattern: a chart pattern; token: pool markets.")],
    out: Annotated[Path, typer.Option(help="Folder to write; new or empty.")],
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.", min=0)] = 0,
    task: Annotated[str, typer.Option(help="regime: name of the task.")] = "standard",
    days: Annotated[int, typer.Option(help="regime: tradable days, after the warm-up.", min=1)] = 60,
    pattern: Annotated[str, typer.Option(help="pattern: which, or `all`.")] = "all",
    noise: Annotated[float, typer.Option(help="pattern: noise in heights of the pattern.")] = 0.06,
    tokens: Annotated[int, typer.Option(help="token: how many.", min=1)] = 4,
    bars: Annotated[
        int | None, typer.Option(help="pattern, token: bars of each series; 160 and 1440 if unset.")
    ] = None,
    table_format: Annotated[Format, typer.Option("--format", help="Of bars and truth.")] = Format.parquet,
    picture: Annotated[bool, typer.Option(help="Draw a PNG of it too (pattern and token).")] = False,
) -> None:
    """Write synthetic bars, their truth beside them (never in them) and the parameters as JSON."""
    require_new_folder(out)
    if kind is Kind.regime and picture:
        raise ValueError("--picture draws patterns and tokens: it has no picture of --kind regime")
    if kind is Kind.regime:
        tables, truth = _regime(task, days, seed)
    elif kind is Kind.pattern:
        tables, truth = _patterns(pattern, noise, bars, seed)
    else:
        tables, truth = _tokens(tokens, bars, seed)

    def fill(folder: Path) -> None:
        for name, table in tables.items():
            _write(table, folder / f"{name}.{table_format.value}")
        told = json.dumps({"kind": kind.value, "seed": seed, **truth}, indent=1)
        (folder / "truth.json").write_text(told + "\n", "utf-8")
        if picture:
            _draw(kind, folder / "picture.png", pattern, noise, bars, tokens, seed)

    write_new_folder(out, fill)
    typer.echo(f"{out}: {', '.join(sorted(file.name for file in out.iterdir()))}")


def _regime(task: str, days: int, seed: int) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    from synthetic.regimes.market import regime_market

    sample = regime_market(task, days, seed)
    return {"bars": sample.bars, "truth": sample.truth}, {"task": task, "days": days}


def _patterns(kind: str, noise: float, bars: int | None, seed: int) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    import numpy as np

    from synthetic.patterns.patterns import PATTERN_KINDS, generate_pattern

    params = _pattern_params(bars)
    tables, truths = {}, {}
    for name in PATTERN_KINDS if kind == "all" else (kind,):
        place = PATTERN_KINDS.index(name) if name in PATTERN_KINDS else 0
        table, truth = generate_pattern(name, params, noise, np.random.default_rng([seed, place]))
        tables[name] = table
        truths[name] = {
            "spans": truth.spans.to_dict("records"),
            "lines": truth.lines.to_dict("records"),
            "confirmed": truth.confirmed,
            "actions": truth.actions.tolist(),
        }
    return tables, {"noise": noise, "params": asdict(params), "patterns": truths}


def _pattern_params(bars: int | None) -> Any:
    from synthetic.patterns.patterns import PatternParams

    return PatternParams() if bars is None else PatternParams(length=bars, duration=bars * 7 // 8)


def _token_config(tokens: int, bars: int | None) -> Any:
    from synthetic.tokens.market import TokenConfig

    return TokenConfig(tokens=tokens) if bars is None else TokenConfig(tokens=tokens, bars=bars)


def _tokens(tokens: int, bars: int | None, seed: int) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    from synthetic.tokens.market import token_market

    sample = token_market(_token_config(tokens, bars), seed)
    truth = {f"{name}_truth": table for name, table in sample.truth.items()}
    return {**sample.bars, **truth}, {"config": asdict(sample.config), "events": sample.events.to_dict("records")}


def _write(table: pd.DataFrame, path: Path) -> None:
    if path.suffix == ".csv":
        table.to_csv(path, float_format="%.17g")
    else:
        table.to_parquet(path)


def _draw(kind: Kind, path: Path, pattern: str, noise: float, bars: int | None, tokens: int, seed: int) -> None:
    from agents.reports.pattern_gallery import draw_gallery, draw_tokens
    from synthetic.patterns.patterns import PATTERN_KINDS
    from synthetic.tokens.market import token_market

    if kind is Kind.token:
        draw_tokens(token_market(_token_config(tokens, bars), seed), path)
    else:
        draw_gallery(path, noise, seed, _pattern_params(bars), PATTERN_KINDS if pattern == "all" else (pattern,))
