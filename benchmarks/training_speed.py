"""How fast agents train: beside Stable-Baselines3 and plain torch, and the Transformer in the loop; replay memory.

    python -m benchmarks.training_speed --quick             a third of the steps
    python -m benchmarks.training_speed
    python -m benchmarks.training_speed --only ppo dqn      some of the parts; the file keeps the others

All variants of an algorithm see the same markets, envs and gradient samples per env step, start at the same clone where
they can, run one after another in one process on one torch thread, and are scored on the same validation markets.
"batch N" is Stable-Baselines3's own class: once with its default batch, once with the batch of ours. Of fitted Q, which
it does not have, "plain torch" is the same update by autograd. Variants of ours say where they make fewer updates.
Rates are env steps per second of `learn` after a first short one that compiles, without evaluation, by the clock and by
the processor's time; ratios are of the latter, which neighbours on the machine hardly touch.
"""

from __future__ import annotations

import argparse
import json
import resource
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.logger import configure

from agents.algorithms.dqn import DQNConfig, new_dqn
from agents.algorithms.fitted_q import FittedQConfig, new_fitted_q
from agents.algorithms.index_replay import IndexReplayBuffer
from agents.algorithms.off_policy import copy_actor
from agents.algorithms.ppo import PPOConfig, new_ppo
from agents.algorithms.sac import SACConfig, new_sac
from agents.algorithms.sb3_vec_env import training_env
from agents.algorithms.threads import use_one_thread
from agents.cloning.behaviour_cloning import CloningConfig
from agents.evaluation import baselines
from agents.evaluation.hysteresis import VALIDATION_BLOCK
from agents.evaluation.rollout import blocks, roll
from agents.evaluation.scoring import score
from agents.markets.embedded import EmbeddedMarkets, TrainingMarkets, embed
from agents.markets.expert_market import markets_of, synthetic_markets
from agents.policies.agent import Agent, AgentPolicy
from agents.policies.heads import actor_arguments, bind, copy_of
from agents.policies.policy_shape import observation_space
from agents.policies.pretrained_extractor import PretrainedExtractor
from agents.policies.value_heads import LOG_ODDS, value_arguments
from agents.settings import TradingSettings
from agents.training.config import AgentTrainingConfig
from agents.training.pipeline import cloned
from benchmarks.support.end_to_end import agent_of
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from pretrain import Extractor

TASK = "standard"
STEPS = {"ppo": 300_000, "dqn": 60_000, "sac": 45_000, "fitted_q": 6_000_000, "loop": 3_000}
RATE = 1e-4
REPLAY = 1_000_000


class Bench:
    """The clone, its markets, and one rate and score per variant."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.extractor = Extractor.load("default")
        self.settings: TradingSettings = AgentTrainingConfig().settings_for(self.extractor)
        parts = [synthetic_markets(TASK, f, n, 60, self.settings, progress=False) for f, n in FAMILIES]
        self.training_markets = TrainingMarkets(
            *(EmbeddedMarkets.of(self.extractor, part, progress=False) for part in parts)
        )
        self.clone: Agent = cloned(
            self.extractor, self.training_markets, self.settings, CloningConfig(samples=200_000, epochs=4), seed=0,
            progress=False,
        )  # fmt: skip
        validation = self.training_markets.validation
        self.rows = blocks(validation.labelled, VALIDATION_BLOCK)
        self.best = roll(
            baselines.oracle(validation.labelled, self.settings), validation.labelled, self.rows, self.settings
        ).expected(validation.labelled)
        self.clone_score = self.score(self.clone).value

    def timed(self, algorithm: Any, steps: int, judged: Callable[[Any], Agent] | None) -> dict[str, Any]:
        """Env steps per second, and (where it can be judged) the score of what came out."""
        algorithm.set_logger(configure(None, []))
        steps = int(self.scale * steps)
        began, used = perf_counter(), process_time()
        algorithm.learn(steps)
        seconds, used = perf_counter() - began, process_time() - used
        done = algorithm.num_timesteps
        found: dict[str, Any] = {
            "steps_per_second": done / seconds, "steps_per_cpu_second": done / used, "steps": done, "seconds": seconds,
        }  # fmt: skip
        if judged is not None:
            found["score"] = asdict(self.score(judged(algorithm)))
            found["clone_score"] = self.clone_score
        return found

    def score(self, agent: Agent) -> Any:
        """Of the validation markets' optimum, with its interval."""
        policy = copy_of(agent.policy)
        labelled, table = self.training_markets.validation.labelled, self.training_markets.validation.table
        bind(policy, table if agent.extractor is self.extractor else embed(agent.extractor, labelled, progress=False))
        earned = roll(AgentPolicy(agent, policy), labelled, self.rows, self.settings).expected(labelled)
        return score(earned, self.best)

    def as_actor(self, algorithm: Any) -> Agent:
        """An actor-critic algorithm's policy."""
        return replace(self.clone, policy=algorithm.policy, head="actor", margin=0.0)

    def as_value(self, algorithm: Any) -> Agent:
        """A DQN's averaged network."""
        return replace(self.clone, policy=algorithm.policy, head="value", margin=0.0)


