"""`cryptoenv check-leakage`: does anything between bars and a decision know the future?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agents.commands.options import Seed

if TYPE_CHECKING:
    import pandas as pd

LEAK_FOUND = 1  #: exit code
FUNCTION_HELP = "FILE.py:NAME, from bars to a table by their opens: features, labels, anything. May be given again."
FIT_HELP = "FILE.py:NAME, from all bars to what it fits on those before --until: a scaler, say. May be given again."


def check_leakage(
    bars: Annotated[Path, typer.Option(help="Bars: a file (further columns are checked, too), a market, a series.")],
    what: Annotated[str | None, typer.Argument(help="Folder of a run (its agent) or a model, or `default`.")] = None,
    features: Annotated[Path | None, typer.Option(help="Feature spec (YAML); the default set where not said.")] = None,
    timeframes: Annotated[str, typer.Option(help="Of the features, base first.")] = "15m,4h,1d",
    labels: Annotated[Path | None, typer.Option(help="File of labels by the open of their bar.")] = None,
    look_ahead: Annotated[int, typer.Option(help="Bars that labels may look ahead.", min=0)] = 0,
    function: Annotated[list[str] | None, typer.Option(help=FUNCTION_HELP)] = None,
    fit: Annotated[list[str] | None, typer.Option(help=FIT_HELP)] = None,
    until: Annotated[str | None, typer.Option(help="End of the training bars (UTC), for --fit.")] = None,
    looks: Annotated[int, typer.Option(help="Rows of each family after which bars are replaced.", min=1)] = 8,
    seed: Seed = 0,
) -> int:
    """Replace what comes after a bar and see whether what was said at it changes; name column and lag of a leak.

    Exit code 1 where a leak is found. Without a model or agent: features, further columns, labels, functions, fits.
    """
    from agents.evaluation.leakage import Suspects, function_in
    from agents.evaluation.leakage import check_leakage as checked
    from cryptoenv.features import FeatureSpec

    if fit and until is None:
        raise ValueError("--fit needs --until: the end of the bars that it may learn from")
    table = _bars(bars)
    model, agent = _loaded(what)
    spec = None if features is None else FeatureSpec.from_yaml(features.read_text(encoding="utf-8"))
    own: Any = spec if spec is not None or what is not None else FeatureSpec()
    suspects = Suspects(
        table, tuple(timeframes.split(",")), own, _labels(labels), look_ahead, model, agent,
        {place: function_in(place) for place in function or ()}, {place: function_in(place) for place in fit or ()},
        None if until is None else int(table.index.searchsorted(_moment(until))),
    )  # fmt: skip
    bad = 0
    for part, leaks in checked(suspects, looks=looks, seed=seed):
        for leak in leaks:
            print(f"LEAK  {leak.words}")
        if not leaks:
            print(f"clean {part}")
        bad += len(leaks)
    print(f"{bad} leak(s) found" if bad else "no leak found")
    return LEAK_FOUND if bad else 0


def _bars(path: Path) -> pd.DataFrame:
    """Bars with all their further columns."""
    from cryptoenv.bar_files.reading import import_bars
    from cryptoenv.market.stored_bars import bars_at

    return bars_at(path, () if path.is_dir() else tuple(import_bars(path)[1].left_aside))


def _labels(path: Path | None) -> pd.DataFrame | None:
    if path is None:
        return None
    import pandas as pd

    from cryptoenv.bar_files.columns import TIME_NAMES, plain_name
    from cryptoenv.bar_files.formats import read_raw_table
    from cryptoenv.bars.times import TimeReading, utc_times

    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    table = read_raw_table(path.read_bytes()).table
    named = next((name for name in table.columns if plain_name(str(name)) in TIME_NAMES), None)
    if named is None:
        raise ValueError(f"{path}: no column of times in {list(table.columns)}")
    index = pd.DatetimeIndex(utc_times(table[named], TimeReading("UTC"))[0])
    return table.drop(columns=named).set_axis(index, axis=0).sort_index()


def _loaded(what: str | None) -> tuple[Any, Any]:
    """The model or the agent in a folder."""
    if what is None:
        return None, None
    import pretrain
    from agents.run_folders.run_folder import Run

    if (Path(what) / "agent").is_dir():
        return None, Run.load(what).agent
    return pretrain.load(what), None


def _moment(text: str) -> pd.Timestamp:
    import pandas as pd

    try:
        found = pd.Timestamp(text)
    except ValueError as error:
        raise ValueError(f"--until {text!r} is no time: say 2024-01-31") from error
    return found.tz_localize("UTC") if found.tz is None else found.tz_convert("UTC")
