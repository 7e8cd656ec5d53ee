"""Recipes of agents: everything that decides a training, in one YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from agents.algorithms.registry import NAMES, new_config, require_actions
from agents.cloning.behaviour_cloning import CloningConfig
from agents.cloning.config_ranges import require_numbers
from agents.cloning.dagger import DaggerConfig
from agents.markets.own_markets import maker_for, require_market
from agents.policies.segmented_extractor import load_extractor
from agents.run_folders.run_folder import RECIPE, SEEDS, read_json, write_json
from agents.settings import CONTINUOUS, PARTS, SCORED_COSTS, TradingChoice
from agents.training.config import AgentTrainingConfig
from cryptoenv.files.durable_files import make_folder
from cryptoenv.files.typed_values import ConfigError
from cryptoenv.files.typed_yaml import read_mapping, recipe_path, section, write_yaml
from pretrain.fitting.market_inputs import INPUT_KEYS, MarketInputs

RECIPES = Path(__file__).parents[1] / "recipes"
SECTIONS = ("training", "cloning", "dagger", "learning")
TRADING = tuple(item.name for item in fields(TradingChoice))
#: Fields of `AgentTrainingConfig` that no file has there.
NESTED = ("cloning", "dagger", "learning", "settings", "trading")


@dataclass(frozen=True)
class AgentRecipe:
    """What to train on, and how.

    Attributes:
        algorithm: one of `agents.training.NAMES`.
        market: name of a synthetic task, or one or several of your own: files of bars, folders of saved markets or of
            series of a store.
        extractor: "default", or the folder of an artifact.
        seed: of everything that is drawn.
        training: sizes, and the configurations of cloning and learning.
        inputs: for bars: the reference market and exogenous columns that the extractor reads. Timeframes and features
            are the extractor's; those that a recipe names must be the same.
        segments: in a file `features: {segments: RUN}`: the run, or the artifact, of a segmenter whose probabilities
            and states the agent reads beside the extractor's embeddings.

    Raises:
        ConfigError: a value of another type, or a number outside its range.
    """

    algorithm: str = "ppo"
    market: str | tuple[str, ...] = "standard"
    extractor: str = "default"
    seed: int = 0
    training: AgentTrainingConfig = field(default_factory=AgentTrainingConfig)
    inputs: MarketInputs = field(default_factory=MarketInputs)
    segments: str | None = None

    def __post_init__(self) -> None:
        require_numbers(self)

    @classmethod
    def read(cls, recipe: str | Path, changes: Mapping[str, Any] | None = None) -> Self:
        """A recipe by name (of those shipped) or from a YAML file, which names only what differs from the defaults.

        Keys: `algorithm`, `market`, `extractor`, `seed`, those of `TradingChoice` (`instrument`, `actions`, `reward`,
        `costs`, `limits`, `sizing`, `rules`: how it trades and what learning is paid), those of `MarketInputs`
        (`timeframes`, `features`, `reference`, `exogenous`), `training` (fields of `AgentTrainingConfig`), `cloning`
        (of `CloningConfig`), `dagger` (of `DaggerConfig`) and `learning` (of the algorithm's own configuration).

        Args:
            recipe: its name, or a file.
            changes: values instead of the file's, by key; of a section by a dotted one, {"limits.stop_loss": 0.1}.

        Raises:
            ConfigError: no such recipe, no YAML, an unknown key or algorithm, or a value that is not allowed.
        """
        path = recipe_path(recipe, RECIPES)
        values = read_mapping(path)
        for key, value in (changes or {}).items():
            _change(values, key, value)
        parts = {name: given if (given := values.pop(name, None)) is not None else {} for name in SECTIONS}
        trading = read_trading({name: values.pop(name) for name in TRADING if name in values}, str(path))
        segments = _take_segments(values, str(path))
        inputs = MarketInputs.read({name: values.pop(name) for name in INPUT_KEYS if name in values}, str(path))
        named = section(
            values, cls, str(path), further=(*SECTIONS, *TRADING, *INPUT_KEYS), without=("inputs", "segments")
        )
        algorithm = named.algorithm
        if algorithm not in NAMES:
            raise ConfigError(f"{path}: algorithm={algorithm!r} is unknown; choose one of {NAMES}")
        try:
            require_actions(algorithm, trading.actions == CONTINUOUS)
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from error
        base = new_config(algorithm)
        if parts["learning"] != {} and base is None:
            raise ConfigError(f"{path}: 'bc' learns nothing after cloning: leave 'learning' out")
        learning: Any = None if base is None else section(parts["learning"], type(base), f"{path}: learning")
        refuse_nested(parts["training"], str(path))
        training = section(parts["training"], AgentTrainingConfig, f"{path}: training", without=NESTED)
        cloning = section(parts["cloning"], CloningConfig, f"{path}: cloning") if parts["cloning"] != {} else None
        correction = section(parts["dagger"], DaggerConfig, f"{path}: dagger")
        training = replace(training, cloning=cloning, dagger=correction, learning=learning, trading=trading)
        return replace(named, training=training, inputs=inputs, segments=segments)

    def changed(self, **changes: Any) -> Self:
        """This recipe with other values; None leaves one as it is."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def require_inputs(self) -> None:
        """Check, before anything is written, that extractor and market are there; bars are read and split.

        Raises:
            ValueError: an unknown task, bars that will not do, or a damaged extractor. FileNotFoundError: no such file.
        """
        extractor = load_extractor(self.extractor, self.segments)
        maker = maker_for(extractor, self.inputs, f"the extractor {self.extractor}")
        require_market(self.market, self.training.settings_for(extractor), maker)

    def with_steps(self, steps: int | None) -> Self:
        """This recipe with another number of env steps; None leaves it as it is.

        Raises:
            ConfigError: "bc" has none.
        """
        if steps is None:
            return self
        if self.training.learning is None:
            raise ConfigError("'bc' takes no env steps: leave --steps out")
        return replace(self, training=replace(self.training, learning=replace(self.training.learning, steps=steps)))

    def with_accelerator(self, accelerator: str | None) -> Self:
        """This recipe with markets embedded elsewhere; None leaves it as it is."""
        if accelerator is None:
            return self
        return replace(self, training=replace(self.training, accelerator=accelerator))

    def with_device(self, device: str | None) -> Self:
        """This recipe with the agent learning elsewhere; None leaves it as it is."""
        if device is None:
            return self
        return replace(self, training=replace(self.training, device=device))

    def with_dagger(self, rounds: int | None) -> Self:
        """This recipe with another number of rounds of DAgger; None leaves it as it is."""
        if rounds is None:
            return self
        return replace(self, training=replace(self.training, dagger=replace(self.training.dagger, rounds=rounds)))


def _take_segments(values: dict[str, Any], where: str) -> str | None:
    """What `features` says of segments, taken out of it.

    Raises:
        ConfigError: no path.
    """
    features = values.get("features")
    if not isinstance(features, dict) or "segments" not in features:
        return None
    segments = features["segments"]
    if not isinstance(segments, str) or not segments:
        raise ConfigError(
            f"{where}: features: segments={segments!r:.200} is not allowed: a segmenter's run, its folder"
        )
    values["features"] = {name: value for name, value in features.items() if name != "segments"} or None
    return segments


def _change(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a value of a recipe, or with a dotted key one of a section of it.

    Raises:
        ConfigError: the section is none.
    """
    name, dot, inner = key.partition(".")
    if not dot:
        values[name] = value
        return
    section_of = values.get(name)
    if not isinstance(section_of, dict | None):
        raise ConfigError(f"{key}: {name} is {section_of!r}, which has no {inner!r}")
    values[name] = dict(section_of or {})
    _change(values[name], inner, value)


def read_trading(values: dict[str, Any], where: str) -> TradingChoice:
    """What a recipe says of trading; of costs, limits, sizing and rules it names what differs from the defaults.

    Raises:
        ConfigError: an unknown key, or a value that is not allowed.
    """
    given = {name: value for name, value in values.items() if value is not None}
    for name, kind in PARTS.items():
        if name in given:
            given[name] = section(given[name], kind, f"{where}: {name}", base=SCORED_COSTS if name == "costs" else None)
    choice = section(given, TradingChoice, where)
    try:
        choice.settings(("15m",), (1,), (-1.0, 0.0, 1.0))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error
    return choice


def refuse_nested(training: object, where: str) -> None:
    """`cloning`, `dagger` and `learning` are sections of their own, and settings come from the extractor."""
    if isinstance(training, dict):
        for name in NESTED:
            if name in training:
                raise ConfigError(f"{where}: training: {name!r} does not belong there")


def write_recipe(recipe: AgentRecipe, seeds: int, folder: Path) -> None:
    """Write what a run is made from, before it is made: `recipe.yaml`, which `read_recipe` reads."""
    make_folder(folder)
    write_json(folder / SEEDS, {"seeds": seeds})
    write_agent_recipe(recipe, folder / RECIPE)  # last: where it is, all is there


def write_agent_recipe(recipe: AgentRecipe, path: Path) -> None:
    """Write a recipe, all its values included, as `AgentRecipe.read` reads it."""
    learning = recipe.training.learning
    training = asdict(recipe.training)
    for name in ("settings", "learning", "cloning", "dagger", "trading"):
        training.pop(name)
    for later in ("accelerator", "device"):
        if training[later] == getattr(AgentTrainingConfig, later):
            del training[later]  # as files were written before it was there
    values: dict[str, Any] = {
        "algorithm": recipe.algorithm, "market": recipe.market, "extractor": recipe.extractor, "seed": recipe.seed,
        **recipe.inputs.given, **recipe.training.trading.given, "training": training,
        "dagger": asdict(recipe.training.dagger),
    }  # fmt: skip
    if recipe.segments is not None:
        values["features"] = {**(values.get("features") or {}), "segments": recipe.segments}
    if recipe.training.cloning is not None:
        values["cloning"] = asdict(recipe.training.cloning)
    if learning is not None:
        values["learning"] = asdict(learning)
    write_yaml(values, path)


def read_recipe(folder: Path) -> tuple[AgentRecipe, int]:
    """The recipe of a run, and its number of seeds.

    Raises:
        FileNotFoundError: the folder has none. ValueError: recipe or number of seeds is damaged.
    """
    if not (folder / RECIPE).is_file():
        raise FileNotFoundError(f"{folder} holds no run to resume: it has no {RECIPE}")
    seeds = read_json(folder / SEEDS).get("seeds")
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise ValueError(f"{folder / SEEDS}: seeds={seeds!r} is not allowed: the number of runs, a whole number >= 1")
    return AgentRecipe.read(folder / RECIPE), seeds
