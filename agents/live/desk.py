"""What a trading command sets up: a decider for what is named, the folder of its journal, and the environment."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.evaluation.backtest.signals import read_signals
from agents.evaluation.charges import with_impact
from agents.live.deciders import AgentDecider, Decider, ForecastDecider, SignalDecider, StateDecider
from agents.live.watching import Watcher
from agents.reports.records.live_record import ACCOUNT as TOLD
from agents.run_folders.run_folder import CONFIG, Run
from agents.settings import TradingSettings
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.files.bounded_json import parse_json
from cryptoenv.files.durable_files import make_folder, read_regular, write_file
from cryptoenv.files.folder_lock import FolderLockedError, folder_lock
from cryptoenv.live.broker import Broker
from cryptoenv.live.environment import CryptoLiveEnv
from cryptoenv.live.executor import Executor
from cryptoenv.live.feed import Feed
from cryptoenv.live.journal import JOURNAL, Journal
from cryptoenv.live.kill_switch import KillSwitch
from cryptoenv.live.paper_broker import PaperBroker
from cryptoenv.live.policies import Policies

if TYPE_CHECKING:
    from agents.live.dashboard.serving import PageWish

LOG = "log.jsonl"
LARGEST = 100_000


@dataclass(frozen=True)
class Named:
    """What decides, and how it trades.

    Attributes:
        name: for people.
        decider: what decides.
        settings: instrument, costs and limits.
        watchers: of its loop, such as a monitor of drift, made for the environment it trades in.
    """

    name: str
    decider: Decider
    settings: TradingSettings
    watchers: Callable[[CryptoLiveEnv], Sequence[Watcher]] = lambda env: ()


@dataclass(frozen=True)
class Account:
    """What is traded with, wherever the bars come from.

    Attributes:
        state: folder of the journal.
        policies: what orders are held to.
        switch: the kill switch of that folder.
        cash: quote currency of a paper account that begins.
        times: stop after so many bars; None: not.
        page: where a page shows it; None: nowhere.
    """

    state: Path
    policies: Policies
    switch: KillSwitch
    cash: float = 10_000.0
    times: int | None = None
    page: PageWish | None = None


def named_decider(
    what: Path | None, signals: Path | None, states: str | None, timeframe: str | None, *, short: bool = False
) -> Named:
    """The decider of a run's or a model's folder, or of a file of signals.

    Args:
        what: folder of an agent's run, of a segmenter or of a forecaster.
        signals: file of signals.
        states: timescale of a segmenter.
        timeframe: of the bars that signals are traded on.
        short: a model's bear is sold short.

    Raises:
        ValueError: nothing that decides, or too much.
    """
    below = -1.0 if short else 0.0
    instrument: Any = "perpetual" if short else "spot"
    if (what is None) == (signals is None):
        raise ValueError("say what decides: the folder of a run or a model, or --signals FILE; one of them")
    if signals is not None:
        chosen = SignalDecider(read_signals(signals), timeframe or "1h")
        kind: Any = "perpetual" if chosen.lowest < 0.0 else "spot"
        return Named(signals.stem, chosen, _plain(chosen, kind))
    assert what is not None
    if (what / CONFIG).is_file() and (what / "agent").is_dir():
        if states is not None:
            raise ValueError(f"{what} holds an agent, which decides itself: leave --states out")
        agent = Run.load(what).agent
        return Named(what.name, AgentDecider(agent), with_impact(agent.settings))
    import pretrain

    model = pretrain.load(what)
    if not isinstance(model, pretrain.Predictor):
        raise ValueError(f"{what} holds a {type(model).__name__}, which predicts nothing of bars")
    decider = ForecastDecider(model, below=below) if states is None else StateDecider(model, states, below)
    return Named(what.name, decider, _plain(decider, instrument))


def _plain(decider: Decider, instrument: Any) -> TradingSettings:
    positions = (-1.0, 0.0, 1.0) if instrument != "spot" else (0.0, 1.0)
    return TradingSettings(decider.timeframes, decider.window, instrument, positions, continuous=True)


@contextmanager
def own_folder(folder: Path, account: dict[str, Any]) -> Iterator[None]:
    """Be the only one who trades with the journal of a folder, which is made where there is none.

    Args:
        folder: of the journal.
        account: what is traded; a folder of another is refused.

    Raises:
        FileExistsError: the folder holds something else, or the journal of another account.
        FolderLockedError: another process trades with it.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is no folder: choose another --state")
    there = folder.is_dir() and any(entry.name != ".lock" for entry in folder.iterdir())
    if there and not (folder / TOLD).is_file():
        raise FileExistsError(f"{folder} holds something else than a journal of trades: choose another --state")
    make_folder(folder)
    with folder_lock(folder, f"the account of {folder}", FolderLockedError):
        if (folder / JOURNAL).exists() and (known := told_of(folder)) != account:
            differ = sorted(name for name in {*known, *account} if known.get(name) != account.get(name))
            raise FileExistsError(
                f"{folder} is the journal of another account ({', '.join(differ)} differ): choose another --state"
            )
        if not (folder / JOURNAL).exists():  # no account is its own yet: what was begun there never traded
            write_file(folder / TOLD, json.dumps(account, indent=2, sort_keys=True) + "\n")
        yield


