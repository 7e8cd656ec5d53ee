"""Counterfactual fitted Q-learning: every bar teaches every pair of position and action.

A price-taker's orders do not move the market, so what any position would have earned over a bar is known, whatever was
held. With linear costs the value of going from position `p` to `a` at bar `t` splits:

    Q(t, p, a) = U(t, a) - c |a - p|,    U(t, a) = reward(t+1, a) + gamma max_b [U(t+1, b) - c |b - a|]

so one regression of `U(t, .)` on the embedding of bar `t` learns from all transitions of all bars at once: fitted Q
iteration (Ernst et al. 2005) on counterfactual transitions. What a position earns over a bar is the kernel's own
(`cryptoenv.trading.position_returns`), with funding, borrow and exits inside the bar. What the assumption leaves out:
market impact, volume caps, and the drift of an exposure between orders. Where those matter, learn in the env.

Where the extractor knows what positions are worth more than none (`agents.training.value_teacher`), what is learned is
added to that: the policy begins exactly there, and as those values are, targets are relative to flat,
U(t, a) - U(t, 0), and errors are divided by the bar's volatility; the pull is toward them.
Shape legend: `T` bars, `D` embedding width, `A` positions, `B` bars of a batch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import polyak_update
from torch.nn import functional

from agents.algorithms.off_policy import bound_clone, clone_logits
from agents.algorithms.sb3_vec_env import REWARD_IN_PERCENT
from agents.algorithms.towers import Follower, Tower, clip, fuse
from agents.algorithms.written_passes import quicken, slowly
from agents.algorithms.written_ppo import Towers
from agents.algorithms.written_values import best_after, huber_gradient, pull_gradient
from agents.cloning.config_ranges import require_numbers
from agents.markets.embedded import LARGEST_EXACT_INDEX, EmbeddedMarkets
from agents.policies.agent import Agent
from agents.policies.heads import bind
from agents.policies.policy_shape import PolicyShape, observation_space
from agents.policies.utility_head import ON_VALUES, PREFERENCE, UtilityPolicy, utility_arguments
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.files.durable_files import write_folder
from cryptoenv.trading.config import TradingConfig
from cryptoenv.trading.position_returns import position_returns
from pretrain.data.rewards import Piece, RewardsConfig, bar_volatility

WEIGHTS, DESCRIPTION = "policy.safetensors", "fitted_q.json"
BOUNDED = RewardsConfig.huber  #: volatilities of a bar beyond which an error counts linearly, where values are known


@dataclass(frozen=True)
class FittedQConfig:
    """How fitted Q learns.

    Attributes:
        steps: bar updates in total; each teaches all pairs of position and action.
        batch_size: bars per gradient step.
        learning_rate: of Adam at the start; it falls along a cosine to zero.
        weight_decay: of AdamW.
        gamma: discount per bar.
        averaging: share of the new weights that goes into the averaged network (target and judge) per gradient step.
        pull: weight of the KL toward the clone's log-odds at the start; it falls linearly to `pull_left` of it.
        pull_left: share of the pull that stays.
        evaluate_every: bar updates between evaluations on validation markets.

    Raises:
        ConfigError: a value of another type, or a number outside its range.
    """

    steps: int = 12_000_000
    batch_size: int = 4096
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    gamma: float = 0.995
    averaging: float = 0.005
    pull: float = 0.05
    pull_left: float = 0.2
    evaluate_every: int = 1_500_000

    def __post_init__(self) -> None:
        require_numbers(self)


class CounterfactualQ(BaseAlgorithm):
    """Fitted Q on counterfactual transitions, with Stable-Baselines3's interface; a "step" is a bar update.

    Args:
        shape: of the policy.
        config: how it learns.
        positions: target exposures.
        cost: log-return lost per unit of turnover, a fraction.
        seed: of weights and batches.
        device: where embeddings and updates are, as torch names it.
        on_values: whether it adds to what the extractor knows; the policy's `known` is then to be given.
    """

    policy: UtilityPolicy

    def __init__(
        self, shape: PolicyShape, config: FittedQConfig, positions: tuple[float, ...], cost: float, seed: int,
        device: str = "cpu", *, on_values: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            UtilityPolicy, None, config.learning_rate,
            policy_kwargs=utility_arguments(shape, positions, cost, on_values=on_values), device=device, seed=seed,
        )  # fmt: skip
        self.observation_space, self.action_space = observation_space(), spaces.Discrete(len(positions))
        self._config, self._shape = config, shape
        self._positions, self._cost = positions, cost
        self._clone: Any = None
        self._towers: tuple[Tower, Tower, Towers | None] | None = None
        self._n_updates = 0
        self._setup_model()

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.policy = UtilityPolicy(self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs)
        self.policy = self.policy.to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.policy.utility.parameters(), lr=self._config.learning_rate, weight_decay=self._config.weight_decay
        )  # fmt: skip
        fuse(self.optimizer)

    def teach_with(self, train: EmbeddedMarkets, clone: Any = None, trading: TradingConfig | None = None) -> None:
        """Learn from these markets, pulled toward `clone` (with the markets' embeddings bound) where it is given.

        `trading`: instrument, costs of holding and limits; a perpetual without funding where None.
        """
        bind(self.policy, train.table)
        quicken(self.policy)
        if clone is not None:
            quicken(clone)
        self._clone = clone
        nets: Any = self.policy.utility, self.policy.averaged
        own, averaged = (Tower.of(net) for net in nets)
        guide = None if clone is None else Towers.of(clone)
        self._towers = None
        if own is not None and averaged is not None and (clone is None or guide is not None):
            self._towers = own, averaged, guide
        self._follower = Follower(self.policy.utility, self.policy.averaged, self._config.averaging)
        rows, rewards, indices, units = [], [], [], []
        trading = TradingConfig() if trading is None else trading
        for number, t in enumerate(train.labelled):
            bars = np.arange(t.first, len(t.market) - 1)
            rows.append(train.table.offsets[number] + bars)
            parameters = trading.parameters(timeframe_ms(t.market.timeframes[0]) / 1000.0)
            rewards.append(position_returns(t.market.prices, self._positions, parameters)[bars])
            indices.append(np.column_stack([np.full(len(bars), number), bars]))
            if self.policy.known is not None:
                units.append(bar_volatility(Piece(t.market, t.first, len(t.market) - 1)))
        last = np.concatenate([np.append(np.zeros(len(r) - 1, np.bool_), True) for r in rows])
        told = (np.concatenate(rows), REWARD_IN_PERCENT * np.concatenate(rewards), np.concatenate(indices), last)
        self._rows, reward, self._index, self._last = (torch.from_numpy(each).to(self.device) for each in told)
        self._reward = reward.float()
        self._volatility = torch.from_numpy(np.concatenate(units)).to(self.device) if units else None

    def use_autograd(self) -> None:
        """Leave every pass to autograd from now on; to compare with."""
        slowly(self.policy)
        if self._clone is not None:
            slowly(self._clone)
        self._towers = None

    def learn(
        self,
        total_timesteps: int,
        callback: Any = None,
        log_interval: int = 100,
        tb_log_name: str = "fitted_q",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> CounterfactualQ:
        """Take `total_timesteps` bar updates; callbacks are called once per gradient step.

        Raises:
            RuntimeError: no markets were given (`teach_with`).
        """
        if not hasattr(self, "_rows"):
            raise RuntimeError("no markets to learn from: call teach_with(train) first")
        total, callback = self._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        callback.on_training_start(locals(), globals())
        while self.num_timesteps < total:
            callback.on_rollout_start()
            self._current_progress_remaining = 1.0 - self.num_timesteps / total
            losses = self._update()
            self.num_timesteps += self._config.batch_size
            self._n_updates += 1
            if self._n_updates % log_interval == 0:
                for name, value in losses.items():
                    self.logger.record(f"train/{name}", value)
            if not callback.on_step():
                break
        callback.on_training_end()
        return self

    def _setup_learn(self, *arguments: Any, **named: Any) -> tuple[int, Any]:
        self._last_obs = {}  # there is no env to reset
        if arguments[2]:
            self.num_timesteps = 0
        total, self._total_timesteps = arguments[0] + self.num_timesteps, arguments[0] + self.num_timesteps
        self.start_time = 0
        return total, self._init_callback(arguments[1], arguments[4])

    def _update(self) -> dict[str, float]:
        config = self._config
        left = self._current_progress_remaining
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * 0.5 * (1.0 - np.cos(np.pi * left))
        chosen = torch.randint(len(self._rows), (config.batch_size,)).to(self.device)
        rows, last = self._rows[chosen], self._last[chosen]
        if self._towers is not None:
            return self._written_update(self._towers, chosen, left)
        target = self._targets(rows, self._reward[chosen], last)
        embedding = self.policy.embedding(rows)
        values = self.policy.with_known(self.policy.utility(embedding), embedding)
        unit = self._unit(chosen)
        error = functional.smooth_l1_loss(values / unit, target / unit)
        loss = error
        if self._pulled:
            weight = config.pull * (config.pull_left + (1.0 - config.pull_left) * left)
            loss = loss + weight * self._pull(chosen, values)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.utility.parameters(), 10.0)
        self.optimizer.step()
        polyak_update(self.policy.utility.parameters(), self.policy.averaged.parameters(), config.averaging)
        return {"td_loss": float(error.detach()), "loss": float(loss.detach())}

    def _written_update(
        self, towers: tuple[Tower, Tower, Towers | None], chosen: torch.Tensor, left: float
    ) -> dict[str, float]:
        """The same with passes written by hand."""
        config, (own, averaged, clone) = self._config, towers
        rows, count = self._rows[chosen], len(self._positions)
        following = self.policy.embedding(rows + 1)
        best = best_after(self.policy.with_known(averaged.forward(following), following), self.policy.switching)
        target = self._relative(self._reward[chosen].addcmul(best, ~self._last[chosen, None], value=config.gamma))
        features = self.policy.embedding(rows)
        values = self.policy.with_known(own.forward(features), features)
        gradient, error = self._error(values, target, chosen)
        loss = error
        if self._pulled:
            weight = config.pull * (config.pull_left + (1.0 - config.pull_left) * left)
            held = torch.randint(count, (len(chosen),)).to(self.device)
            if clone is None:
                reference = self._known_preferences(features, held)
            else:
                account = torch.zeros((len(chosen), 5), device=self.device)
                account[:, 0] = account[:, 1] = self.policy.exposures[held]
                reference = clone.actor.forward(torch.cat((features, account), dim=1))
            loss = loss + pull_gradient(values - self.policy.switching[held], reference, PREFERENCE, weight, gradient)
        own.backward(gradient if self.policy.known is None else gradient.mul_(self.policy.taken))
        clip([own], 10.0)
        self.optimizer.step()
        self._follower.follow()
        return {"td_loss": float(error), "loss": float(loss)}

    def _targets(self, rows: torch.Tensor, reward: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """(B, A) `reward + gamma max_b [U(t+1, b) - c |b - a|]`, in percent; nothing follows a market's last bar."""
        with torch.no_grad():
            embedding = self.policy.embedding(rows + 1)
            following = self.policy.with_known(self.policy.averaged(embedding), embedding)
            best = (following[:, None, :] - self.policy.switching).amax(dim=2)
            best = torch.where(last[:, None], 0.0, best)
            return self._relative(reward + self._config.gamma * best)

    def _relative(self, target: torch.Tensor) -> torch.Tensor:
        """Targets (B, A) as they are learned: more than flat's where values that are known say so, too."""
        return target if self.policy.known is None else target - target[:, self._flat, None]

    def _unit(self, chosen: torch.Tensor) -> torch.Tensor | float:
        """Percent, (B, 1) or a number: what errors are in units of; beyond one they count linearly."""
        return 1.0 if self._volatility is None else BOUNDED * self._volatility[chosen, None]

    def _error(
        self, values: torch.Tensor, target: torch.Tensor, chosen: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradient (B, A) of the error of values, and the error."""
        if self._volatility is None:
            return huber_gradient(values, target)
        unit = self._unit(chosen)
        gradient, error = huber_gradient(values / unit, target / unit)
        return gradient.div_(unit), error

    @property
    def _flat(self) -> int:
        return self._positions.index(0.0)

    @property
    def _pulled(self) -> bool:
        return self._config.pull > 0.0 and (self._clone is not None or self.policy.known is not None)

    @torch.no_grad()
    def _known_preferences(self, embedding: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
        """(B, A) preferences of the values that are known, from positions held (B,)."""
        assert self.policy.known is not None
        return PREFERENCE * (self.policy.known(embedding) - self.policy.switching[held])

    def _pull(self, chosen: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """KL(clone, or known values || softmax of what is preferred) from a position held at random."""
        count, positions = len(chosen), len(self._positions)
        held = torch.randint(positions, (count,)).to(self.device)
        if self._clone is None:
            known = self._known_preferences(self.policy.embedding(self._rows[chosen]), held)
            reference = known.log_softmax(dim=1)
        else:
            account = torch.zeros((count, 5), device=self.device)
            account[:, 0] = account[:, 1] = self.policy.exposures[held]
            reference = clone_logits(self._clone, {"index": self._index[chosen], "account": account})
        mine = (PREFERENCE * (values - self.policy.switching[held])).log_softmax(dim=1)
        return functional.kl_div(mine, reference, reduction="batchmean", log_target=True)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[NDArray[Any], Any]:
        """Greedy actions, (N,) int64; there is nothing random about them."""
        return self.policy.predict(observation, state, episode_start, deterministic=True)

    def save(self, path: Any, *_: Any, **__: Any) -> None:
        """Write weights (safetensors) and description (JSON) as the folder `path`, whole or not at all.

        Raises:
            FileExistsError: the folder holds something else than what an earlier `save` wrote.
        """
        description = {
            "config": asdict(self._config), "shape": asdict(self._shape), "positions": self._positions,
            "cost": self._cost, "seed": self.seed, "on_values": self.policy.known is not None,
        }  # fmt: skip
        weights = {name: weight.contiguous() for name, weight in self.policy.state_dict().items()}

        def fill(folder: Path) -> None:
            save_file(weights, folder / WEIGHTS)
            (folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")

        folder = Path(path)
        if folder.exists() and any(file.name not in (WEIGHTS, DESCRIPTION) for file in folder.iterdir()):
            raise FileExistsError(f"{folder} holds something else than what `save` writes: name another folder")
        write_folder(folder, fill)

    @classmethod
    def load(cls, path: Any, *_: Any, **__: Any) -> CounterfactualQ:  # type: ignore[override]
        """Read what `save` wrote; embeddings have to be bound to its policy anew."""
        folder = Path(path)
        told = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        config = FittedQConfig(**told["config"])
        sizes = told["shape"]
        shape = PolicyShape(sizes["embedding_width"], sizes["actions"], tuple(sizes["hidden"]))
        found = cls(
            shape, config, positions=tuple(told["positions"]), cost=told["cost"], seed=told["seed"],
            on_values=told.get("on_values", False),
        )  # fmt: skip
        found.policy.load_state_dict(load_file(folder / WEIGHTS))
        return found

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_clone", "_towers", "_follower"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "optimizer"], []


def new_fitted_q(
    clone: Agent, train: EmbeddedMarkets, config: FittedQConfig, *, seed: int, device: str = "cpu"
) -> CounterfactualQ:
    """Fitted Q on the training markets.

    Args:
        clone: whose settings count, and what pulls; one with values that are known is what is begun with.
        train: markets to learn from.
        config: how it learns.
        seed: of weights and batches.
        device: where embeddings and updates are, as torch names it.
    """
    if max(len(t.market) for t in train.labelled) > LARGEST_EXACT_INDEX:
        raise ValueError(f"a market has more than {LARGEST_EXACT_INDEX} bars, which an index observation cannot number")
    settings, on_values = clone.settings, clone.head == ON_VALUES
    algorithm = CounterfactualQ(
        clone.shape, config, positions=settings.positions, cost=settings.turnover_cost, seed=seed, device=device,
        on_values=on_values,
    )  # fmt: skip
    if on_values:
        algorithm.policy.load_state_dict(clone.policy.state_dict())
    trading = TradingConfig(settings.instrument, settings.costs, settings.limits, settings.rules, settings.sizing)
    pulls = config.pull > 0.0 and not on_values
    algorithm.teach_with(train, bound_clone(clone, train, device) if pulls else None, trading)
    return algorithm
