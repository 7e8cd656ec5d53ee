"""Markets of one's own, in every form that people have them: bars, files of bars, saved markets, a store's series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from agents.markets.expert_market import split_market
from agents.settings import TradingSettings
from cryptoenv.bar_files.reading import file_stem, read_bars
from cryptoenv.market.files import MARKET_FILE
from cryptoenv.market.market import Market
from pretrain import MarketLayout
from synthetic import TASKS

OneMarket = str | Path | pd.DataFrame | Market
"""A file of bars, a saved market's folder, the folder of a store's series, a frame of bars, or a `Market`."""
MarketSource = OneMarket | Sequence[OneMarket]
"""The name of a synthetic task, or one or several markets of one's own."""


def task_named(source: MarketSource) -> str | None:
    """The task that a source names, though a file be called so too; None for markets of one's own.

    Raises:
        ValueError: a text that names neither a task nor anything on disk.
    """
    if not isinstance(source, str):
        return None
    if source in TASKS:
        return source
    require_place(source)
    return None


def require_place(path: str | Path) -> None:
    """Check that there is a market at a path.

    Raises:
        ValueError: nothing is there, or a folder that holds none.
    """
    place = Path(path)
    if place.is_file() or (place / MARKET_FILE).is_file() or (place / "manifest.json").is_file():
        return
    what = "is a directory, and holds no market" if place.is_dir() else "is no file of bars and no task"
    raise ValueError(
        f"market {str(path)!r} {what}: name a file of bars, a saved market's folder, the folder of a store's series, "
        f"or one of the tasks {', '.join(TASKS)}"
    )


def several(source: MarketSource) -> tuple[OneMarket, ...]:
    """The markets of a source that is no task, one by one."""
    if isinstance(source, Sequence) and not isinstance(source, str):
        if not source:
            raise ValueError("market is an empty sequence: name one market at least")
        return tuple(source)
    return (source,)


def own_markets(
    source: MarketSource, settings: TradingSettings, layout: MarketLayout | None = None
) -> tuple[Market, ...]:
    """Markets of one's own, as the settings look at them; of bars with the features of a model's `layout`, if given.

    Raises:
        ValueError: no market there, bars that cannot be used, or a market of other timeframes. TypeError: no such form.
    """
    return tuple(_own_market(one, settings, layout) for one in several(source))


def _own_market(source: OneMarket, settings: TradingSettings, layout: MarketLayout | None) -> Market:
    look = settings if layout is None else layout
    if isinstance(source, pd.DataFrame):
        return look.market(source, name=str(source.attrs.get("name", "")))
    if isinstance(source, Market):
        return _fitting(source, settings)
    if not isinstance(source, str | Path):
        raise TypeError(f"market is {type(source).__name__}; allowed: a task's name, a path, bars, a Market, several")
    if isinstance(source, str) and source in TASKS:
        raise ValueError(f"market {source!r} is a task: leave it out where markets of your own are named")
    require_place(source)
    path = Path(source)
    if (path / MARKET_FILE).is_file():
        return _fitting(Market.load(path), settings)
    return look.market(bars_at(path), name=file_stem(path))


def _fitting(market: Market, settings: TradingSettings) -> Market:
    if market.timeframes != settings.timeframes:
        raise ValueError(
            f"the market {market.name!r} has timeframes {market.timeframes}, the agent looks at {settings.timeframes}: "
            "build it with those (Market.from_bars)"
        )
    return market


def bars_at(path: Path) -> pd.DataFrame:
    """Bars of a file, the base bars of a saved market, or those of a store's series (STORE/EXCHANGE/SYMBOL/TIMEFRAME).

    Raises:
        ValueError: bars that cannot be used. FileNotFoundError: no such file.
    """
    if not path.is_dir():
        return read_bars(path)
    if (path / MARKET_FILE).is_file():
        return Market.load(path).bars
    from cryptoenv.store.places import series_at

    store, key = series_at(path)
    return store.read(key)


def in_words(source: MarketSource) -> str | list[str]:
    """What a run's `config.json` says of its markets: a task or path, several paths, or "bars" for what has none."""
    names = [_one_in_words(one) for one in several(source)]
    return names[0] if len(names) == 1 else names


def _one_in_words(source: OneMarket) -> str:
    if isinstance(source, Market):
        return str(source.folder) if source.folder else "bars"
    return str(source) if isinstance(source, str | Path) else "bars"


def data_named(source: MarketSource) -> str:
    """What the ledger of trials calls the markets of a source: a task, or their names, wherever they lie."""
    names = []
    for one in several(source):
        if isinstance(one, Market):
            names.append(one.name or one.hash[:16])
        elif isinstance(one, str | Path):
            path = Path(one)
            is_series = path.is_dir() and (path / "manifest.json").is_file()
            names.append("/".join(path.absolute().parts[-3:]) if is_series else file_stem(path))
        else:
            names.append(str(one.attrs.get("name", "")) or "bars")
    return " + ".join(sorted(names))


def has_path(source: MarketSource) -> bool:
    """Whether each market of a source is somewhere on disk, or a task: where a recipe can name it."""
    return all(isinstance(one, str | Path) for one in several(source))


def require_market(source: MarketSource, settings: TradingSettings) -> None:
    """Check that a training will find its markets, without making synthetic ones: a task that exists, enough bars.

    Raises:
        ValueError: neither a task nor markets that will do.
    """
    if task_named(source) is None:
        for market in own_markets(source, settings):
            split_market(market, settings)
