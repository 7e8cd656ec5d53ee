"""`cryptoenv predict`: what a model says of bars, once, again and again, or as they close."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agents.commands.options import Exogenous, Features, Reference, Timeframes, market_inputs

if TYPE_CHECKING:
    import pandas as pd

    from pretrain import Predictor
    from pretrain.fitting.market_inputs import MarketInputs

TABLE, FORECAST, TOLD = "predictions.parquet", "forecast.parquet", "predictions.json"
POLL_SECONDS = 1.0  #: between two looks at what is followed, without --every
SHOWN_COLUMNS = 12  #: of a row that is printed; the rest are in the table


def predict(
    artifact: Annotated[
        str, typer.Argument(help="Folder of a model or of an agent's run, or `default`, the extractor that ships.")
    ],
    bars: Annotated[
        Path, typer.Option(help="Closed bars: CSV or Parquet, gzip too, or a store's series (its folder).", exists=True)
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder: table and pictures; earlier predictions there are replaced.")
    ] = None,
    timeframes: Timeframes = None,
    features: Features = None,
    reference: Reference = None,
    exogenous: Exogenous = None,
    steps: Annotated[
        int | None, typer.Option(help="Of a forecaster: so many steps from the last bar (forecast.parquet).", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="With --steps: of the sampled paths.", min=0)] = 0,
    track: Annotated[
        bool, typer.Option(help="Of a forecaster: bands that follow what they missed up to each bar.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto for a GPU where there is one.")] = "cpu",
    every: Annotated[str | None, typer.Option(help="Do it again, e.g. 5m after the last time began.")] = None,
    times: Annotated[int | None, typer.Option(help="With --every or --follow: stop after so many.", min=1)] = None,
    follow: Annotated[bool, typer.Option(help="Print a row whenever a bar has closed.")] = False,
) -> None:
    """Write what a model predicts at every bar: a table (Parquet) and its pictures."""
    if follow == (out is not None):
        raise ValueError("say where with --out FOLDER, or print rows as bars close with --follow: one of them")
    for name, given in (("steps", steps is not None), ("track", track)):
        if given and follow:
            raise ValueError(f"--{name} writes a table: give --out FOLDER, not --follow")
    if times is not None and not (every or follow):
        raise ValueError("--times needs --every or --follow: without them predictions are made once")
    seconds = _seconds(every) if every else POLL_SECONDS
    model, own = _model(artifact, device)
    inputs = market_inputs(timeframes, features, reference, exogenous).over(own)
    inputs.require_fits(model.layout, artifact)
    if track and not hasattr(model, "track"):
        raise ValueError(f"--track needs a forecaster: {artifact} is another model")
    source = _Source(bars, inputs, model, None if steps is None else (steps, seed), track)
    if follow:
        _follow(source, seconds, times)
        return
    assert out is not None
    _require_own(out)
    _write(source, out)
    done, began = 1, time.monotonic()
    while every and (times is None or done < times):
        done += 1
        began = _wait(began, seconds)
        try:
            _write(source, out)
        except (OSError, ValueError) as error:  # half a file, a venue that is down: the next time may do
            print(
                f"cryptoenv: note: nothing new this time: {' '.join(str(error).split())}", file=sys.stderr, flush=True
            )


@dataclass(frozen=True)
class _Source:
    """Bars that may grow, and the model that looks at them."""

    bars: Path
    inputs: MarketInputs
    model: Predictor
    steps: tuple[int, int] | None = None  #: to forecast, and the seed of their paths
    track: bool = False  #: whether bands of a forecaster follow what they missed

    def read(self) -> tuple[pd.DataFrame, pd.DataFrame | None]:
        """Closed bars as they are now, with the columns that the model reads, and those of the reference."""
        from pretrain.fitting.market_inputs import MarketMaker

        now = replace(self.inputs)  # what it has read once is not what there is now
        found = _closed(MarketMaker(self.model.layout, now).bars_at(self.bars))
        reference = now.reference_bars
        return now.joined(found), None if reference is None else _closed(reference)


def _model(artifact: str, device: str) -> tuple[Predictor, MarketInputs]:
    """The model of an artifact, or of a run's agent; and what beside bars a run was trained with."""
    import pretrain
    from pretrain.fitting.market_inputs import MarketInputs

    if not (Path(artifact) / "agent").is_dir():
        model = pretrain.load(artifact, device=device)
        if not isinstance(model, pretrain.Predictor):
            do = f"`cryptoenv tokens --test-mode --load-model {artifact}`"
            raise ValueError(f"{artifact} holds a token forecaster, which reads more than bars: {do}")
        return model, MarketInputs()
    from agents.policies.segmented_predictor import predictor_of
    from agents.run_folders.run_folder import Run
    from agents.run_folders.run_origin import own_inputs

    run = Run.load(artifact)
    return predictor_of(run.agent).to(device), own_inputs(run)


