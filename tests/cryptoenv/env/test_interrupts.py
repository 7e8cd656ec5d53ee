"""An exception at any point of a step or a reset (Ctrl-C, a timer) never makes the env show what it has not written."""

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest

import cryptoenv
from cryptoenv.env.single import IN_RESET, IN_STEP

HERE = "cryptoenv"


class Interrupted(Exception):
    """Raised where the trace says."""


def interrupt_at(line_event: int, call: Callable[[], Any]) -> bool:
    """Run `call`, raising `Interrupted` before its `line_event`-th line in the package; whether that was reached."""
    seen = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal seen
        if HERE not in frame.f_code.co_filename or "site-packages" in frame.f_code.co_filename:
            return None
        if event == "line":
            seen += 1
            if seen == line_event:
                raise Interrupted
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Interrupted:
        return True
    finally:
        sys.settrace(before)
    return False


def shown(env: cryptoenv.CryptoTradeEnv, market: cryptoenv.Market, seen: dict[str, Any], info: dict[str, Any]) -> None:
    """Assert that observation and info are those of the account and the bar."""
    t, window = info["bar"], env.setup.window
    for k, name in enumerate(market.timeframes):
        last = market.align[t, k] + 1
        np.testing.assert_array_equal(seen[name], market.features[k][last - window[k] : last])
    assert env._clock[1] == t
    assert info["equity"] == env._account[0] and info["close"] == market.prices[t, 3]
    assert seen["account"][0] == np.float32(info["exposure"])
    assert info["fees"] == env._account[6]


@pytest.mark.parametrize("call", ["step", "reset"])
def test_every_line_of_a_step_and_a_reset_can_be_interrupted(market: cryptoenv.Market, call: str) -> None:
    env = cryptoenv.CryptoTradeEnv(market)
    rng = np.random.default_rng(0)
    interrupts = 0
    for line in range(1, 200):
        env.reset(seed=line)
        for _ in range(3):
            env.step(int(rng.integers(3)))
        action = int(rng.integers(3))
        if not interrupt_at(line, lambda: env.step(action) if call == "step" else env.reset(seed=5)):  # noqa: B023
            break
        interrupts += 1
        if call == "reset":
            if env._bar == IN_RESET:
                with pytest.raises(RuntimeError, match="interrupted"):
                    env.step(1)
            shown(env, market, *env.reset())
        for _ in range(3):
            seen, _, _, _, info = env.step(int(rng.integers(3)))
            shown(env, market, seen, info)
    assert interrupts >= (8 if call == "step" else 25), "the trace found the lines"


def test_a_second_interrupt_while_the_first_is_settled(market: cryptoenv.Market) -> None:
    env = cryptoenv.CryptoTradeEnv(market)
    settled = 0
    for line in range(1, 60):
        env.reset(seed=1)
        untold = dict(env._quiet)
        env.step(2)
        assert env._account[6] > untold["fees"]
        env._bar, env._quiet = IN_STEP, untold  # cut short after the account had paid, and before `info` said so
        if not interrupt_at(line, lambda: env.step(2)):
            break
        seen, _, _, _, info = env.step(2)
        shown(env, market, seen, info)
        settled += 1
    assert settled > 10


def test_a_storm_of_timer_signals(market: cryptoenv.Market) -> None:
    env = cryptoenv.CryptoTradeEnv(market, episode_bars=200)

    armed = False

    def storm(*_: Any) -> None:
        if armed:  # a signal that comes with the timer's end is late
            raise Interrupted

    before = signal.signal(signal.SIGALRM, storm)
    rng = np.random.default_rng(0)
    hits = checked = 0
    env.reset(seed=0)
    over = False
    try:
        for _ in range(3000):
            try:  # a signal may come while the refusal of a step is handled, too
                try:
                    armed = True
                    signal.setitimer(signal.ITIMER_REAL, float(rng.uniform(2e-6, 6e-5)))
                    if over:
                        seen, info = env.reset()
                        over = False
                    else:
                        seen, _, terminated, truncated, info = env.step(int(rng.integers(3)))
                        over = terminated or truncated
                    armed = refused = False
                    signal.setitimer(signal.ITIMER_REAL, 0.0)
                except RuntimeError:
                    armed, refused = False, True
            except Interrupted:
                hits += 1
                over = env._bar == IN_RESET
                continue
            if refused:
                over = True
                continue
            shown(env, market, seen, info)
            checked += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert hits > 100 and checked > 100
