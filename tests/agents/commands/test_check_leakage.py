"""`cryptoenv check-leakage`: planted leaks of every family by name, clean ones with exit code 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from agents.command_line import main
from agents.evaluation.leakage import Suspects, check_leakage
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.policies.trading_policy import TablePolicy
from agents.settings import TradingSettings
from cryptoenv import Market
from cryptoenv.features import FeatureBars, FeatureSpec, feature
from pretrain import Extractor, FitOptions
from pretrain.segmenter.training import fit_segmenter
from tests.naive.random_bars import random_bars
from tests.pretrain.forecaster import conftest as forecasters
from tests.pretrain.segmenter import conftest as segmenters

SUSPECT = '''
def early(bars):
    return bars[["close"]].rolling(3).mean().shift(-2)

def honest(bars):
    return bars[["close"]].rolling(3).mean()

def scaler(bars):
    return {"median": bars["close"].median()}

def own_scaler(bars):
    return {"median": bars["close"].iloc[:1000].median()}
'''


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bars") / "drawn.csv"
    table = random_bars(65, 5)
    table["mood"] = np.random.default_rng(0).normal(size=len(table))
    table["vendor"] = np.log(table["close"]).diff().shift(-1).fillna(0.0)
    table.to_csv(path)
    return path


def test_planted_leaks_of_data_and_code(bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, labels = tmp_path / "mine.py", tmp_path / "labels.csv"
    code.write_text(SUSPECT)
    close = np.log(random_bars(65, 5)["close"])
    label = np.sign(close.shift(-4) - close).rolling(33, center=True, min_periods=1).mean()
    label.to_frame("label").to_csv(labels)
    arguments = ["--bars", str(bars), "--labels", str(labels), "--look-ahead", "4", "--timeframes", "15m,4h"]
    arguments += [word for name in ("early", "honest") for word in ("--function", f"{code}:{name}")]
    arguments += [word for name in ("scaler", "own_scaler") for word in ("--fit", f"{code}:{name}")]
    assert main(["check-leakage", *arguments, "--until", "2021-01-12", "--looks", "2"]) == 1
    told = capsys.readouterr().out.splitlines()
    leaks = [line for line in told if line.startswith("LEAK")]
    assert any("columns of the bars: column 'vendor' reads 1 bar ahead" in line for line in leaks)
    assert any("labels: column 'label'" in line for line in leaks)
    assert any(line.startswith(f"LEAK  {code}:early: column 'close' reads 2 bars ahead") for line in leaks)
    assert any(f"{code}:scaler: column 'median' reads to the end of the data" in line for line in leaks)
    assert len(leaks) == 4 and told[-1] == "4 leak(s) found"
    assert {"clean features", f"clean {code}:honest", f"clean {code}:own_scaler"} <= set(told)


def test_a_model_and_an_agent(extractor: Extractor) -> None:
    """Clean as they are; with a feature that is a bar early, or a target of the next bar, found and named."""
    settings = TradingSettings()
    shape = PolicyShape(extractor.width, 3)
    agent = Agent(extractor, new_policy(shape, 1), shape, settings)
    table = random_bars(66, 6)
    found = dict(check_leakage(Suspects(table, features=None, model=extractor, agent=agent), looks=2))
    assert found == {"model": [], "agent": []}
    early = Early(extractor, str(extractor.columns[0]))
    ((_, (leak,)),) = check_leakage(Suspects(table, features=None, model=early), looks=2)
    assert (leak.part, leak.column, leak.lag) == ("model", extractor.columns[0], 1)


class Early:
    """A model one of whose columns is a bar early."""

    def __init__(self, model: Any, column: str) -> None:
        self._model, self.layout, self.column = model, model.layout, column

    def predict(self, given: pd.DataFrame) -> pd.DataFrame:
        told = self._model.predict(given)
        return told.assign(**{self.column: told[self.column].shift(-1)})


class EarlyAgent(Agent):
    """An agent that goes the way of the next bar."""

    def on(self, markets: Any, table: Any = None) -> Any:
        closes = markets[0].market.prices[:, 3]
        ahead = np.sign(np.append(np.diff(closes), 0.0)).astype(np.int8) + 1
        return TablePolicy([np.tile(ahead[:, None], (1, 3))], self.settings.positions)


def _models() -> dict[str, Any]:
    taught = [segmenters.planted_classes(segmenters.pursued_market(seed)) for seed in range(2)]
    quiet = FitOptions(progress=False)
    segmenter = fit_segmenter(
        taught[:1], taught[1:], segmenters.small_segmenter_config(), segmenters.quick_training(), seed=1, options=quiet
    )
    hours = tuple(Market.from_bars(random_bars(70, seed, "1h"), forecasters.TIMEFRAMES) for seed in range(2))
    return {"segmenter": segmenter, "forecaster": forecasters.tiny_forecaster(hours)}


@pytest.mark.slow
def test_a_planted_leak_of_every_family_is_named(extractor: Extractor) -> None:
    """A feature, a column and a function a bar early, a smoothed label, a scaler of all, and every kind of model."""

    @feature("early", bound=5.0)
    def early(bars: FeatureBars) -> np.ndarray:
        return np.append(np.diff(np.log(bars.close)), 0.0) * 100.0

    for seed in range(3):
        table = random_bars(64, seed, "1h")
        log_close = np.log(table["close"])
        vendor = table.assign(vendor=log_close.diff().shift(-1).fillna(0.0), mood=np.sin(np.arange(len(table))))
        label = np.sign(log_close.shift(-4) - log_close).rolling(33, center=True, min_periods=1).mean()
        spec = FeatureSpec().with_functions(early, roles=("base",))
        suspects = Suspects(
            vendor, ("1h", "4h"), spec, label.to_frame("label"), 4,
            functions={"mean": lambda bars: bars[["close"]].rolling(3).mean().shift(-2)},
            fits={"scaler": lambda bars: {"median": bars["close"].median()}}, until=len(table) // 2,
        )  # fmt: skip
        found = {part: {leak.column: leak.lag for leak in leaks} for part, leaks in check_leakage(suspects, looks=4)}
        assert found.pop("features").keys() == {"early"}
        assert found.pop("labels").keys() == {"label"}
        assert found == {"columns of the bars": {"vendor": 1}, "mean": {"close": 2}, "scaler": {"median": None}}
    models = {"extractor": extractor} | _models()
    for name, model in models.items():
        table = random_bars(70, 6) if name == "extractor" else random_bars(80, 6, "1h")
        clean = dict(check_leakage(Suspects(table, features=None, model=model), looks=3))
        assert clean == {"model": []}, name
        column = str(model.predict(table).nunique().idxmax())  # what is the same at every bar cannot be early
        ((_, leaks),) = check_leakage(Suspects(table, features=None, model=Early(model, column)), looks=3)
        assert [(leak.part, leak.column, leak.lag) for leak in leaks] == [("model", column, 1)], name
    settings = TradingSettings()
    shape = PolicyShape(extractor.width, 3)
    agent = EarlyAgent(extractor, new_policy(shape, 1), shape, settings)
    # At half of the bars the poison goes the same way by chance: enough looks.
    ((_, leaks),) = check_leakage(Suspects(random_bars(66, 6), features=None, agent=agent), looks=8)
    assert [(leak.part, leak.column, leak.lag) for leak in leaks] == [("agent", "target", 1)]


@pytest.mark.slow
def test_what_is_clean_is_clean_twenty_times_out_of_twenty(extractor: Extractor) -> None:
    settings, clean = TradingSettings(), 0
    shape = PolicyShape(extractor.width, 3)
    for seed in range(20):
        table = random_bars(62, seed)
        log_close = np.log(table["close"])
        mood = np.random.default_rng(seed).normal(size=len(table)).cumsum()
        labels = np.sign(log_close.shift(-4) - log_close).to_frame("label")
        suspects = Suspects(
            table.assign(mood=mood, last=log_close.diff().fillna(0.0)), labels=labels, look_ahead=4, model=extractor,
            agent=Agent(extractor, new_policy(shape, seed), shape, settings),
            functions={"mean": lambda bars: bars[["close"]].rolling(3).mean()},
            fits={"scaler": lambda bars: {"median": bars["close"].iloc[:2000].median()}}, until=2000,
        )  # fmt: skip
        found = dict(check_leakage(suspects, looks=2, seed=seed))
        assert set(found) == {"features", "columns of the bars", "labels", "mean", "scaler", "model", "agent"}
        clean += not any(found.values())
    assert clean == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--function", "nowhere.py:x"], "names no function"),
        (["--fit", "x.py:f"], "--fit needs --until"),
        (["nowhere"], "nowhere"),
        (["--labels", "nowhere.csv"], "no such file"),
    ],
)
def test_what_makes_no_sense(
    bars: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["check-leakage", "--bars", str(bars), *arguments]) == 2
    assert message in capsys.readouterr().err
