"""The arguments of the two environments stand in signature and docstring, and are those of `EnvironmentSpec`."""

from __future__ import annotations

import inspect
import re
from typing import Any

import gymnasium as gym
import pytest

import cryptoenv
from cryptoenv import CryptoTradeEnv, CryptoTradeVectorEnv
from cryptoenv.env.spec import EnvironmentSpec

ENVIRONMENTS = (CryptoTradeEnv, CryptoTradeVectorEnv)
OWN = {
    CryptoTradeEnv: {"render_mode"},
    CryptoTradeVectorEnv: {
        "num_envs", "autoreset_mode", "copy", "stagger", "render_mode", "max_episode_steps",
    },
}  # fmt: skip


def parameters(made: type) -> dict[str, inspect.Parameter]:
    found = dict(inspect.signature(made.__init__).parameters)
    found.pop("self")
    return found


def documented(made: type) -> dict[str, str]:
    """The text of each argument in a class's docstring, its lines joined."""
    text = inspect.getdoc(made) or ""
    arguments = text.split("\nArgs:\n")[1].split("\n\n")[0]
    entries = re.split(r"^    (?=\w+: )", arguments, flags=re.M)[1:]
    return {e.split(":")[0]: " ".join(e.split(":", 1)[1].split()) for e in entries}


@pytest.mark.parametrize("made", ENVIRONMENTS)
def test_signature_docstring_and_specification_say_the_same(made: type) -> None:
    spec, own = parameters(EnvironmentSpec), parameters(made)
    assert set(own) - set(spec) == OWN[made]
    for name, parameter in spec.items():
        assert own[name].default == parameter.default, name
        assert own[name].annotation == parameter.annotation, name
    assert not [p for p in own.values() if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    assert [name for name, p in own.items() if p.kind is not p.KEYWORD_ONLY] == [
        name for name in ("num_envs", "market") if name in own
    ]
    texts, source = documented(made), documented(EnvironmentSpec)
    assert set(texts) == set(own)
    assert {name: texts[name] for name in spec} == source


@pytest.mark.parametrize("made", ENVIRONMENTS)
def test_documented_defaults_are_the_defaults(made: type) -> None:
    """Where a default is a plain value, the docstring names it."""
    texts = documented(made)
    for name, parameter in parameters(EnvironmentSpec).items():
        if parameter.default is None:
            assert "None" in texts[name] or "default" in texts[name], name
        else:
            told = parameter.default if isinstance(parameter.default, str) else f"{parameter.default:,g}"
            told = {"10,000": "10,000", "2,880": "2880", "1": "True"}.get(told, told)
            assert told in texts[name], (name, told)


#: Another value than the default, and where it is seen afterwards.
OTHERS: dict[str, tuple[Any, Any]] = {
    "split": ("validation", lambda setup: setup.pool.markets.entries[0].seed),
    "timeframes": (("15m", "1d"), lambda setup: setup.pool.timeframes),
    "window": ((3, 2, 1), lambda setup: setup.window),
    "instrument": ("spot", lambda setup: setup.trading.instrument),
    "actions": ((-1.0, 1.0), lambda setup: setup.targets.tolist()),
    "observation": ("index", lambda setup: setup.observation),
    "reward": ("pnl", lambda setup: setup.world.weights.tolist()),
    "costs": (cryptoenv.Costs(fee=0.0), lambda setup: setup.trading.costs),
    "limits": (cryptoenv.RiskLimits(exposure=0.5), lambda setup: setup.trading.limits),
    "rules": (cryptoenv.VenueRules(tick_size=0.5), lambda setup: setup.trading.rules),
    "sizing": (cryptoenv.Sizing(fraction=0.5), lambda setup: setup.trading.sizing),
    "reward_adaptation": (0.5, lambda setup: setup.trading.reward_adaptation),
    "initial_cash": (5.0, lambda setup: setup.episode_rules.cash),
    "episode_bars": (7, lambda setup: setup.episode_rules.bars),
    "random_start": (False, lambda setup: setup.episode_rules.random_start),
    "markets": (2, lambda setup: len(setup.pool.markets)),
    "days": (3, lambda setup: setup.pool.markets.entries[0].days),
}


@pytest.mark.parametrize("make", [gym.make, gym.make_vec, CryptoTradeEnv, CryptoTradeVectorEnv])
def test_every_argument_arrives(make: Any) -> None:
    of_bars = {"market", "funding"}  # rates are of bars: tests/cryptoenv/market/test_funding_files.py
    assert set(OTHERS) == set(parameters(EnvironmentSpec)) - of_bars
    first = ("CryptoTrade-v0",) if make in (gym.make, gym.make_vec) else ()
    named = {"num_envs": 2} if make in (gym.make_vec, CryptoTradeVectorEnv) else {}
    plain = make(*first, **named).unwrapped.setup
    for name, (value, seen) in OTHERS.items():
        changed = make(*first, **named, **{name: value}).unwrapped.setup
        assert seen(changed) != seen(plain), name


@pytest.mark.parametrize("made", ENVIRONMENTS)
def test_an_unknown_argument_is_named(made: type) -> None:
    with pytest.raises(TypeError, match="'leverage'"):
        made(leverage=3)
    with pytest.raises(TypeError, match="episode_bars="):
        CryptoTradeVectorEnv(2, max_episode_steps=10)
