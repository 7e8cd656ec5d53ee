"""`cryptoenv trade`: an agent, a model or signals, on paper over a replay, on paper on live bars, or for real."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from agents.live.dashboard.serving import PageWish
    from agents.live.desk import Account, Named
    from agents.live.trading_loop import Traded
    from cryptoenv.live.policies import Policies
    from cryptoenv.live.price_policy import LimitOrders


DASHBOARD_PORT = "8765"


class TradeGroup(TyperGroup):
    """`trade RUN` where no command follows: what is no command's name is a run's folder."""

    default = "run"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` before what is no command; a folder may be called `run`, too."""
        if not args or args[0] == "--help":
            return super().parse_args(ctx, args)
        what = args[1:2] == [] or not args[1].startswith("-") or "--signals" in args or "--help" in args
        if args[0] not in self.commands or (args[0] == self.default and not what):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


class TradeCommand(TyperCommand):
    """`--dashboard` with or without a port."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the port behind a `--dashboard` that has none."""
        followed = zip(args, [*args[1:], ""], strict=True)
        args = [part for one, after in followed
                for part in ((one, DASHBOARD_PORT) if one == "--dashboard" and not after.isdigit() else (one,))]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=TradeGroup, no_args_is_help=True, help="Trade on paper or for real, as bars close.")

State = Annotated[Path, typer.Option("--state", help="Folder of the journal; one that is there is gone on with.")]
StateFolder = Annotated[Path, typer.Argument(help="Folder of the journal.", exists=True, file_okay=False)]


