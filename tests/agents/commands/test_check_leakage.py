"""`cryptoenv check-leakage`: planted leaks of every family by name, clean ones with exit code 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agents.command_line import main
from agents.evaluation.leakage import Suspects, check_leakage
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.settings import TradingSettings
from pretrain import Extractor
from tests.naive.random_bars import random_bars

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

    class Early:
        """The model, whose first column is a bar early."""

        layout = extractor.layout

        def predict(self, given: pd.DataFrame) -> pd.DataFrame:
            told = extractor.predict(given)
            return told.assign(**{told.columns[0]: told[told.columns[0]].shift(-1)})

    ((_, (leak,)),) = check_leakage(Suspects(table, features=None, model=Early()), looks=2)
    assert (leak.part, leak.column, leak.lag) == ("model", extractor.columns[0], 1)


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
