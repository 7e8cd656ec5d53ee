"""`cryptoenv synth`: synthetic bars with their truth, as files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from agents.commands.options import Seed, earlier, hidden
from agents.run_folders.new_outputs import require_new_folder, write_new_folder

if TYPE_CHECKING:
    import pandas as pd


class Kind(StrEnum):
    """Which generator."""

    regime = "regime"
    pattern = "pattern"
    pattern_market = "pattern-market"
    token = "token"


class Format(StrEnum):
    """Of the tables."""

    parquet = "parquet"
    csv = "csv"


class _Made(NamedTuple):
    """What a generator made: tables by file name, what `truth.json` says, and how to draw it (None: no picture)."""

    tables: dict[str, pd.DataFrame]
    truth: dict[str, Any]
    draw: Callable[[Path], None] | None


def synth(
    kind: Annotated[
        Kind,
        typer.Option(
            help="regime: hidden regimes; pattern: a chart pattern; pattern-market: a long series with patterns "
            "planted in it; token: pool markets."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; new or empty.")],
    seed: Seed = 0,
    task: Annotated[str, typer.Option(help="regime: name of the task.")] = "standard",
    days: Annotated[int, typer.Option(help="regime, pattern-market: tradable days, after the warm-up.", min=1)] = 60,
    pattern: Annotated[str, typer.Option(help="pattern: which, or `all`.")] = "all",
    noise: Annotated[float, typer.Option(help="pattern: noise in heights of the pattern.")] = 0.06,
    density: Annotated[float, typer.Option(help="pattern-market: share of bars in patterns, 0 to 0.8.")] = 0.5,
    volatility: Annotated[
        float, typer.Option(help="pattern-market: deviation of a bar's log-return, above 0 and up to 0.1.")
    ] = 0.005,
    tokens: Annotated[int, typer.Option(help="token: how many.", min=1)] = 4,
    length: Annotated[
        int | None, typer.Option(help="pattern, token: bars of each series; 160 and 116 days of minutes if unset.")
    ] = None,
    table_format: Annotated[Format, typer.Option("--format", help="Of bars and truth.")] = Format.parquet,
    picture: Annotated[bool, typer.Option(help="Draw a PNG of it too (not of regime).")] = False,
    bars: Annotated[int | None, hidden("--bars")] = None,
) -> None:
    """Write synthetic bars, their truth beside them (never in them) and the parameters as JSON."""
    require_new_folder(out)
    if bars is not None:
        earlier("--bars", "--length")
        length = length or bars
    if kind is Kind.regime and picture:
        raise ValueError("--picture draws patterns and tokens: it has no picture of --kind regime")
    if kind is Kind.regime:
        made = _regime(task, days, seed)
    elif kind is Kind.pattern_market:
        made = _pattern_market(days, seed, density, volatility)
    elif kind is Kind.pattern:
        made = _patterns(pattern, noise, length, seed)
    else:
        made = _tokens(tokens, length, seed)

    def fill(folder: Path) -> None:
        for name, table in made.tables.items():
            _write(table, folder / f"{name}.{table_format.value}")
        told = json.dumps({"kind": kind.value, "seed": seed, **made.truth}, indent=1)
        (folder / "truth.json").write_text(told + "\n", "utf-8")
        if picture and made.draw is not None:
            made.draw(folder / "picture.png")

    write_new_folder(out, fill)
    typer.echo(f"{out}: {', '.join(sorted(file.name for file in out.iterdir()))}")


def _regime(task: str, days: int, seed: int) -> _Made:
    from synthetic.regimes.market import regime_market

    sample = regime_market(task, days, seed)
    return _Made({"bars": sample.bars, "truth": sample.truth}, {"task": task, "days": days}, None)


def _pattern_market(days: int, seed: int, density: float, volatility: float) -> _Made:
    from synthetic.patterns.market import pattern_market

    sample = pattern_market(days, seed, density, volatility)
    spans = sample.spans.astype({"target": object}).where(sample.spans.notna(), None)  # JSON knows no NaN
    told = {"days": days, "density": density, "volatility": volatility, "spans": spans.to_dict("records")}

    def draw(path: Path) -> None:
        from agents.reports.pattern_gallery import draw_pattern_market

        draw_pattern_market(sample, path)

    return _Made({"bars": sample.bars, "truth": sample.truth}, told, draw)


def _patterns(kind: str, noise: float, bars: int | None, seed: int) -> _Made:
    import numpy as np

    from synthetic.patterns.patterns import PATTERN_KINDS, PatternParams, generate_pattern

    params = PatternParams() if bars is None else PatternParams(length=bars, duration=bars * 7 // 8)
    kinds = PATTERN_KINDS if kind == "all" else (kind,)
    tables, truths = {}, {}
    for name in kinds:
        place = PATTERN_KINDS.index(name) if name in PATTERN_KINDS else 0
        table, truth = generate_pattern(name, params, noise, np.random.default_rng([seed, place]))
        tables[name] = table
        truths[name] = {
            "spans": truth.spans.to_dict("records"),
            "lines": truth.lines.to_dict("records"),
            "confirmed": truth.confirmed,
            "actions": truth.actions.tolist(),
        }

    def draw(path: Path) -> None:
        from agents.reports.pattern_gallery import draw_gallery

        draw_gallery(path, noise, seed, params, kinds)

    return _Made(tables, {"noise": noise, "params": asdict(params), "patterns": truths}, draw)


def _tokens(tokens: int, bars: int | None, seed: int) -> _Made:
    from synthetic.tokens.market import TokenConfig, token_market

    config = TokenConfig(tokens=tokens) if bars is None else TokenConfig(tokens=tokens, bars=bars)
    sample = token_market(config, seed)
    truth = {f"{name}_truth": table for name, table in sample.truth.items()}
    told = {"config": asdict(sample.config), "events": sample.events.to_dict("records")}

    def draw(path: Path) -> None:
        from agents.reports.pattern_gallery import draw_tokens

        draw_tokens(sample, path)

    return _Made({**sample.bars, **truth}, told, draw)


def _write(table: pd.DataFrame, path: Path) -> None:
    if path.suffix == ".csv":
        table.to_csv(path, float_format="%.17g")
    else:
        table.to_parquet(path)
