"""What the numbers of every configuration of a training may be, by name: a name means the same in all of them."""

from __future__ import annotations

from cryptoenv.files.typed_values import Range, require_ranges, require_types

_SHARE, _RATE, _WEIGHT = Range(0.0, 1.0), Range(0.0, 1.0, above=True), Range(0.0, 10_000.0)
#: The upper ends are far beyond what anybody trains; they keep a slip of the pen from taking all memory, or years.
RANGES = {
    "seed": Range(0, 2**63 - 1),
    **dict.fromkeys(("steps", "evaluate_every", "checkpoint_every"), Range(1, 10**12)),
    **dict.fromkeys(("samples", "buffer_size"), Range(1, 10**9)),
    **dict.fromkeys(("prefill", "labelled", "cloning_steps", "warm_up"), Range(0, 10**9)),
    **dict.fromkeys(("episode_bars", "dwell", "patience", "gradient_steps", "batch_size"), Range(1, 2**24)),
    **dict.fromkeys(("num_envs", "rollout_steps", "epochs", "rounds_with_teacher"), Range(1, 2**17)),
    **dict.fromkeys(("train_markets", "validation_markets"), Range(1, 1_000_000)),
    "rounds": Range(0, 10_000), "days": Range(1, 36_500),
    **dict.fromkeys(("gamma", "gae_lambda", "averaging", "demonstration_share", "curriculum", "pull_left", "entropy",
                     "exploration"), _SHARE),
    **dict.fromkeys(("learning_rate", "critic_rate", "clip"), _RATE), "actor_rate": Range(0.0, 1_000.0),
    **dict.fromkeys(("pull", "entropy_weight", "weight_decay", "margin_weight", "margin", "temperature"), _WEIGHT),
}  # fmt: skip


def require_numbers(config: object) -> None:
    """Checks the values of a configuration, a dataclass, against its annotations and RANGES.

    Raises:
        ConfigError: a value of another type, or a number outside its range; the message names it.
    """
    require_types(type(config), vars(config))
    require_ranges(config, RANGES)
