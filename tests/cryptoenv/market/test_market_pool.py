"""Which markets an env trades: pools made when visited, streams, tasks and samples of one's own, staggered rows."""

import copy
import pickle
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import cryptoenv
from cryptoenv import StateError
from cryptoenv.market.market import Market
from cryptoenv.market.markets_ahead import MarketsAhead
from cryptoenv.market.pool import MarketPool
from synthetic import TASKS, family_of, regime_market, task_seeds
from tests.cryptoenv.conftest import random_bars

SHORT: dict[str, Any] = {"days": 2, "episode_bars": 20, "window": (8, 2, 2)}


def single(**arguments: Any) -> Any:
    return gym.make("CryptoTrade-v0", **(SHORT | arguments)).unwrapped


def vector(rows: int, **arguments: Any) -> Any:
    return gym.make_vec("CryptoTrade-v0", num_envs=rows, **(SHORT | arguments)).unwrapped


def trail(env: Any, seed: int, steps: int) -> Iterator[tuple[Any, ...]]:
    """What a single env shows step by step, in the order in which a vector row (NEXT_STEP) does."""
    rng = np.random.default_rng(7)
    seen, info = env.reset(seed=seed)
    over, shown = False, (0.0, False, False)
    for _ in range(steps):
        yield seen, *shown, info["market"], info["bar"], info["equity"]
        action = int(rng.integers(3))
        if over:
            (seen, info), over, shown = env.reset(), False, (0.0, False, False)
            continue
        seen, reward, terminated, truncated, info = env.step(action)
        over, shown = terminated or truncated, (reward, terminated, truncated)


def same(a: Any, b: Any) -> bool:
    return all(np.array_equal(a[0][name], b[0][name]) for name in a[0]) and tuple(a[1:]) == tuple(b[1:])


def row_trail(envs: Any, row: int, seed: int, steps: int) -> Iterator[tuple[Any, ...]]:
    rng = np.random.default_rng(7)
    seen, info = envs.reset(seed=seed)
    shown: tuple[Any, ...] = (0.0, False, False)
    for _ in range(steps):
        one = {name: values[row] for name, values in seen.items()}
        yield one, *shown, info["market"][row], info["bar"][row], info["equity"][row]
        seen, reward, terminated, truncated, info = envs.step(np.full(envs.num_envs, int(rng.integers(3))))
        shown = (reward[row], terminated[row], truncated[row])


def test_a_pool_has_64_markets_made_when_first_visited_and_kept() -> None:
    env = single(market="standard", days=3)
    markets = env.pool.markets
    assert len(markets) == 64
    assert repr(markets) == "<64 markets, 1 made>"
    visited = {0} | {env.reset(seed=seed)[1]["market"] for seed in range(6)}
    assert repr(markets) == f"<64 markets, {len(visited)} made>"
    assert markets[63] is markets[-1]
    assert markets[63].name == f"standard-{task_seeds('standard', 'train', 64)[63]}"
    again = single(market="standard", days=3)
    assert again.pool.markets[63] is markets[63]
    assert len(single(markets=3).pool.markets) == 3
    assert len(markets[0]) == (56 + 3) * 96
    other = single(market=["standard"], days=3)  # another pool of the same task shares what is made
    assert other.pool.markets[63] is markets[63]


@pytest.mark.parametrize("markets", [7, "stream"])
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_rows_are_single_envs_whatever_the_markets(markets: Any, mode: str) -> None:
    if mode == "NextStep":
        for row in (0, 4):
            pairs = zip(
                trail(single(markets=markets), 11 + row, 90),
                row_trail(vector(5, markets=markets), row, 11, 90),
                strict=True,
            )
            assert all(same(a, b) for a, b in pairs)
        return
    envs, env = vector(3, markets=markets, autoreset_mode=mode), single(markets=markets)
    seen, info = envs.reset(seed=20)
    mine, my_info = env.reset(seed=22)
    for step in range(65):
        assert np.array_equal(seen["15m"][2], mine["15m"])
        assert (info["market"][2], info["bar"][2]) == (my_info["market"], my_info["bar"])
        seen, _, _, truncated, info = envs.step(np.full(3, step % 3))
        mine, _, _, over, my_info = env.step(step % 3)
        assert truncated[2] == over
        if over:
            assert np.array_equal(info["final_obs"][2]["15m"], mine["15m"])
            assert info["final_info"]["market"][2] == my_info["market"]
            mine, my_info = env.reset()