FAMILIES = (("train", 32), ("validation", 16))


def ppo(bench: Bench) -> dict[str, dict[str, Any]]:
    """Ours; Stable-Baselines3's with its batch of 64 and with ours; and with the network in the loop, trained along."""
    config = PPOConfig(steps=STEPS["ppo"], learning_rate=RATE, warm_up=0)
    train = bench.training_markets.train
    new_ppo(bench.clone, train, config, seed=1).learn(2 * config.num_envs * config.rollout_steps)
    ours = new_ppo(bench.clone, train, config, seed=0)

    def stock(**changes: Any) -> PPO:
        arguments: dict[str, Any] = {
            "policy_kwargs": actor_arguments(bench.clone.shape), "learning_rate": RATE, "n_steps": config.rollout_steps,
            "n_epochs": config.epochs, "gamma": config.gamma, "gae_lambda": config.gae_lambda, "seed": 0,
            "ent_coef": 0.0, "device": "cpu",
        }  # fmt: skip
        env = training_env(train, bench.settings, num_envs=config.num_envs, episode_bars=config.episode_bars)
        return PPO("MultiInputPolicy", env, **(arguments | changes))

    found = {"ours": bench.timed(ours, STEPS["ppo"], bench.as_actor)}
    fewer = new_ppo(bench.clone, train, replace(config, epochs=2), seed=0)
    found["ours, 2 epochs"] = bench.timed(fewer, STEPS["ppo"], bench.as_actor)
    for batch in (64, config.batch_size):
        usual = stock(batch_size=batch)
        usual.policy.load_state_dict(bench.clone.policy.state_dict())
        bind(usual.policy, train.table)
        found[f"batch {batch}"] = bench.timed(usual, STEPS["ppo"], bench.as_actor)
    hidden = list(bench.clone.shape.hidden)
    looped = {
        "features_extractor_class": PretrainedExtractor, "activation_fn": torch.nn.Tanh,
        "net_arch": {"pi": hidden, "vf": hidden},
    }  # fmt: skip
    reads = {"extractor": bench.extractor, "mode": "finetune", "markets": markets_of(train.labelled)}
    loop = stock(n_steps=4, batch_size=1024, policy_kwargs={**looped, "features_extractor_kwargs": reads})
    clone = {n: w for n, w in bench.clone.policy.state_dict().items() if "features_extractor" not in n}
    loop.policy.load_state_dict(clone, strict=False)
    found["Transformer in the loop"] = bench.timed(loop, STEPS["loop"], lambda it: agent_of(it, bench.settings))
    return found


def dqn(bench: Bench) -> dict[str, dict[str, Any]]:
    """Ours; Stable-Baselines3's with its batch of 32 and with ours, for the same samples per env step."""
    config = DQNConfig(steps=STEPS["dqn"], prefill=20_000, learning_rate=RATE)
    train = bench.training_markets.train
    new_dqn(bench.clone, train, config, seed=1).learn(4 * config.num_envs)
    ours = new_dqn(bench.clone, train, config, seed=0)
    found = {"ours": bench.timed(ours, STEPS["dqn"], bench.as_value)}
    for steps in (2, 1):
        fewer = new_dqn(bench.clone, train, replace(config, gradient_steps=steps), seed=0)
        found[f"ours, gradient steps {steps}"] = bench.timed(fewer, STEPS["dqn"], bench.as_value)
    for batch in (32, config.batch_size):
        env = training_env(train, bench.settings, num_envs=config.num_envs, episode_bars=config.episode_bars)
        stock = DQN(
            "MultiInputPolicy", env, policy_kwargs=value_arguments(bench.clone.shape), learning_rate=RATE, train_freq=1,
            gradient_steps=config.batch_size * config.gradient_steps // batch, batch_size=batch, gamma=config.gamma,
            learning_starts=256, buffer_size=100_000, seed=0, exploration_initial_eps=0.05,
            target_update_interval=config.num_envs, tau=config.averaging, device="cpu",
        )  # fmt: skip
        for net in (stock.policy.q_net, stock.policy.q_net_target):
            copy_actor(bench.clone.policy, net.q_net, 1.0 / LOG_ODDS)
        bind(stock.policy, train.table)
        found[f"batch {batch}"] = bench.timed(stock, STEPS["dqn"], bench.as_value)
    return found


