"""A trained agent in the single environment, to be watched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from agents.markets.embedded import EmbeddingTable
from agents.markets.expert_market import synthetic_market
from agents.markets.own_markets import OneMarket, maker_for, own_markets, task_named
from agents.policies.agent import Agent
from agents.run_folders.new_outputs import require_new_file, write_new_file
from agents.settings import CONTINUOUS
from cryptoenv.features.spec import FeatureSpec
from pretrain.fitting.market_inputs import MarketMaker
from synthetic import task_seeds

RENDERED = ("human", "ansi", "rgb_array")


def play_run(
    agent: Agent,
    market: OneMarket,
    render: str,
    *,
    steps: int,
    seed: int,
    out: Path,
    maker: MarketMaker | None = None,
) -> dict[str, Any]:
    """Trade `steps` bars and show them.

    Args:
        agent: decides greedily.
        market: name of a synthetic task, or a market of one's own, as `agents.train` takes it.
        render: "human" opens a window, "ansi" prints every bar, "rgb_array" writes `out`.
        steps: bars to play; fewer where the episode ends.
        seed: of the episode.
        out: a film (.gif) or the last frame (.png).
        maker: makes the market where the agent reads more than bars (`agents.evaluation.tables.run_maker`).

    Returns:
        The last info.

    Raises:
        ValueError: an unknown way to render, or another file ending.
    """
    if render not in RENDERED:
        raise ValueError(f"render={render!r} is unknown; choose one of {RENDERED}")
    if render == "rgb_array" and out.suffix not in {".gif", ".png"}:
        raise ValueError(f"{out} must end in .gif (a film) or .png (the last frame)")
    if render == "rgb_array":
        require_new_file(out)
    settings = agent.settings
    source = _source(market, agent, maker or maker_for(agent.extractor, None), seed)
    env: Any = gym.make(
        "CryptoTrade-v0", market=source, actions=CONTINUOUS if agent.continuous else settings.positions,
        observation="index", episode_bars=steps,
        render_mode=render, **settings.env_arguments,
    )  # fmt: skip
    seen, info = env.reset(seed=seed)
    number = int(seen["index"][0])
    pool = env.unwrapped.setup.pool.markets
    # the other markets of the pool are not visited within one episode
    tables = [np.zeros((1, agent.shape.embedding_width), np.float32) for _ in range(len(pool))]
    tables[number] = agent.extractor.embed(pool[number])
    policy = agent.decide_on(EmbeddingTable(tables))
    frames = []
    over = False
    while not over:
        action = policy.act(seen["index"][None], seen["account"][None])[0]
        seen, _, terminated, truncated, info = env.step(action if agent.continuous else int(action))
        over = terminated or truncated
        shown = env.render()
        if render == "ansi":
            print(shown)
        elif render == "rgb_array":
            frames.append(shown)
    env.close()
    if render == "rgb_array":
        write_new_file(out, lambda path: _write(frames, path))
        print(f"picture: {out}")
    return dict(info)


def _source(market: OneMarket, agent: Agent, maker: MarketMaker, seed: int) -> Any:
    """What the environment takes: a task's pool where its features are the default ones, else a market of them."""
    task = task_named(market)
    if task is None:
        return own_markets(market, agent.settings, maker)[0]
    if maker.layout.features == FeatureSpec() and not maker.layout.columns:
        return task
    drawn = task_seeds(task, "train", 64)[seed % 64]
    return synthetic_market(task, drawn, 60, agent.settings, layout=maker.layout).market


def _write(frames: list[Any], out: Path) -> None:
    from PIL import Image

    images = [Image.fromarray(np.asarray(frame)) for frame in frames]
    if out.suffix == ".png":
        images[-1].save(out)
    else:
        images[0].save(out, save_all=True, append_images=images[1:], duration=80, loop=0)
