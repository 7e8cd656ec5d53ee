"""Stepping on several threads: the bits of one thread, whatever else happens (threads, forks, torch, numba)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import cryptoenv
from cryptoenv.env import job_board, stepping_threads
from cryptoenv.env import vector as vector_env
from cryptoenv.env.stepping_threads import helping
from tests.cryptoenv.env.test_env import same
from tests.naive.random_bars import random_bars

THREADS = 4  # also on a machine with fewer cores


@pytest.fixture(scope="module")
def market() -> cryptoenv.Market:
    return cryptoenv.Market.from_bars(random_bars(70, seed=1))


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step and every copy of windows is shared, and shared again however it went."""
    monkeypatch.setattr(vector_env, "PARALLEL_ROWS", 1)
    monkeypatch.setattr(vector_env, "PARALLEL_CELLS", 1)


def trajectory(market: cryptoenv.Market, threads: int, n: int = 2_000, steps: int = 40, **more: Any) -> list[Any]:
    envs = gym.make_vec("CryptoTrade-v0", num_envs=n, market=market, window=(3, 2, 2), episode_bars=30, **more)
    envs.unwrapped._threads = threads  # type: ignore[attr-defined]
    rng = np.random.default_rng(2)
    return [envs.reset(seed=9)] + [envs.step(rng.integers(3, size=n)) for _ in range(steps)]


@pytest.mark.parametrize(
    "more", [{}, {"observation": "index"}, {"reward": {"differential_sharpe": 1.0}, "random_start": False}]
)
@pytest.mark.usefixtures("shared")
def test_parallel_equals_serial_bit_for_bit(market: cryptoenv.Market, more: dict[str, Any]) -> None:
    assert same(trajectory(market, 1, **more), trajectory(market, THREADS, **more))
    assert same(trajectory(market, 1, n=37, **more), trajectory(market, THREADS, n=37, **more))


@pytest.mark.usefixtures("shared")
def test_helpers_do_take_rows(market: cryptoenv.Market) -> None:
    """Else the tests beside this one show nothing: helpers on other cores, or on this one while the caller waits."""
    board = helping(THREADS)
    assert board is not None
    envs = gym.make_vec("CryptoTrade-v0", num_envs=4_096, market=market, observation="index")
    envs.unwrapped._threads = THREADS  # type: ignore[attr-defined]
    envs.reset(seed=0)
    taken, tries = 0, 0
    while taken < 50 and tries < 20_000:
        envs.step(np.zeros(4_096, dtype=np.int64))
        taken += int(board[job_board.TAKEN_BACK])
        tries += 1
    assert taken >= 50