def test_a_stream_has_a_new_market_in_every_episode_whatever_the_thread_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def markets_of(env: Any) -> list[tuple[int, float]]:
        first = env.reset(seed=5)[1]
        return [(i["market"], i["close"]) for i in [first, *(env.reset()[1] for _ in range(12))]]

    in_a_hurry = markets_of(single(markets="stream"))
    assert len(set(in_a_hurry)) == 13

    env = single(markets="stream")
    began = env.reset

    def after_a_while(**arguments: Any) -> Any:
        time.sleep(0.06)  # the thread is done by then
        return began(**arguments)

    monkeypatch.setattr(env, "reset", after_a_while)
    assert markets_of(env) == in_a_hurry
    monkeypatch.setattr(MarketsAhead, "expect", lambda *_: None)  # no thread at all
    assert markets_of(single(markets="stream")) == in_a_hurry
    number, close = in_a_hurry[3]
    seed = task_seeds("easy", "train", 1)[0] + number
    assert family_of(seed) == "train"
    assert close in Market.from_bars(regime_market("easy", 2, seed).bars).prices[:, 3]
    assert single(markets="stream").reset(options={"market": number})[1]["market"] == number


def test_the_split_and_the_tasks_of_a_stream() -> None:
    env = single(market=["easy", "standard"], split="validation", markets="stream")
    names = set()
    for seed in range(12):
        env.reset(seed=seed)
        origin = env.setup.visits.market(0).origin
        assert origin.family == "validation"
        names.add(origin.task)
    assert names == {"easy", "standard"}


def test_memory_of_a_stream_is_flat() -> None:
    envs = vector(3, markets="stream", days=1, episode_bars=4)
    envs.reset(seed=1)

    def episodes(count: int) -> int:
        for _ in range(count * 5):
            envs.step(np.zeros(3, dtype=np.int64))
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        warm = episodes(5)
        assert episodes(30) < warm + 6e6  # of 90 markets, 1.4 MB each
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_of_a_stream_is_flat_over_thousands_of_episodes() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    envs = vector(4, markets="stream", days=1, episode_bars=4)
    envs.reset(seed=1)
    marks = []
    for _ in range(4):
        for _ in range(5 * 250):
            envs.step(np.zeros(4, dtype=np.int64))
        marks.append(resident())
    assert marks[-1] < marks[0] + 20e6, marks


def test_index_observations_keep_a_fixed_pool() -> None:
    with pytest.raises(ValueError, match=r"fixed pool.*markets='stream' has none.*observation='window'"):
        single(markets="stream", observation="index")
    env = single(markets=5, observation="index")
    assert env.observation_space["index"].high[0] == 4


@pytest.mark.parametrize("markets", [6, "stream"])
def test_copies_and_states_go_on_alike(markets: Any) -> None:
    envs = vector(3, markets=markets)
    envs.reset(seed=3)
    actions = np.array([0, 1, 2])
    for _ in range(25):
        envs.step(actions)
    state = envs.get_state()
    others = [copy.deepcopy(envs), pickle.loads(pickle.dumps(envs)), vector(3, markets=markets)]
    others[2].reset(seed=99)
    others[2].set_state(state)
    for _ in range(45):
        seen, rewards, *_, info = envs.step(actions)
        for other in others:
            its, its_rewards, *_, its_info = other.step(actions)
            assert np.array_equal(rewards, its_rewards)
            assert np.array_equal(seen["4h"], its["4h"])
            assert np.array_equal(info["market"], its_info["market"])
    clocks = state.clocks.copy()
    clocks[1, 0] = clocks[1, 0] + 1 if markets == "stream" else 6
    with pytest.raises(StateError, match=r"row 1 of the state.* market .*is"):
        envs.set_state(replace(state, clocks=clocks))
    env = single(markets=markets)
    env.reset(seed=1)
    env.step(1)
    others = [env, copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    for one, *rest in ([e.step(2)[0]["15m"] for e in others], [e.reset()[0]["15m"] for e in others]):
        assert all(np.array_equal(one, other) for other in rest)


def test_two_threads_make_markets_of_one_pool() -> None:
    def episodes(env: Any, found: list[Any]) -> None:
        found += [env.reset(seed=seed)[0]["15m"] for seed in range(8)]

    results: list[list[Any]] = [[] for _ in range(3)]
    envs = [single(market="hard", markets=16) for _ in results]
    threads = [threading.Thread(target=episodes, args=pair) for pair in zip(envs, results, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(found) for found in results] == [8, 8, 8]
    assert all(np.array_equal(a, b) for a, b in zip(results[0], results[2], strict=True))


def test_splits_of_named_tasks_in_any_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "easy").mkdir()
    Market.from_bars(random_bars(60, 1), name="mine").save(tmp_path / "hard")
    monkeypatch.chdir(tmp_path)  # folders of a task's name do not hide the task
    for market in (None, "easy", ["easy"], ("easy", "hard"), TASKS["easy"], [TASKS["easy"]]):
        for split in ("train", "validation", "test"):
            markets = single(market=market, split=split, markets=2).pool.markets
            assert {m.origin.family for m in markets} == {split}
    assert single(market=Path("hard"), days=None).pool.markets[0].name == "mine"
    assert single(market="./hard", days=None).pool.markets[0].name == "mine"
    with pytest.raises(ValueError, match="split='test' is of named tasks only, and market has a DataFrame"):
        single(market=["easy", random_bars(60, 1)], split="test")
    for nothing in ("hardest", ["easy", "hardest"]):
        with pytest.raises(ValueError, match="'hardest' is neither a named task"):
            single(market=nothing)


def test_tasks_and_samples_of_ones_own() -> None:
    calm = replace(TASKS["easy"], name="calm", sigma=0.0005)
    env = single(market=calm, split="test", markets=3)
    sample = regime_market(calm, 2, task_seeds(calm, "test", 3)[1])
    assert np.array_equal(env.pool.markets[1].prices, Market.from_bars(sample.bars).prices)
    own = cryptoenv.CryptoTradeEnv(sample, window=(8, 2, 2))
    assert own.pool.markets[0].hash == env.pool.markets[1].hash
    assert own.pool.markets[0].name == sample.name
    envs = vector(2, market=[sample, calm, random_bars(60, 1)], markets=4)
    assert len(envs.pool.markets) == 6
    assert envs.pool.markets[1].origin.task == "calm"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"markets": 0}, "markets=0 must be from 1 to 100,000"),
        ({"markets": -3}, "markets=-3 must be"),
        ({"markets": 10**9}, "or 'stream' for a new one per episode"),
        ({"markets": 2.5}, "markets=2.5 must be a whole number"),
        ({"markets": True}, "markets=True must be a whole number"),
        ({"markets": "endless"}, "markets='endless' must be a whole number, how many markets, or 'stream'"),
        ({"days": 0}, "days=0 must be from 1"),
        ({"days": "60"}, "days='60' must be a whole number"),
        ({"days": 10**7}, "days=10000000 must be from 1 to 10,000"),
        ({"market": random_bars(60, 1), "days": None, "markets": 3}, "markets=3 is of tasks only, and market is a"),
        ({"market": random_bars(60, 1)}, "days=2 is of tasks only, and market is a DataFrame: leave days out"),
        ({"market": ["easy", random_bars(60, 1)], "markets": "stream"}, "draws new markets of tasks, and market has a"),
        ({"market": []}, "the market pool is empty"),
        ({"market": 5, "days": None}, "market must be a Market.*got int"),
        ({"days": 1, "window": (8, 2, 60)}, "market 0: too few bars"),
        ({"market": [["easy"]], "days": None}, "market must be a Market.*got list"),
    ],
)
def test_what_a_pool_cannot_be(arguments: dict[str, Any], message: str) -> None:
    for make in (single, lambda **given: vector(2, **given)):
        with pytest.raises((ValueError, TypeError), match=message):
            make(**arguments)


