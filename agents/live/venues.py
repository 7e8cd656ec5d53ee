"""Trading on an exchange, on paper or for real: keys, what is about to be done, and the account's one instance."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.live.desk import LOG, Account, Named, live_environment, own_folder, page_of, paper_broker
from agents.live.trading_loop import Traded, TradingLoop
from cryptoenv.bars.staleness import REFERENCE
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.exchange.client import new_client
from cryptoenv.exchange.client_thread import ClientThread
from cryptoenv.files.bounded_json import parse_json
from cryptoenv.files.durable_files import make_folder
from cryptoenv.files.folder_lock import folder_lock
from cryptoenv.files.json_log import json_log
from cryptoenv.files.private_file import read_private
from cryptoenv.live.broker import Broker, BrokerError
from cryptoenv.live.ccxt_broker import CcxtBroker
from cryptoenv.live.ccxt_feed import CcxtFeed
from cryptoenv.live.executor import Executor
from cryptoenv.live.feed import Feed
from cryptoenv.live.journal import Journal
from cryptoenv.live.kill_switch import KillSwitch
from cryptoenv.live.policies import Policies
from cryptoenv.live.reconciliation import agree
from cryptoenv.live.referenced_feed import ReferencedFeed
from cryptoenv.trading.venue_account import quantity_after
from pretrain import MarketLayout

KEY_NAMES = {"apiKey": "API_KEY", "secret": "API_SECRET", "password": "API_PASSWORD", "uid": "API_UID"}
STATES_HISTORY = 2_000  #: bars before the first decision over which machines of states find theirs
LOCKS = "CRYPTOENV_STATE"  #: environment variable: folder of the accounts' locks


def account_keys(exchange: str, file: Path | None) -> dict[str, str]:
    """API keys, by ccxt's names: of a JSON file that nobody else may read, or of the environment.

    In the environment they are called as the exchange: `BINANCE_API_KEY`, `BINANCE_API_SECRET`, `BINANCE_API_PASSWORD`.

    Raises:
        PermissionError: others may read the file. ValueError: no keys there, or names that are not known.
    """
    if file is None:
        found = {
            name: os.environ[f"{exchange.upper()}_{suffix}"]
            for name, suffix in KEY_NAMES.items()
            if os.environ.get(f"{exchange.upper()}_{suffix}")
        }
        if "apiKey" not in found:
            raise ValueError(f"no keys: set {exchange.upper()}_API_KEY and {exchange.upper()}_API_SECRET, or --keys")
        return found
    told = parse_json(read_private(file), str(file))
    if not isinstance(told, dict) or not set(told) <= set(KEY_NAMES) or "apiKey" not in told:
        raise ValueError(f"{file} must hold a JSON object of {sorted(KEY_NAMES)}, apiKey among them")
    if not all(isinstance(value, str) for value in told.values()):
        raise ValueError(f"{file}: keys must be texts")
    return told


@contextmanager
def one_instance(account_id: str) -> Iterator[None]:
    """Be the only process of this user that trades an account, whatever folder its journal is in.

    Raises:
        BrokerError: another one does.
    """
    state = os.environ.get(LOCKS) or os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    folder = Path(state) / "cryptoenv" / "accounts" / account_id
    make_folder(folder)
    with folder_lock(folder, "this account", BrokerError):
        yield


def history_bars(named: Named) -> int:
    """How many base bars a decider needs before its first decision, with some to spare."""
    layout, states = named.decider.layout, named.decider.states
    if layout is None:
        return 200
    needed, step = history_bars_of(layout), int(timeframe_ms(named.decider.timeframes[0]))
    return needed if states is None else max(needed, int(states.decidable_ms(0) // step) + STATES_HISTORY)


def history_bars_of(layout: MarketLayout) -> int:
    """How many base bars a model of this layout needs before its first decision, with some to spare."""
    step, longest = (int(timeframe_ms(layout.timeframes[at])) for at in (0, -1))
    return int(layout.decidable_ms(0) // step) + 2 * longest // step + 10


def trade_on_exchange(
    named: Named,
    exchange: str,
    symbol: str,
    account: Account,
    *,
    live: bool,
    yes: bool = False,
    sandbox: bool = False,
    keys: Path | None = None,
    adopt: bool = False,
    reference: str | None = None,
) -> Traded:
    """Trade until told to stop.

    Args:
        named: what decides.
        exchange, symbol: by ccxt's names.
        account: what is traded with.
        live: with money; else on paper.
        yes: begin without asking.
        sandbox: the exchange's sandbox.
        keys: file of API keys.
        adopt: take what is held for one's own.
        reference: symbol of the market that features are taken against.

    Raises:
        BrokerError, FeedError, ValueError: trading cannot begin.
    """
    _require_columns(named, reference)
    secret = account_keys(exchange, keys) if live else {}
    state, policies = account.state, account.policies
    told = {"broker": exchange if live else "paper", "symbol": symbol, "decider": named.name, "sandbox": sandbox,
            "exchange": exchange}  # fmt: skip
    with ExitStack() as stack:
        stack.enter_context(own_folder(state, told))
        redact = stack.enter_context(json_log("info", state.name, secrets=secret.values(), file=state / LOG))
        broker: Broker = paper_broker(account.cash, policies)
        if live:
            real = CcxtBroker(exchange, symbol, keys=secret, sandbox=sandbox,
                              leverage=max(named.settings.limits.exposure, 1.0))  # fmt: skip
            stack.callback(real.close)
            stack.enter_context(one_instance(real.account_id))
            real.connect()
            named, broker, thread = _at_venue(named, real), real, real.thread
            _show(named, real, policies, yes)
        else:
            thread = ClientThread(lambda: new_client(exchange, sandbox=sandbox, streams=True))
            stack.callback(thread.close)
        feed: Feed = CcxtFeed(thread, symbol, named.decider.timeframes[0], history_bars(named))
        if reference is not None:
            feed = ReferencedFeed(feed, CcxtFeed(thread, reference, feed.timeframe, history_bars(named)))
        stack.callback(feed.close)
        env = live_environment(named, broker, feed, state, policies, cash=account.cash, adopt=adopt,
                               switch=account.switch)  # fmt: skip
        place = f"{symbol}, {named.decider.timeframes[0]}, at {exchange}{' (sandbox)' if sandbox else ''}"
        page, watchers = account.page, named.watchers(env)
        watchers = stack.enter_context(page_of(env, page, state, named.name, place, redact, watchers))
        loop = TradingLoop(env, named.decider, shown=_line, watchers=watchers, stays=page is not None)
        return loop.run(account.times)


def _require_columns(named: Named, reference: str | None) -> None:
    """Refuse what an exchange's bars do not bring.

    Raises:
        ValueError: a reference that is missing or of no use, or other columns.
    """
    needed = set(named.decider.columns)
    if (REFERENCE in needed) != (reference is not None):
        raise ValueError(
            f"{named.name} has features against a reference market: give --reference with its symbol, such as BTC/USDT"
            if REFERENCE in needed
            else f"--reference: no feature of {named.name} is taken against a reference market: leave it out"
        )
    if more := sorted(needed - {REFERENCE}):
        raise ValueError(
            f"{named.name} reads {', '.join(more)} beside the bars, which no exchange brings with them: trade it over "
            "a --replay whose file has them"
        )


def _at_venue(named: Named, broker: CcxtBroker) -> Named:
    """The decider with the venue's own rules, and the instrument that the market is."""
    settings = named.settings
    if broker.is_perpetual != (settings.instrument == "perpetual"):
        kind = "a perpetual" if broker.is_perpetual else "a spot market"
        raise ValueError(f"{broker.symbol} is {kind}, and what decides was made for {settings.instrument}")
    rules = replace(broker.rules, maintenance_margin=settings.rules.maintenance_margin)
    return replace(named, settings=replace(settings, rules=rules))