@pytest.mark.usefixtures("shared")
def test_helpers_that_never_wake_hold_nobody_up(market: cryptoenv.Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine at its worst: the caller does all blocks, and soon no longer knocks."""
    serial, board = trajectory(market, 1), stepping_threads._new_board()
    board[job_board.HELPERS] = 3
    monkeypatch.setattr(vector_env, "helping", lambda threads: board)
    assert same(serial, trajectory(market, THREADS))
    rests = board[job_board.PATIENCE : job_board.PATIENCE + 2]
    assert (rests >= 15).all() and (rests <= job_board.LONGEST_REST).all()


@pytest.mark.usefixtures("shared")
def test_helpers_sleep_between_steps(market: cryptoenv.Market) -> None:
    """Threads that spin are what makes a busy machine slow; 0.3 s of them would be 0.3 s of CPU time and more."""
    trajectory(market, THREADS)
    time.sleep(0.01)
    begin = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - begin < 0.1


@pytest.mark.usefixtures("shared")
def test_a_system_without_further_threads_steps_alone(
    market: cryptoenv.Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: Any) -> None:
        raise RuntimeError("can't start new thread")

    for name, value in (("board", None), ("helpers", 0), ("refused", False)):
        monkeypatch.setattr(stepping_threads._Crew, name, value)
    monkeypatch.setattr(stepping_threads.threading.Thread, "start", refuse)
    assert helping(2) is None and helping(1) is None
    assert same(trajectory(market, 1, steps=3), trajectory(market, THREADS, steps=3))


PREPARED = """import os, sys, threading
import gymnasium as gym, numpy as np
import cryptoenv
from cryptoenv import vector_env
from tests.naive.random_bars import random_bars

vector_env.PARALLEL_ROWS = vector_env.PARALLEL_CELLS = 1
market = cryptoenv.Market.from_bars(random_bars(70, seed=1))

def equity(seed, steps=60, threads=3, n=600):
    envs = gym.make_vec("CryptoTrade-v0", num_envs=n, market=market, window=(3, 2, 2), episode_bars=30)
    envs.unwrapped._threads = threads
    envs.reset(seed=seed)
    rng = np.random.default_rng(seed)
    return np.stack([envs.step(rng.integers(3, size=n))[4]["equity"] for _ in range(steps)]).tobytes()

def together(seeds):
    found = {}
    workers = [threading.Thread(target=lambda s=s: found.setdefault(s, equity(s))) for s in seeds]
    [w.start() for w in workers]; [w.join() for w in workers]
    return found

def exit_of(code):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if code() else 7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

"""


def finished(code: str, **variables: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", PREPARED + code],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, **variables},
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


IN_THREADS = """
import numba
@numba.njit(parallel=True)
def others(x):
    for i in numba.prange(len(x)):
        x[i] += 1.0

expected = {seed: equity(seed, threads=1) for seed in range(3)}
users = threading.Thread(target=lambda: [others(np.zeros(1000)) for _ in range(200)])
users.start()
print(together(range(3)) == expected)
users.join()
print(numba.threading_layer())
"""


@pytest.mark.parametrize("layer", ["workqueue", "omp", "default"])
def test_threads_step_envs_at_once_on_every_layer(layer: str) -> None:
    """Beside a parallel function of the user's, whose layer is the only one that is started."""
    done = finished(IN_THREADS, **({} if layer == "default" else {"NUMBA_THREADING_LAYER": layer}))
    assert done[0] == "True" and (layer == "default" or done[1] == layer)


NO_LAYER = """
import numba
equity(0)
try:
    print(numba.threading_layer())
except ValueError:
    print("none")
"""


def test_stepping_starts_no_threads_of_numba() -> None:
    assert finished(NO_LAYER) == ["none"]


FORKS = """
expected = {seed: equity(seed, threads=1) for seed in range(3)}
child = lambda: equity(1) == expected[1] and together(range(2)) == {0: expected[0], 1: expected[1]}
print(exit_of(child))                                     # before any helper was started
print(equity(0) == expected[0], exit_of(child))           # after
print(exit_of(lambda: child() and exit_of(child) == 0))   # a child's child
stepping = threading.Thread(target=lambda: [equity(2) for _ in range(3)])
stepping.start()
print(*[exit_of(child) for _ in range(5)])                # while another thread steps
stepping.join()
print(equity(2) == expected[2])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_forked_children_step(layer: str) -> None:
    done = finished(FORKS, NUMBA_THREADING_LAYER=layer)
    assert done == ["0", "True", "0", "0", *["0"] * 5, "True"]


TORCH = """
import torch
torch.set_num_threads(2)
alone = equity(0, threads=1)
x = torch.ones(600, 600)
both = [(equity(0) == alone, (x @ x).sum().item()) for _ in range(3)]
print(both == [(True, 600.0**3)] * 3, torch.get_num_threads())
"""


@pytest.mark.parametrize("first", ["torch", "cryptoenv"])
def test_torch_keeps_its_threads(first: str) -> None:
    pytest.importorskip("torch")
    run = subprocess.run(
        [sys.executable, "-c", f"import {first}\n{PREPARED}{TORCH}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.stdout.split() == ["True", "2"], run.stderr