def _closed(bars: pd.DataFrame) -> pd.DataFrame:
    """Without a last bar that has not ended yet, by this machine's clock."""
    import pandas as pd

    from cryptoenv.bars.bars import bars_timeframe
    from cryptoenv.bars.timeframe import timeframe_ms

    if len(bars) < 2:
        return bars
    newest = pd.Timestamp.now("UTC") - pd.Timedelta(timeframe_ms(bars_timeframe(bars)), unit="ms")
    return bars[bars.index <= newest]


def _write(source: _Source, out: Path) -> None:
    from cryptoenv.files.durable_files import make_file, make_folder, write_file
    from pretrain.fitting.artifact_folder import json_bytes

    bars, reference = source.read()
    market = source.model.market(bars, reference=reference, name=source.bars.name)
    ahead = None if source.steps is None else source.model.forecast(market, source.steps[0], seed=source.steps[1])
    table = source.model.predict(market)
    if source.track:
        model: Any = source.model
        table = model.track(market, table)
    make_folder(out)
    told = {
        "bars": str(source.bars),
        "columns": list(table.columns),
        "features_hash": source.model.layout.features.hash,
        "first": table.index[0].isoformat(),
        "last": table.index[-1].isoformat(),
        "market": market.hash,
        "model": type(source.model).__name__,
        "model_hash": getattr(source.model, "hash", ""),
        "rows": len(table),
        "timeframes": list(market.timeframes),
        "tracked": source.track,
    }
    write_file(out / TOLD, json_bytes(told))  # first: it says that the folder is ours
    make_file(out / TABLE, table.to_parquet)
    if ahead is not None:
        make_file(out / FORECAST, ahead.to_parquet)
        last = ahead.iloc[-1]
        print(f"forecast of {len(ahead)} steps in {out / FORECAST}: {last['time']:%Y-%m-%d %H:%M} price "
              f"{last['price_q50']:.6g}, 80% in {last['price_q10']:.6g} to {last['price_q90']:.6g}")  # fmt: skip
    print(f"{table.index[-1]:%Y-%m-%d %H:%M} UTC: {len(table):,} rows in {out / TABLE}", flush=True)
    for name, further in source.model.tables(market, table).items():
        write = further.to_parquet if name.endswith(".parquet") else partial(further.to_csv, index=False)
        make_file(out / name, write)
        print(f"table: {out / name}, {len(further):,} rows", flush=True)
    try:
        pictures = source.model.draw(market, table, out)
    except ModuleNotFoundError as error:
        print(f"cryptoenv: note: no pictures without {error.name}", file=sys.stderr)
        return
    for picture in pictures:
        print(f"picture: {picture}", flush=True)


def _require_own(out: Path) -> None:
    """Refuse a folder that holds something else than predictions, which would be mixed with them."""
    if not out.exists():
        return
    if not out.is_dir():
        raise FileExistsError(f"{out} is no folder: choose another --out")
    if any(out.iterdir()) and not (out / TOLD).is_file():
        raise FileExistsError(f"{out} holds something else than predictions: choose another --out")


def _follow(source: _Source, seconds: float, times: int | None) -> None:
    """Print the newest prediction, then one for each bar that closes, `times` looks in all."""
    bars, reference = source.read()
    newest = source.model.predict(bars, reference=reference).iloc[-1:]
    stream = source.model.stream(bars, reference=reference)
    _print(newest)
    last, began, looks = bars.index[-1], time.monotonic(), 1
    while times is None or looks < times:
        looks += 1
        began = _wait(began, seconds)
        try:
            bars, reference = source.read()
        except (OSError, ValueError):
            continue  # it is being written
        later = bars[bars.index > last]
        if len(later) == 0:
            continue
        if reference is not None:
            later = later.assign(reference=reference["close"].reindex(later.index))
        _print(stream.append(later))
        last = later.index[-1]


def _print(rows: pd.DataFrame) -> None:
    shown: list[Any] = [name for name in rows.columns if not str(name).startswith("regime_")][:SHOWN_COLUMNS]
    for moment, row in rows[shown].iterrows():
        said = " ".join(f"{name}={value:.4g}" for name, value in row.items())
        print(f"{moment:%Y-%m-%d %H:%M} {said}", flush=True)


def _seconds(every: str) -> float:
    from cryptoenv.bars.timeframe import timeframe_ms

    if every.endswith("s") and every[:-1].replace(".", "", 1).isdigit() and float(every[:-1]) > 0:
        return float(every[:-1])
    try:
        return timeframe_ms(every) / 1000.0
    except ValueError as error:
        raise ValueError(f"--every {every!r} is no duration: say 30s, 5m, 1h, 1d") from error


def _wait(began: float, seconds: float) -> float:
    """Sleep until `seconds` after `began`; when that was, or now where it is past (a late look is not made up for)."""
    due = began + seconds
    time.sleep(max(due - time.monotonic(), 0.0))
    now = time.monotonic()
    return due if now < due + seconds else now
