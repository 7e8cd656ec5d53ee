"""`CryptoLive-v0`: the environment that trained a policy, in front of a broker and a feed of closed bars."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
from gymnasium import spaces
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import BAR_COLUMNS
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.env.episode import ACCOUNT_OBSERVATION, mask_actions, observe_account
from cryptoenv.env.single import CUMULATIVE, QUIET
from cryptoenv.env.spec import DEFAULT_WINDOW, FLOAT32_EXACT, EnvironmentSpec, checked_options, numbers_of
from cryptoenv.features import FeatureSpec
from cryptoenv.files.durable_files import make_folder
from cryptoenv.live.broker import Broker, Step, UnknownStateError
from cryptoenv.live.execution import Execution, Seen
from cryptoenv.live.executor import Executor
from cryptoenv.live.feed import Feed, FeedBar, ReplayFeed
from cryptoenv.live.growing_market import GrowingMarket
from cryptoenv.live.journal import Journal, JournalError
from cryptoenv.live.kill_switch import KillSwitch
from cryptoenv.live.paid_funding import PaidFunding
from cryptoenv.live.paper_broker import PaperBroker
from cryptoenv.live.protection import Protection
from cryptoenv.live.reconciliation import LOOKS, Reconciliation, check_book, reconcile
from cryptoenv.live.step_report import StepReport, journal_fill
from cryptoenv.market.market import Market
from cryptoenv.trading.account import (
    ACCOUNT_WIDTH,
    CLOSE_PRICE,
    ENTRY_PRICE,
    EQUITY,
    EXPOSURE,
    RUINED,
)
from cryptoenv.trading.config import (
    EXPOSURE_LIMIT,
    REWARD_ADAPTATION,
    Costs,
    Instrument,
    RiskLimits,
    Sizing,
    VenueRules,
)
from cryptoenv.trading.kernel import open_account
from cryptoenv.trading.rewards import RewardFunction, begin_means, finite_reward, weighted_reward
from cryptoenv.trading.venue_account import account_with

Observation = dict[str, NDArray[Any]]
LIVE_OPTIONS = ("start",)
NO_FILLS: NDArray[np.float64] = np.zeros((0, 5))


class CryptoLiveEnv(gym.Env[Observation, Any]):
    """Trade one market as its bars close, on paper or for real, with the spaces and the money of `CryptoTrade-v0`.

    `step` sends the order that an action asks for, waits for the next closed bar and reports what has filled; `reset`
    reconciles the book with the venue and never trades. Over a `ReplayFeed` and a `PaperBroker` every observation,
    fill, reward and equity equals the simulator's, bit for bit.

    Observations, actions and rewards are those of `CryptoTrade-v0`; with `observation="index"` the index is `(0, t)`, t
    counted from the first bar of the history. There is no end of the data: `truncated` after `episode_bars`, where
    given, and at the end of a replay.

    Info: as of `CryptoTrade-v0`, and `live`: `bar_time` (open, ms since the epoch), `late_bars` (bars that closed
    while nobody could decide), `source` of the bar, `objection` (why no order could go out), `client_id`,
    `wait_seconds`, `decision_seconds` (bar heard to order sent), `execution_seconds` (order sent to answer),
    `model_price` (what the simulator's fill would have been asked at: the open of the fill's own bar),
    `slippage_against_open` and `slippage_modelled` (what the simulator's fill would have paid against it; both
    fractions, NaN without a fill). Where a step carries the account over several bars, what is of a step counts all.

    Args:
        broker: `PaperBroker`, `CcxtBroker`, or what has their methods.
        feed: of closed base bars.
        executor: signals become orders by it, and its broker is `broker`; or a folder, which is made where there is
            none: an executor with the default limits then keeps its journal there.
        timeframes, window, instrument, actions, observation, reward, costs, limits, rules, sizing, reward_adaptation:
            as of `CryptoTrade-v0`; what an artifact was trained with.
        features: which; the default set where None.
        initial_cash: quote currency of a paper account that begins.
        episode_bars: steps until an episode is truncated; None: none is.
        adopt: take a position that the journal does not know for one's own, instead of refusing to begin.

    Raises:
        ValueError, TypeError: an argument that is not allowed. BarsError: too short a history for one decision.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (as Gymnasium declares it)

    def __init__(
        self,
        broker: Broker,
        feed: Feed,
        executor: Executor | Path | str,
        *,
        timeframes: Sequence[str] = ("15m", "4h", "1d"),
        window: Sequence[int] | None = None,
        instrument: Instrument = "perpetual",
        actions: Sequence[float] | str | None = None,
        observation: str = "window",
        reward: str | dict[str, float] | RewardFunction = "log_return",
        costs: Costs | None = None,
        limits: RiskLimits | None = None,
        rules: VenueRules | None = None,
        sizing: Sizing | None = None,
        reward_adaptation: float = 0.01,
        features: FeatureSpec | None = None,
        initial_cash: float = 10_000.0,
        episode_bars: int | None = None,
        adopt: bool = False,
    ) -> None:
        if not isinstance(executor, Executor):
            executor = _executor_in(Path(executor), broker, feed)
        if executor.broker is not broker:
            raise ValueError("the executor has another broker than the environment")
        if timeframes[0] != feed.timeframe:
            raise ValueError(f"the feed has bars of {feed.timeframe}, the base timeframe is {timeframes[0]}")
        self.broker, self.feed, self.executor = broker, feed, executor
        self._adopt, self._episode_bars, self._cash = adopt, episode_bars, initial_cash
        self._sees = observation == "window"
        self._spec = features if self._sees else FeatureSpec.none()
        self._timeframes = tuple(timeframes)
        self._growing, longer = self._grown(None if window is None else tuple(window))
        self.setup = EnvironmentSpec(
            longer, window=window, instrument=instrument, actions=actions, observation=observation, reward=reward,
            costs=costs, limits=limits, rules=rules, sizing=sizing, reward_adaptation=reward_adaptation,
            initial_cash=initial_cash, episode_bars=1 if episode_bars is None else episode_bars,
        )  # fmt: skip
        self._parameters = self.setup.world.parameters
        if feed.has_funding and self.setup.trading.costs.funding != 0.0:
            raise ValueError("the feed brings funding rates; Costs.funding would charge twice")
        self.observation_space: Any = self.setup.observation_space
        if not self._sees:
            most = np.array([1, FLOAT32_EXACT], dtype=np.int64)
            index = spaces.Box(np.zeros(2, dtype=np.int64), most, dtype=np.int64)
            self.observation_space = spaces.Dict({"index": index, "account": self.setup.observation_space["account"]})
        self.action_space = self.setup.action_space
        self.account = np.zeros(ACCOUNT_WIDTH, dtype=np.float64)
        self.reconciliation: Reconciliation | None = None
        self._steps, self._begun, self._first = 0, False, True
        self.newest: list[FeedBar] = []
        self._pending: Execution | None = None
        self._protection = Protection(executor, self._parameters) if broker.is_live else None
        self._funding = PaidFunding(broker, timeframe_ms(self._timeframes[0]))
        self._times: dict[str, float] = {}

    def _grown(self, window: tuple[int, ...] | None) -> tuple[GrowingMarket, Market]:
        """The market until now; and the same with a bar to come, flat, which the arguments are checked against: nothing
        else reads it."""
        frame = self.feed.history()
        step, columns = timeframe_ms(self._timeframes[0]), list(BAR_COLUMNS)
        coming = frame.iloc[[-1]].set_axis(frame.index[-1:] + pd.Timedelta(step, "ms"))
        coming[columns] = [*[float(frame["close"].iloc[-1])] * 4, 0.0]
        longer = Market.from_bars(
            pd.concat([frame, coming]), self._timeframes, features=self._spec, timeframe=self._timeframes[0]
        )
        size = DEFAULT_WINDOW[: len(self._timeframes)] if window is None else window
        return GrowingMarket(longer.part(0, len(longer) - 1), frame, size, features=self._sees), longer

    @property
    def bar_time(self) -> int:
        """Open of the newest bar, ms since the epoch."""
        return self._growing.open_ms

    @property
    def close_time(self) -> int:
        """When the newest bar closed, ms since the epoch."""
        return self._growing.close_ms

    @property
    def strain(self) -> float:
        """Share of the newest features that stand at their bound; 0.0 where none are computed."""
        return self._growing.strain()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Reconcile with the venue and begin an episode at the newest closed bar; nothing is traded.

        Args:
            seed: draws nothing here.
            options: `start` (of a replay on paper): begin again at that bar of it, with a new account.

        Returns:
            First observation and info.

        Raises:
            BrokerError: what is held is not known, or contradicts the journal.
        """
        given = checked_options(options, LIVE_OPTIONS)
        super().reset(seed=seed)
        self._pending = None
        if "start" in given:
            self._begin_again(int(given["start"]))
        else:
            self._catch_up()
            self._reconcile()
        if "start" in given or self.reconciliation is None or not self.reconciliation.goes_on:
            begin_means(self.account, self._growing.sigma, self._parameters[EXPOSURE_LIMIT])
        self.executor.reconciled = True
        self.executor.journal.keep_book(self._growing.open_ms, self.account, float(self.account[EQUITY]))
        self._steps, self._begun, self._first = 0, True, False
        self._look()
        return self._observation(), self._info(0, {"objection": ""})

    def _reconcile(self) -> None:
        """Bring book and venue together, at a moment between two payments of funding."""
        self.broker.connect()
        self._funding.begin(self.feed.now_ms())
        for _ in range(LOOKS):
            self.reconciliation = reconcile(self.executor, self.account, self._growing, self._cash,
                                            adopt=self._adopt, anew=not self._first)  # fmt: skip
            if self._funding.begin(self.feed.now_ms()):
                return
        raise UnknownStateError("funding was charged each time that the account was looked at")

    def _begin_again(self, start: int) -> None:
        if not (isinstance(self.feed, ReplayFeed) and isinstance(self.broker, PaperBroker)):
            raise ValueError("options['start'] is for replays on paper: time does not run back anywhere else")
        self.executor.settle_all()
        self.feed.rewind(start + 1)
        self._growing, _ = self._grown(self.setup.window)
        self.broker.begin_again(self._cash)
        open_account(self.account, self._cash, self._growing.prices[1, 3], 0.0)
        self.broker.account[:] = self.account

    def _catch_up(self) -> None:
        """Take in bars that have closed since the last one (none in a replay, which waits)."""
        if isinstance(self.feed, ReplayFeed) or self.feed.now_ms() < self._growing.close_ms + self._growing.step_ms:
            return
        for bar in self.feed.next_bars(self._growing.open_ms):
            self._growing.add(bar)

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Send the order that an action asks for and wait for the next closed bar.

        Args:
            action: index into `actions`, or a float array of shape (1,) with `actions="continuous"`.

        Returns:
            Observation, reward, terminated, truncated, info.

        Raises:
            ValueError: an action that is not allowed. RuntimeError: no episode is running.
            FeedError: no bar came; `wait` goes on waiting, without another order.
        """
        self.ask(self.target_of(action))
        return self.wait()

    def ask(self, target: float, confidence: float = 1.0, **about: Any) -> Execution:
        """Execute a signal at the newest close; arguments as of `Executor.execute_signal`.

        Raises:
            RuntimeError: no episode is running, or a signal of this bar was executed already.
        """
        if not self._begun:
            raise RuntimeError("no episode was begun, or it is over: call reset() first")
        if self._pending is not None:
            raise RuntimeError("this bar's signal was executed already: call wait() for the next bar")
        began = time.perf_counter()
        self._pending = self.executor.execute_signal(target, confidence, **about)
        self._times = {"execution_seconds": time.perf_counter() - began}
        return self._pending

    def wait(self) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Wait for the next closed bar and carry the account to it; returns as `step`.

        Raises:
            RuntimeError: no signal was executed. FeedError: no bar came; call it again.
            JournalError: what happened cannot be written down; the episode is over, and `reset` reconciles.
        """
        if self._pending is None:
            raise RuntimeError("no signal was executed at this bar: call ask() or step()")
        try:
            return self._waited(self._pending)
        except JournalError:
            self._begun, self._pending, self.executor.reconciled = False, None, False
            raise

    def _waited(self, execution: Execution) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        began = time.perf_counter()
        paper = isinstance(self.broker, PaperBroker)
        self.executor.follow_up()
        if not paper:
            self.executor.tend()
            book = check_book(self.executor, self.account)
            if book is not None and self._protection is not None:
                now = account_with(self.account, self.executor.fills()[0], False, self._parameters)
                self._protection.keep(book, float(now[ENTRY_PRICE]), self._growing.open_ms)
        bars = self.feed.next_bars(self._growing.open_ms)
        if not paper:
            self.executor.follow_up()  # what has filled while the bar was open
        waited = time.perf_counter() - began
        reward, report = 0.0, StepReport()
        for number, bar in enumerate(bars):
            self._growing.add(bar)
            reward += self._carry(execution, late=number > 0)
            report.add(self.account, self._growing.prices, self._parameters)
        self._pending, self.newest = None, bars
        self._steps += 1
        self._look()
        live = {
            "objection": execution.objection, "client_id": execution.client_id, "late_bars": len(bars) - 1,
            "source": bars[-1].source, "wait_seconds": waited, **self._times,
        }  # fmt: skip
        info = self._info(self._steps, live, report)
        ruined = bool(self.account[RUINED] == 1.0)
        over = self._episode_bars is not None and self._steps >= self._episode_bars
        ended = isinstance(self.feed, ReplayFeed) and self.feed.ended
        self._begun = not (ruined or over or ended)
        return self._observation(), reward, ruined, not ruined and (over or ended), info

    def _carry(self, execution: Execution, *, late: bool) -> float:
        """Carry the account over the newest bar; the reward of it."""
        paper = isinstance(self.broker, PaperBroker)
        fills, reports = (NO_FILLS, ()) if paper else self.executor.fills()
        holds = execution.holds or late
        step = Step(
            self._growing.prices, execution.target, execution.parameters, fills, holds,
            "" if late else execution.client_id,
            execution.status if paper else execution.status_after(fills, late=late), execution.limited,
            math.nan if paper else self._funding.paid(self._growing.close_ms),
        )  # fmt: skip
        done = (*reports, *self.broker.carry(self.account, step))
        reward = float(weighted_reward(self.account, self.setup.world.weights, self._parameters[REWARD_ADAPTATION]))
        if self.setup.reward_function is not None:
            reward = finite_reward(self.setup.reward_function, self.account, self._growing.bar)
        booked = tuple(report for report in done if report.client_id)
        equity = float(self.account[EQUITY])
        self.executor.journal.keep_book(self._growing.open_ms, self.account, equity, booked,
                                        journal_fill(self.account, self._growing.prices, self._parameters))  # fmt: skip
        return reward

    def _look(self) -> None:
        """Show the executor what the next signal is executed on."""
        growing = self._growing
        self.executor.see(Seen(
            self.account, growing.sigma, self._parameters, growing.open_ms, growing.close_ms, self.feed.now_ms()
        ))  # fmt: skip

    def target_of(self, action: Any) -> float:
        """Target exposure of an action.

        Raises:
            ValueError: an action that is not allowed.
        """
        targets = self.setup.targets
        if targets is not None:
            if isinstance(action, bool) or not self.action_space.contains(action):
                raise ValueError(f"action {action!r} is not allowed: a whole number from 0 to {len(targets) - 1}")
            return float(targets[int(action)])
        value = numbers_of(action, "action")
        low = self.setup.lowest_action
        if value.size != 1 or value.dtype.kind not in "fiu" or not low <= value.item() <= 1.0:
            raise ValueError(f"action {action!r} is not allowed: one finite number in [{low}, 1.0]")
        return float(value.item()) * self.setup.limit

    def action_masks(self) -> NDArray[np.bool_]:
        """(A,) bool: which actions would be accepted now.

        Raises:
            AttributeError: continuous actions have no mask.
        """
        if self.setup.targets is None:
            raise AttributeError("continuous actions have no mask; pass a tuple of actions")
        mask = np.ones(len(self.setup.targets), dtype=np.bool_)
        if self.setup.masks_actions:
            mask_actions(self.account, self._growing.sigma, self.setup.targets, self._parameters, mask)
        return mask

    def _observation(self) -> Observation:
        seen = np.empty(ACCOUNT_OBSERVATION, dtype=np.float32)
        observe_account(self.account, seen, self.setup.limit)
        if not self._sees:
            return {"index": np.array([0, self._growing.bar], dtype=np.int64), "account": seen}
        return {**self._growing.windows(), "account": seen}

    def _info(self, steps: int, live: dict[str, Any], report: StepReport | None = None) -> dict[str, Any]:
        if report is None:
            report = StepReport()
            report.add(self.account, self._growing.prices, self._parameters)
        row = self.account.tolist()
        info: dict[str, Any] = {
            **QUIET, "market": 0, "bar": self._growing.bar, "equity": row[EQUITY], "exposure": row[EXPOSURE],
            "close": row[CLOSE_PRICE], **{name: row[column] for name, column in CUMULATIVE.items()},
            "ruined": row[RUINED] == 1.0, **report.told(),
        }  # fmt: skip
        if self.setup.targets is not None:
            info["action_mask"] = self.action_masks()
        info["live"] = {"bar_time": self._growing.open_ms, "steps": steps, "late_bars": 0, **report.slippage(), **live}
        return info

    def close(self) -> None:
        """Let go of feed, broker and journal."""
        self.feed.close()
        self.broker.close()
        self.executor.journal.close()


def _executor_in(folder: Path, broker: Broker, feed: Feed) -> Executor:
    """An executor with the default limits, its journal in a folder."""
    make_folder(folder)
    journal = Journal(folder, clock=feed.now_ms)
    return Executor(broker, journal, KillSwitch(folder), timeframe_ms(feed.timeframe))
