"""Markets of one's own, in every form that people have them: bars, files of bars, saved markets, a store's series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from agents.markets.expert_market import split_market
from agents.settings import TradingSettings
from cryptoenv.files.typed_values import ConfigError
from cryptoenv.market.files import MARKET_FILE
from cryptoenv.market.funding_files import rates_by_market
from cryptoenv.market.market import Market
from cryptoenv.market.stored_bars import bars_at, name_of_place
from pretrain import Extractor
from pretrain.fitting.market_inputs import MarketInputs, MarketMaker, require_synthetic
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
    source: MarketSource, settings: TradingSettings, maker: MarketMaker | None = None
) -> tuple[Market, ...]:
    """Markets of one's own, as the settings look at them; those of a model by its `maker`.

    Raises:
        ValueError: no market there, bars that cannot be used, or a market of other timeframes or features. TypeError:
            no such form.
    """
    markets = several(source)
    rates = _rates(maker, settings, len(markets))
    return tuple(_own_market(one, settings, maker, each) for one, each in zip(markets, rates, strict=True))


def _rates(maker: MarketMaker | None, settings: TradingSettings, markets: int) -> tuple[pd.Series | None, ...]:
    """Funding rates of each market, where they are said.

    Raises:
        ConfigError: an instrument that pays none. ValueError: not one for each market.
    """
    given = None if maker is None else maker.inputs.funding or None
    if given is not None and settings.instrument != "perpetual":
        raise ConfigError(f"funding is paid on 'perpetual' only; the agent trades instrument={settings.instrument!r}")
    return rates_by_market(given, markets)


def _own_market(
    source: OneMarket, settings: TradingSettings, maker: MarketMaker | None, rates: pd.Series | None
) -> Market:
    if rates is not None and _is_made(source):
        raise ConfigError("funding is charged on bars, and a market is made already: build it with its funding rates")
    if isinstance(source, pd.DataFrame):
        name = str(source.attrs.get("name", ""))
        return settings.market(source, name=name) if maker is None else maker.market(source, name=name, funding=rates)
    if isinstance(source, Market):
        return _fitting(source, settings, maker)
    if not isinstance(source, str | Path):
        raise TypeError(f"market is {type(source).__name__}; allowed: a task's name, a path, bars, a Market, several")
    if isinstance(source, str) and source in TASKS:
        raise ValueError(f"market {source!r} is a task: leave it out where markets of your own are named")
    require_place(source)
    path = Path(source)
    if (path / MARKET_FILE).is_file():
        return _fitting(Market.load(path), settings, maker)
    return settings.market(bars_at(path), name=name_of_place(path)) if maker is None else maker.market_at(path, rates)


def _is_made(source: OneMarket) -> bool:
    """Whether it is a `Market`, or the folder of one."""
    return isinstance(source, Market) or (isinstance(source, str | Path) and (Path(source) / MARKET_FILE).is_file())


def pays_funding(source: MarketSource, inputs: MarketInputs) -> bool:
    """Whether markets of one's own, or `inputs`, bring funding rates."""
    made = (Market.load(one) if isinstance(one, str | Path) else one for one in several(source) if _is_made(one))
    return bool(inputs.funding) or any(isinstance(one, Market) and one.funding_series for one in made)


def _fitting(market: Market, settings: TradingSettings, maker: MarketMaker | None) -> Market:
    if market.timeframes != settings.timeframes:
        raise ValueError(
            f"the market {market.name!r} has timeframes {market.timeframes}, the agent looks at {settings.timeframes}: "
            "build it with those (Market.from_bars)"
        )
    if maker is not None:
        maker.layout.require(market)
    return market


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
            names.append(name_of_place(Path(one)))
        else:
            names.append(str(one.attrs.get("name", "")) or "bars")
    return " + ".join(sorted(names))


def has_path(source: MarketSource) -> bool:
    """Whether each market of a source is somewhere on disk, or a task: where a recipe can name it."""
    return all(isinstance(one, str | Path) for one in several(source))


def maker_for(extractor: Extractor, inputs: MarketInputs | None, owner: str = "the extractor") -> MarketMaker:
    """What makes the markets of an extractor, after checking that `inputs` do not contradict it.

    Raises:
        ArtifactError: they do; `owner` and what differs are named.
    """
    inputs = MarketInputs() if inputs is None else inputs
    inputs.require_fits(extractor.layout, owner)
    return MarketMaker(extractor.layout, replace(inputs, timeframes=None, features=None))


def require_market(source: MarketSource, settings: TradingSettings, maker: MarketMaker) -> None:
    """Check that a training will find its markets, without making synthetic ones: a task that exists, enough bars.

    Raises:
        ValueError: neither a task nor markets that will do, or features that read what they do not have.
    """
    if task_named(source) is None:
        for market in own_markets(source, settings, maker):
            split_market(market, settings, maker.inputs.fractions)
    else:
        require_synthetic(maker.layout)
        maker.inputs.require_own(f"{source} is a task")
