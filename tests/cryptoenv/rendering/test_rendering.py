"""Rendering: frames show what happened, and looking changes nothing."""

import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import cryptoenv
from tests.cryptoenv.env.test_env import same


def make(market: cryptoenv.Market, mode: str | None, **arguments: Any) -> Any:
    return gym.make("CryptoTrade-v0", market=market, render_mode=mode, **arguments)


def frame_after(market: cryptoenv.Market, actions: list[int]) -> np.ndarray:
    env = make(market, "rgb_array")
    env.reset(seed=4, options={"start": 5000})
    for action in actions:
        env.step(action)
    frame = env.render()
    env.close()
    env.close()
    return frame


def greenish(frame: np.ndarray) -> int:
    """Pixels that are clearly more green than red."""
    return int((frame[..., 1].astype(int) - frame[..., 0].astype(int) > 12).sum())


def reddish(frame: np.ndarray) -> int:
    return int((frame[..., 0].astype(int) - frame[..., 1].astype(int) > 12).sum())


def test_looking_changes_nothing(market: cryptoenv.Market) -> None:
    seen = {}
    for mode in (None, "rgb_array", "ansi"):
        env = make(market, mode, episode_bars=30)
        results = [env.reset(seed=1)]
        for action in np.random.default_rng(0).integers(3, size=30):
            results.append(env.step(action))
            if mode:
                env.render()
        seen[mode] = results
    assert same(seen[None], seen["rgb_array"])
    assert same(seen[None], seen["ansi"])


def test_frames_show_the_side_that_is_held(market: cryptoenv.Market) -> None:
    flat, long, short = (frame_after(market, [action] * 40) for action in (1, 2, 0))
    assert flat.shape == (600, 800, 3)
    assert flat.dtype == np.uint8
    assert greenish(long) > 4 * max(greenish(flat), greenish(short))
    assert reddish(short) > 2 * max(reddish(flat), reddish(long))
    assert (frame_after(market, [1] * 40) == flat).all(), "the same episode is the same picture"


def test_a_new_episode_forgets_the_old_one(market: cryptoenv.Market) -> None:
    env = make(market, "rgb_array")
    env.reset(seed=4, options={"start": 5000})
    fresh = env.render()
    for _ in range(20):
        env.step(2)
    assert (env.render() != fresh).any()
    env.reset(options={"start": 5000})
    assert (env.render() == fresh).all()


def test_text_panel_tells_position_and_order(market: cryptoenv.Market) -> None:
    env = make(market, "ansi")
    env.reset(seed=0)
    env.step(0)
    text = env.render()
    assert "short" in text
    assert "sell filled" in text
    assert "UTC" in text


def test_what_cannot_be_rendered_says_so(market: cryptoenv.Market, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="rgb_array"):
        make(market, "video")
    env = make(market, "rgb_array")
    with pytest.raises(RuntimeError, match="reset"):
        env.render()
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if sys.platform == "linux":
        with pytest.raises(RuntimeError, match="display"):
            make(market, "human")


def test_record_video_takes_every_frame(market: cryptoenv.Market, tmp_path: Any) -> None:
    pytest.importorskip("moviepy", reason="RecordVideo needs moviepy")
    env = gym.wrappers.RecordVideo(
        make(market, "rgb_array", episode_bars=5), str(tmp_path), episode_trigger=lambda _: True
    )
    env.reset(seed=0)
    for _ in range(5):
        env.step(2)
    env.close()
    assert list(tmp_path.glob("*.mp4"))


def test_without_matplotlib_the_checker_is_green_and_pictures_say_what_to_install(market: cryptoenv.Market) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'matplotlib' else found(name, *more)\n"
        "import gymnasium as gym, cryptoenv\n"
        "from gymnasium.utils.env_checker import check_env\n"
        "check_env(gym.make('CryptoTrade-v0').unwrapped)\n"
        "try: cryptoenv.CryptoTradeEnv(render_mode='rgb_array')\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "pip install matplotlib" in done.stdout