def _show(named: Named, broker: CcxtBroker, policies: Policies, yes: bool) -> None:
    """Say what is about to be done with whose money, and ask.

    Raises:
        BrokerError: nobody said yes.
    """
    book, limits = broker.book(), policies.limits
    print(
        f"FOR REAL: {named.name} trades {broker.symbol} at {broker.name}, account {broker.account_id}\n"
        f"  it holds {book.quantity:g}, {book.cash:,.2f} of quote currency, {len(book.open_orders)} open order(s)\n"
        f"  targets {named.decider.lowest:g} to {named.decider.highest:g} of equity at each close of "
        f"{named.decider.timeframes[0]}, share of the capital: "
        f"{', '.join(f'{stage.fraction:g}' for stage in policies.stages)}\n"
        f"  orders: {_order_words(policies)}; resting at the venue: {_exit_words(named)}\n"
        f"  limits: {json.dumps(limits.as_dict)}",
        flush=True,
    )
    if yes:
        return
    if not sys.stdin.isatty() or input("type the symbol to begin: ").strip() != broker.symbol:
        raise BrokerError("nothing was traded: the symbol was not typed (or give --yes)")


def _order_words(policies: Policies) -> str:
    limit = policies.limit
    if limit is None:
        return "at the market"
    return (f"at a limit {100.0 * limit.offset:g}% better than the touch, for {limit.lifetime:g} bar(s), then "
            f"{'to the market' if limit.remainder == 'market' else 'nothing more'}")  # fmt: skip


def _exit_words(named: Named) -> str:
    limits = named.settings.limits
    known = {"stop-loss": limits.stop_loss, "take-profit": limits.take_profit}
    return ", ".join(f"{name} {100.0 * at:g}% from the entry" for name, at in known.items() if at) or "no stop"


def _line(traded: Traded, info: Mapping[str, Any]) -> None:
    live = info["live"]
    print(f"bar {traded.bars:,}: equity {info['equity']:,.2f}, exposure {info['exposure']:+.3f}, "
          f"{info['order_status'].name}{'; ' if live['objection'] else ''}{live['objection']}", flush=True)  # fmt: skip


def reconcile_account(state: Path, told: Mapping[str, Any], keys: Path | None) -> str:
    """Hear of every order of a journal, and compare what is held with it; nothing is traded. What was found, in words.

    Raises:
        BrokerError: the venue gives no plain answer.
    """
    secret = account_keys(str(told["exchange"]), keys)
    with ExitStack() as stack:
        stack.enter_context(folder_lock(state, f"the account of {state}"))
        stack.enter_context(json_log("info", state.name, secrets=secret.values(), file=state / LOG))
        broker = CcxtBroker(str(told["exchange"]), str(told["symbol"]), keys=secret, sandbox=bool(told["sandbox"]))
        stack.callback(broker.close)
        stack.enter_context(one_instance(broker.account_id))
        broker.connect()
        journal = Journal(state)
        stack.callback(journal.close)
        executor = Executor(broker, journal, KillSwitch(state), 60_000)
        executor.settle_all()
        book, kept = broker.book(), journal.last_book()
        expected = 0.0 if kept is None else quantity_after(kept[1], executor.fills()[0])
        found = "they agree" if agree(broker, book.quantity, expected) else "THEY DIFFER"
        return (
            f"the account holds {book.quantity:g}, the journal says {expected:g}: {found}; "
            f"{len(book.open_orders)} open order(s) at the venue"
        )