def sac(bench: Bench) -> dict[str, dict[str, Any]]:
    """Ours over positions; Stable-Baselines3's over exposures, with its batch of 256 and ours, which has no clone."""
    config = SACConfig(steps=STEPS["sac"], prefill=20_000, learning_rate=RATE)
    train = bench.training_markets.train
    new_sac(bench.clone, train, replace(config, warm_up=0), seed=1).learn(4 * config.num_envs)
    ours = new_sac(bench.clone, train, config, seed=0)

    def judged(algorithm: Any) -> Agent:
        return replace(bench.clone, policy=algorithm.policy.actor, head="actor", margin=0.0)

    def exposures(algorithm: Any) -> Agent:
        return replace(bench.clone, policy=algorithm.policy, head="exposure", margin=0.0)

    found = {"ours": bench.timed(ours, STEPS["sac"], judged)}
    fewer = new_sac(bench.clone, train, replace(config, gradient_steps=2), seed=0)
    found["ours, gradient steps 2"] = bench.timed(fewer, STEPS["sac"], judged)
    for batch in (256, config.batch_size):
        env = training_env(
            train, bench.settings, num_envs=config.num_envs, episode_bars=config.episode_bars, continuous=True
        )
        stock = SAC(
            "MultiInputPolicy", env, policy_kwargs=value_arguments(bench.clone.shape), learning_rate=RATE, train_freq=1,
            learning_starts=256, gradient_steps=config.batch_size * config.gradient_steps // batch, batch_size=batch,
            gamma=config.gamma, buffer_size=100_000, seed=0, device="cpu",
        )  # fmt: skip
        bind(stock.policy, train.table)
        found[f"batch {batch}"] = bench.timed(stock, STEPS["sac"], exposures)
    return found


def fitted_q(bench: Bench) -> dict[str, dict[str, Any]]:
    """Ours; the same by autograd over plain layers at the same batch, and at DQN's default of 32."""
    train, found = bench.training_markets.train, {}

    def judged(algorithm: Any) -> Agent:
        return replace(bench.clone, policy=algorithm.policy, head="utility", margin=0.0)

    new_fitted_q(bench.clone, train, FittedQConfig(), seed=1).learn(4 * 4096)
    variants = (("ours", 4096, 1.0), ("plain torch, batch 32", 32, 0.02), ("plain torch, batch 4096", 4096, 1.0))
    for name, batch, share in variants:
        algorithm = new_fitted_q(bench.clone, train, FittedQConfig(batch_size=batch), seed=0)
        if name != "ours":
            algorithm.use_autograd()
        steps = int(share * STEPS["fitted_q"])
        found[name] = bench.timed(algorithm, steps, judged if share == 1.0 else None)
    return found


def replay_bytes(bench: Bench) -> dict[str, float]:
    """Bytes of a million transitions: what the process grew by for indices, computed for windows and the next ones."""
    env = training_env(bench.training_markets.train, bench.settings, num_envs=256, episode_bars=960)
    rng = np.random.default_rng(0)
    seen: Any = env.reset()
    before = resident()
    buffer = IndexReplayBuffer(REPLAY, observation_space(), spaces.Discrete(3), device="cpu", n_envs=256)
    while not buffer.full:
        actions = rng.integers(3, size=256)
        after, rewards, dones, infos = env.step(actions)
        last = {name: value.copy() for name, value in after.items()}  # type: ignore[union-attr]
        for row in np.flatnonzero(dones):
            for name, value in infos[row]["terminal_observation"].items():
                last[name][row] = value
        buffer.add(seen, last, actions, rewards, dones, infos)
        seen = after
    layout = bench.extractor.config
    window = sum(bars * len(own) * 4 for bars, own in zip(layout.window, layout.feature_names, strict=True))
    grown = float(resident() - before)
    return {"indices": float(buffer.nbytes), "process_grew": grown, "windows": float(REPLAY * 2 * window)}


def resident() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "replay_bytes": replay_bytes, "ppo": ppo, "dqn": dqn, "sac": sac, "fitted_q": fitted_q,
}  # fmt: skip


def main() -> None:
    """Measure, print, write JSON after every part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/training_speed.json"))
    arguments = parser.parse_args()
    use_one_thread()
    bench = Bench(1.0 / 3.0 if arguments.quick else 1.0)
    parts: dict[str, Any] = {}
    if arguments.out.is_file():
        before = json.loads(arguments.out.read_text(encoding="utf-8"))
        parts = {name: before[name] for name in PARTS if name in before}
    for name in arguments.only:
        parts[name] = PARTS[name](bench)
        if name == "replay_bytes":
            print("replay", parts[name])
        else:
            tell(name, parts[name])
        write_result(arguments.out, header() | {"task": TASK} | parts)
    print(f"wrote {arguments.out}")


def tell(name: str, variants: dict[str, dict[str, Any]]) -> None:
    """Print a part's variants, and give each how many times as fast ours is."""
    ours = variants["ours"]["steps_per_cpu_second"]
    for variant, line in variants.items():
        line["ours_times"] = ours / line["steps_per_cpu_second"]
        told = ", score {value:.3f} [{low:.3f}, {high:.3f}]".format(**line["score"]) if "score" in line else ""
        rate = f"{line['steps_per_second']:9.0f} steps/s, ours x {line['ours_times']:.1f}"
        print(f"{name} {variant:24s} {rate}{told}", flush=True)


if __name__ == "__main__":
    main()