def told_of(folder: Path) -> dict[str, Any]:
    """Which account a folder's journal is of.

    Raises:
        FileNotFoundError: no journal of trades. ValueError: it cannot be read.
    """
    path = folder / TOLD
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no journal of trades: it has no {TOLD}")
    found = parse_json(read_regular(path, LARGEST), str(path))
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no JSON object")
    return found


def paper_broker(cash: float, policies: Policies) -> PaperBroker:
    """A broker on paper that charges limit orders as the policies say. `cash`: quote currency at the start."""
    return PaperBroker(cash, limit_fee=None if policies.limit is None else policies.limit.fee)


def live_environment(
    named: Named, broker: Broker, feed: Feed, folder: Path, policies: Policies, *, cash: float, adopt: bool = False,
    durable: bool = True, switch: KillSwitch | None = None,
) -> CryptoLiveEnv:  # fmt: skip
    """The environment in front of a broker, for what decides.

    Args:
        named: what decides.
        broker, feed: of the account.
        folder: of the journal.
        policies: what orders are held to.
        cash: of a paper account that begins.
        adopt: take what is held for one's own.
        durable: the journal outlasts a power cut.
        switch: the folder's kill switch, where one hears signals already.
    """
    settings = named.settings
    journal = Journal(folder, durable=durable, clock=feed.now_ms)
    executor = Executor(broker, journal, switch or KillSwitch(folder), timeframe_ms(settings.timeframes[0]), policies)
    return CryptoLiveEnv(
        broker, feed, executor, timeframes=settings.timeframes, window=settings.window,
        instrument=settings.instrument, actions="continuous" if settings.continuous else settings.positions,
        observation="index", reward=settings.reward, costs=settings.costs, limits=settings.limits,
        rules=settings.rules, sizing=settings.sizing, reward_adaptation=settings.reward_adaptation,
        initial_cash=cash, adopt=adopt,
    )  # fmt: skip


@contextmanager
def page_of(
    env: CryptoLiveEnv, wish: PageWish | None, folder: Path, name: str, place: str, redact: Callable[[str], str],
    watchers: Sequence[Watcher] = (),
) -> Iterator[tuple[Watcher, ...]]:  # fmt: skip
    """A page on what a loop of `env` does, while the block runs; all watchers of the loop, the page's own among them.

    Args:
        env, wish, folder, name, place, redact: as of `dashboard.serving.page_beside`; no page where no wish.
        watchers: that the loop has anyhow; what one with a method `mapping` says is shown as drift.

    Raises:
        ModuleNotFoundError: the page is wished for, and what serves it is not installed.
    """
    if wish is None:
        yield tuple(watchers)
        return
    from agents.live.dashboard.serving import page_beside

    drift = next((one.mapping for one in watchers if hasattr(one, "mapping")), None)
    with page_beside(env, replace(wish, drift=drift), folder, name, place, redact) as own:
        yield (*watchers, *own)