def test_pools_of_markets_are_taken_as_they_are() -> None:
    pool = MarketPool((Market.from_bars(random_bars(60, 1)), Market.from_bars(random_bars(60, 2))))
    env = single(market=pool, days=None)
    assert env.pool is pool
    assert pool.markets[:2] == tuple(pool.markets)


def test_staggered_rows_end_at_different_times_and_are_single_envs_again() -> None:
    plain, envs = vector(5, markets=4), vector(5, markets=4, stagger=True)
    for seed in (8, 8, None):
        plain.reset(seed=seed), envs.reset(seed=seed)
        lengths = np.zeros(5, dtype=int)
        for step in range(1, 21):
            truncated = envs.step(np.ones(5, dtype=int))[3]
            lengths[truncated & (lengths == 0)] = step
        assert lengths.tolist() == [20, 16, 12, 8, 4]
    envs.reset(seed=30)
    ends, moments = [], []
    for step in range(200):
        *_, truncated, _ = envs.step(np.ones(5, dtype=int))
        ends.append(int(truncated.sum()))
        moments += [step] * int(truncated.any())
    assert max(ends) == 1
    assert np.diff(moments).max() <= 9
    # row 3: 8 steps of its first episode, then whole episodes of the single env seeded so
    env, envs = single(markets=4), vector(5, markets=4, stagger=True)
    mine = env.reset(seed=43)[0]
    theirs = envs.reset(seed=40)[0]
    for length in (8, 20, 20):
        for _ in range(length):
            assert np.array_equal(theirs["15m"][3], mine["15m"])
            theirs, reward, _, truncated, _ = envs.step(np.full(5, 2))
            mine, my_reward, *_ = env.step(2)
            assert reward[3] == my_reward
        assert truncated[3]
        theirs, mine = envs.step(np.full(5, 2))[0], env.reset()[0]
    with pytest.raises(TypeError, match="stagger='yes' must be True or False"):
        vector(2, stagger="yes")
    with pytest.raises(TypeError, match="stagger"):
        single(stagger=True)


def test_a_partial_reset_cuts_nothing() -> None:
    envs = vector(4, markets=2, stagger=True, autoreset_mode="Disabled")
    envs.reset(seed=1)
    for _ in range(5):
        envs.step(np.ones(4, dtype=int))  # row 3 had 5 of 20 steps
    mask = np.array([False, False, False, True])
    envs.reset(options={"reset_mask": mask})
    for _ in range(5):
        assert not envs.step(np.ones(4, dtype=int))[3][3]