@app.command("run", cls=TradeCommand)
def trade(
    what: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="Folder of a run, a model, or of versions (the one in use).")
    ] = None,
    signals: Annotated[
        Path | None, typer.Option(help="A file of signals: time, target and, if it has one, confidence.")
    ] = None,
    states: Annotated[str | None, typer.Option(help="Of a segmenter: the timescale whose state is traded.")] = None,
    short: Annotated[bool, typer.Option("--short", help="Of a model: sell short where it says down.")] = False,
    timeframe: Annotated[str | None, typer.Option(help="Of the bars that signals are traded on: 1h.")] = None,
    paper: Annotated[bool, typer.Option("--paper", help="On paper: no order leaves this machine.")] = False,
    live: Annotated[bool, typer.Option("--live", help="For real, with the account's money.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --live: do not ask before the first order.")] = False,
    replay: Annotated[Path | None, typer.Option(help="Bars to trade on paper, one after the other.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="Reference market of the features: a file of bars, or at --exchange a symbol.")
    ] = None,
    speed: Annotated[float, typer.Option(help="Of a replay: times as fast as the market; 0 waits not at all.")] = 0.0,
    exchange: Annotated[str | None, typer.Option(help="Exchange, by ccxt's name: binance.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Market, by ccxt's name: BTC/USDT.")] = None,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="The exchange's sandbox.")] = False,
    keys: Annotated[Path | None, typer.Option(help="File of API keys, mode 600; else the environment's.")] = None,
    state: State = Path("runs/trade"),
    cash: Annotated[float, typer.Option(help="Quote currency of a paper account that begins.", min=1e-6)] = 10_000.0,
    size: Annotated[str, typer.Option(help="Of orders: fixed, or by confidence.")] = "fixed",
    gradual: Annotated[
        bool, typer.Option("--gradual", help="A tenth of the capital first; more only after a shown record.")
    ] = False,
    adopt: Annotated[bool, typer.Option("--adopt", help="Take what the account holds for one's own.")] = False,
    max_exposure: Annotated[
        float | None, typer.Option(help="Largest exposure, a multiple of equity; what was trained where none is given.")
    ] = None,
    max_order: Annotated[float | None, typer.Option(help="Largest order, quote currency.")] = None,
    max_orders: Annotated[int, typer.Option(help="Orders an hour, at most.", min=1)] = 60,
    max_daily_loss: Annotated[float, typer.Option(help="Share of equity that a day may lose before all halts.")] = 0.1,
    max_drawdown: Annotated[float, typer.Option(help="Fall from the highest equity at which all halts.")] = 0.25,
    flatten: Annotated[bool, typer.Option("--flatten", help="Close the position when a breaker trips.")] = False,
    limit: Annotated[
        float | None,
        typer.Option(help="Orders at a limit, this fraction better than the touch (0: at it); else at the market."),
    ] = None,
    limit_bars: Annotated[float, typer.Option(help="Bars that a limit order lives; below 1 not on paper.")] = 1.0,
    limit_rest: Annotated[str, typer.Option(help="What is not filled then: to the market, or nothing.")] = "market",
    limit_fee: Annotated[
        float | None, typer.Option(help="On paper: fee per notional of a limit order; the trained one else.")
    ] = None,
    times: Annotated[int | None, typer.Option(help="Stop after so many bars.", min=1)] = None,
    dashboard: Annotated[
        int | None,
        typer.Option("--dashboard", metavar="[PORT]", min=0, max=65_535,
                     help="Show it all on a page that can halt it; port 8765 where none is given, 0 for any."),
    ] = None,
    dashboard_host: Annotated[
        str, typer.Option(help="Address of the page; beyond this machine only with CRYPTOENV_DASHBOARD_KEY.")
    ] = "127.0.0.1",
) -> None:
    """Trade what RUN or --signals ask for at each close."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})  # it waits until somebody hears it
    from cryptoenv.live.kill_switch import KillSwitch

    switch = KillSwitch(state)
    with switch.on_signals():  # before the seconds that a model takes to load
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        from agents.live.desk import Account, named_decider
        from agents.live.operated import operated

        _require_one_way(paper, live, replay, exchange)
        if size not in ("fixed", "confidence"):
            raise ValueError(f"--size {size!r} is not allowed: fixed or confidence")
        if exchange is not None and symbol is None:
            raise ValueError("--exchange needs --symbol, such as BTC/USDT")
        prices = _limit_orders(limit, limit_bars, limit_rest, limit_fee, paper=paper)
        page = _page(dashboard, dashboard_host)
        model = operated(what)
        named = model.named(named_decider(model.model, signals, states, timeframe, short=short))
        policies = _policies(
            named, size=size, gradual=gradual, flatten=flatten, exposure=max_exposure, order=max_order,
            orders=max_orders, daily=max_daily_loss, drawdown=max_drawdown, limit=prices,
        )  # fmt: skip
        account = Account(state, policies, switch, cash, times, page)
        if replay is not None:
            _replayed(named, _bars(named, replay, reference), replay, speed, account)
            return
        from agents.live.venues import trade_on_exchange

        assert exchange is not None and symbol is not None
        trade_on_exchange(named, exchange, symbol, account, live=live, yes=yes, sandbox=sandbox, keys=keys,
                          adopt=adopt, reference=reference)  # fmt: skip


def _limit_orders(
    offset: float | None, lifetime: float, rest: str, fee: float | None, *, paper: bool
) -> LimitOrders | None:
    from cryptoenv.live.price_policy import LimitOrders

    if offset is None:
        return None
    prices = LimitOrders(offset, lifetime, rest, fee)  # type: ignore[arg-type]
    if paper and lifetime < 1.0:
        raise ValueError(f"--limit-bars {lifetime:g}: on paper a bar is one piece: whole bars are allowed")
    return prices


def _require_one_way(paper: bool, live: bool, replay: Path | None, exchange: str | None) -> None:
    if paper == live:
        raise ValueError("say --paper or --live: one of them")
    if (replay is None) == (exchange is None):
        raise ValueError("say where bars come from: --replay FILE, or --exchange NAME --symbol BTC/USDT; one of them")
    if live and replay is not None:
        raise ValueError("--replay is for --paper: nothing can be bought in the past")


def _page(port: int | None, host: str) -> PageWish | None:
    """Where the page is to be; what it needs is looked for before anything is traded."""
    if port is None:
        return None
    from agents.live.dashboard.serving import PageWish, require_servable

    wish = PageWish(port, host)
    require_servable(wish)
    return wish


def _policies(named: Any, *, size: str, gradual: bool, flatten: bool, exposure: float | None, order: float | None,
              orders: int, daily: float, drawdown: float, limit: LimitOrders | None) -> Policies:  # fmt: skip
    from cryptoenv.live.deployment import GRADUAL, WHOLE
    from cryptoenv.live.policies import Policies
    from cryptoenv.live.safeguards import SanityLimits, TradeLimits

    most = named.settings.limits.exposure if exposure is None else exposure
    limits = TradeLimits(most * (1.0 + named.settings.limits.rebalance_tolerance) if exposure is None else most,
                         order, orders, daily, drawdown, flatten=flatten)  # fmt: skip
    sanity = SanityLimits(lowest=named.decider.lowest, highest=named.decider.highest)
    return Policies(sanity, limits, GRADUAL if gradual else WHOLE, sized=size == "confidence", limit=limit)


def _bars(named: Any, replay: Path, reference: str | None) -> Any:
    """Bars of a replay, with all that what decides reads."""
    from cryptoenv.bars.staleness import REFERENCE
    from cryptoenv.live.referenced_feed import with_reference
    from cryptoenv.market.stored_bars import bars_at

    needed = named.decider.columns
    bars = bars_at(replay, needed)
    if reference is not None and REFERENCE not in needed:
        raise ValueError(f"--reference: no feature of {named.name} is taken against a reference market: leave it out")
    if reference is not None:
        bars = with_reference(bars, bars_at(Path(reference)), named.decider.timeframes[0])
    if missing := [name for name in needed if name not in bars.columns]:
        said = "; give --reference FILE" if REFERENCE in missing else ""
        raise ValueError(f"{replay} has no column {', '.join(missing)}, which {named.name} reads{said}")
    return bars


def _replayed(named: Named, bars: Any, replay: Path, speed: float, account: Account) -> None:
    from agents.live.desk import LOG, live_environment, own_folder, page_of, paper_broker
    from agents.live.replay_start import first_of_replay
    from agents.live.trading_loop import TradingLoop
    from cryptoenv.files.json_log import json_log
    from cryptoenv.live.feed import ReplayFeed
    from cryptoenv.market.stored_bars import name_of_place

    decider, state, page = named.decider, account.state, account.page
    told = {"broker": "paper", "bars": name_of_place(replay), "decider": named.name}
    with ExitStack() as stack:
        if not state.exists():
            first_of_replay(bars, decider, state)  # what cannot be traded is refused before a folder is made
        stack.enter_context(own_folder(state, told))
        redact = stack.enter_context(json_log("info", state.name, file=state / LOG))
        first = first_of_replay(bars, decider, state)
        feed = ReplayFeed(
            bars, decider.timeframes[0], first, columns=decider.columns, speed=speed if speed > 0.0 else None
        )
        env = live_environment(named, paper_broker(account.cash, account.policies), feed, state, account.policies,
                               cash=account.cash, durable=False, switch=account.switch)  # fmt: skip
        stack.callback(env.close)
        print(f"on paper: {named.name} on {told['bars']}, {len(feed) - first:,} bars of {decider.timeframes[0]}; "
              f"halt with `cryptoenv trade halt {state}`", flush=True)  # fmt: skip
        place = f"{told['bars']}, {decider.timeframes[0]}"
        watchers = stack.enter_context(page_of(env, page, state, named.name, place, redact, named.watchers(env)))
        loop = TradingLoop(env, decider, shown=_progress(len(feed) - first if account.times is None else account.times),
                           watchers=watchers, stays=page is not None)  # fmt: skip
        traded = loop.run(account.times)
    tell(traded, state)


def _progress(total: int | None) -> Any:
    from cryptoenv.progress import tqdm

    bar = tqdm(total=total, desc="trading", unit="bar")

    def shown(traded: Traded, info: dict[str, Any]) -> None:
        bar.set_postfix_str(f"equity {info['equity']:,.2f} exposure {info['exposure']:+.2f}", refresh=False)
        bar.update(traded.bars - bar.n)
        if traded.stopped:
            bar.close()

    return shown


def tell(traded: Traded, state: Path) -> None:
    """Print what a loop did, in a few lines; and draw it into the folder `state`."""
    gain = traded.last_equity / traded.first_equity - 1.0
    print(f"{traded.bars:,} bars, {traded.orders:,} orders, equity {traded.first_equity:,.2f} to "
          f"{traded.last_equity:,.2f} ({100.0 * gain:+.2f}%); stopped: {traded.stopped}")  # fmt: skip
    for reason, count in sorted(traded.held.items(), key=lambda item: -item[1]):
        print(f"no order {count:,} times: {reason}")
    if traded.outages:
        print(f"no bar to be had {traded.outages:,} times")
    try:
        from agents.live.pictures import draw_traded
    except ModuleNotFoundError as error:
        print(f"cryptoenv: note: no picture without {error.name}", file=sys.stderr)
        return
    print(f"picture: {draw_traded(traded, state / 'trade.png')}")


@app.command()
def status(state: StateFolder = Path("runs/trade")) -> None:
    """What an account holds, whether it is halted, and what happened last."""
    import pandas as pd

    from agents.live.desk import told_of
    from cryptoenv.live.journal import Journal
    from cryptoenv.live.kill_switch import KillSwitch
    from cryptoenv.trading.account import EQUITY, EXPOSURE, QUANTITY

    told = told_of(state)
    print(", ".join(f"{name} {value}" for name, value in sorted(told.items())))
    journal = Journal(state)
    try:
        kept = journal.last_book()
        if kept is None:
            print("nothing was traded yet")
        else:
            bar, account = kept
            print(f"at the close of the bar of {pd.Timestamp(bar, unit='ms')} UTC: equity {account[EQUITY]:,.2f}, "
                  f"holds {account[QUANTITY]:g}, exposure {account[EXPOSURE]:+.3f}")  # fmt: skip
        print("orders: " + (", ".join(f"{count:,} {name}" for name, count in journal.counts().items()) or "none"))
        halted = KillSwitch(state).reason
        latched = journal.latched()
        print(halted or "not halted by hand")
        for name, reason in latched.items():
            print(f"breaker {name} has tripped: {reason}")
        for at, event, detail in journal.events(10):
            said = " ".join(f"{key}={value}" for key, value in detail.items())
            print(f"{pd.Timestamp(at, unit='ms'):%Y-%m-%d %H:%M:%S} {event} {said}")
    finally:
        journal.close()


@app.command()
def halt(
    state: StateFolder = Path("runs/trade"),
    reason: Annotated[str, typer.Option(help="Why, for who reads it later.")] = "by hand",
) -> None:
    """Stop trading: no order from now on, open ones are taken back; it stays so until `resume`."""
    from agents.live.desk import told_of
    from cryptoenv.live.kill_switch import KillSwitch

    told_of(state)
    switch = KillSwitch(state)
    switch.halt(reason)
    print(f"halted: {switch.path}; go on with `cryptoenv trade resume {state}`")


@app.command()
def resume(state: StateFolder = Path("runs/trade")) -> None:
    """Lift the halt and release breakers that have tripped; the next start reconciles before it trades."""
    from agents.live.desk import told_of
    from cryptoenv.live.journal import Journal
    from cryptoenv.live.kill_switch import KillSwitch

    told_of(state)
    journal = Journal(state)
    try:
        latched = journal.latched()
        journal.release()
    finally:
        journal.close()
    KillSwitch(state).lift()
    released = "; ".join(f"{name}: {reason}" for name, reason in latched.items()) or "no breaker had tripped"
    print(f"trading may go on; {released}")


@app.command()
def reconcile(
    state: StateFolder = Path("runs/trade"),
    keys: Annotated[Path | None, typer.Option(help="File of API keys, mode 600; else the environment's.")] = None,
) -> None:
    """Compare an account with its journal and hear of every order; nothing is traded."""
    from agents.live.desk import told_of

    told = told_of(state)
    if told.get("broker") == "paper":
        from cryptoenv.live.journal import Journal

        journal = Journal(state)
        try:
            undone = len(journal.undone())
        finally:
            journal.close()
        print(f"on paper: the journal is the venue; {undone} order(s) under way when it stopped")
        return
    from agents.live.venues import reconcile_account

    print(reconcile_account(state, told, keys))
