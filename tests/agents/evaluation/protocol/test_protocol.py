"""Results are what their actions come to; ten ways to better them are refused, each by its reason."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.command_line import main
from agents.evaluation.protocol import rules, verification
from agents.evaluation.protocol.contenders import entry_of
from agents.evaluation.protocol.judged import run_bench
from agents.evaluation.protocol.result_file import Actions, ResultError, digest, read_result, result_text
from agents.evaluation.protocol.rules import STANDARD_V1, Budget, Protocol
from agents.evaluation.protocol.verification import verify
from agents.evaluation.scoring import difference, score
from agents.reports import leaderboard as leaderboard_module
from agents.reports.leaderboard import leaderboard, read_results
from agents.settings import TradingSettings
from cryptoenv import Costs

POLICIES = """
import numpy as np
import torch

def flat(observation):
    return np.full(len(observation["account"]), 1)

def wobbly(seed):
    drawn = np.random.default_rng(seed)
    def wobble(seen):
        rows = len(seen["account"])
        return np.where(drawn.random(rows) < 0.05, drawn.integers(0, 3, rows), 1)
    return wobble

def exposures(observation):
    return np.tanh(observation["15m"][:, -1, :1])

class Module(torch.nn.Module):
    def forward(self, seen):
        return torch.stack([-seen["account"][:, 0], seen["account"][:, 0] * 0.0, seen["account"][:, 0]], dim=1)

module = Module()
"""
SMALL = ["--task", "easy", "--markets", "3", "--days", "10"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("protocol")
    (path / "policies_of_mine.py").write_text(POLICIES)
    return path


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    """Three seeds on three markets of ten days."""
    import os

    before = Path.cwd()
    os.chdir(folder)
    try:
        entry = entry_of("policies_of_mine:wobbly", "easy", 3)
        return run_bench(entry, "easy", STANDARD_V1.sized(3, 10), Budget(1e6, 60.0))
    finally:
        os.chdir(before)


def signed(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"digest": digest(values)}


def changed_action(values: dict[str, Any]) -> None:
    actions = Actions.from_dict(values["runs"][0])
    taken = actions.taken.copy()
    taken[7, 0] = (taken[7, 0] + 1) % 3
    values["runs"][0] = Actions(0, taken).as_dict()


def rounded_up(values: dict[str, Any]) -> None:
    found = values["figures"]["score"]
    found["value"] = np.ceil(found["value"] * 1e4) / 1e4


def bettered_market(values: dict[str, Any]) -> None:
    values["figures"]["score_by_market"][1][0] += 1e-6


def without_a_seed(values: dict[str, Any]) -> None:
    del values["runs"][1]


def seed_twice(values: dict[str, Any]) -> None:
    values["runs"][1] = values["runs"][0] | {"seed": 1}


def other_markets(values: dict[str, Any]) -> None:
    values["markets"]["hash"] = "0" * 64


def other_task(values: dict[str, Any]) -> None:
    values["task"] = "mine"


def training_markets(values: dict[str, Any]) -> None:
    values["markets"]["family"] = "train"


def other_version(values: dict[str, Any]) -> None:
    values["version"] = "9.9"


def other_protocol(values: dict[str, Any]) -> None:
    values["protocol"] = "cryptoenv-standard-v0"


def narrower(values: dict[str, Any]) -> None:
    values["figures"]["score"]["low"] += 1e-3


def smaller_budget(values: dict[str, Any]) -> None:
    values["budget"]["class"] = "none"


def impossible_action(values: dict[str, Any]) -> None:
    actions = Actions.from_dict(values["runs"][2])
    values["runs"][2] = Actions(2, actions.taken + np.int8(1)).as_dict()


TAMPERINGS: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (changed_action, "its figures[.].* its actions come to"),
    (rounded_up, "figures.score.value is"),
    (bettered_market, "figures.score_by_market.1.0 is"),
    (without_a_seed, "its seeds are .0, 2."),
    (seed_twice, "seeds 0 and 1 did the same at every decision"),
    (other_markets, "another hash"),
    (other_task, "its task is .mine."),
    (training_markets, "the protocol's are of 'test'"),
    (other_version, "version 9.9 made it"),
    (other_protocol, "cryptoenv-standard-v0"),
    (narrower, "figures.score.low is"),
    (smaller_budget, "not of the class 'none'"),
    (impossible_action, "an action of seed 2 is refused"),
]


@pytest.mark.parametrize(("tamper", "why"), TAMPERINGS, ids=[tamper.__name__ for tamper, _ in TAMPERINGS])
def test_a_bettered_result_is_refused(
    tamper: Callable[[dict[str, Any]], None], why: str, result: dict[str, Any], tmp_path: Path
) -> None:
    values = copy.deepcopy(result)
    tamper(values)
    path = tmp_path / "a.json"
    path.write_text(result_text(values))
    with pytest.raises(ResultError, match="changed after it was written"):
        read_result(path)
    path.write_text(result_text(signed(values)))  # whoever betters it writes a digest that fits
    with pytest.raises(ResultError, match=why):
        verify(read_result(path), progress=False)


def test_a_true_result_is_accepted(result: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(result_text(result))
    remarks = verify(read_result(path), progress=False)
    assert any("on no leaderboard: 3 markets of 10 days" in remark for remark in remarks)
    told = result["figures"]
    runs, best = np.array(told["score_by_market"]), np.array(told["optimum_score_by_market"])
    assert told["score"]["value"] == pytest.approx(runs.mean(axis=0).sum() / best.sum())
    assert told["score"]["value"] == score(runs, best).value and len(told["seeds"]) == 3
    assert result["budget"]["class"] == "small" and Budget(1e7, None).name == "not said"
    assert [Budget(bars, 1.0).name for bars in (1e7, 1e8, 1e9, 1e10)] == ["small", "medium", "large", "open"]


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"a": NaN}'])
def test_what_is_no_result_is_refused(damage: str, tmp_path: Path, result: dict[str, Any]) -> None:
    path = tmp_path / "a.json"
    path.write_text(damage)
    with pytest.raises(ResultError, match=r"a\.json"):
        read_result(path)
    values = copy.deepcopy(result)
    for run, why in (
        ({"seed": 0}, "cannot be read"),
        (values["runs"][0] | {"shape": [10**9, 10**3]}, "are not allowed"),
        (values["runs"][0] | {"shape": [1, 1]}, "unpack to 2 bytes or more, not 1"),
        (values["runs"][0] | {"actions": "####"}, "cannot be read"),
    ):
        with pytest.raises(ResultError, match=why):
            Actions.from_dict(run)


def test_any_agent_is_judged_and_ranked(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ranked, board = Protocol(markets=3, days=10, seeds=2), tmp_path / "board"
    board.mkdir()
    named = {"wobbly": "policies_of_mine:wobbly", "exposures": "policies_of_mine:exposures",
             "module": "policies_of_mine:module", "flat": "flat", "oracle": "filter oracle"}  # fmt: skip
    for name, agent in named.items():
        more = ["--continuous"] if name == "exposures" else []
        out = ["--out", str(board / f"{name}.json"), "--seeds", "2", *more]
        assert main(["bench", "run", "--agent", agent, *SMALL, *out]) == 0
    assert main(["bench", "run", "--agent", "flat", *SMALL, "--out", str(board / "flat.json")]) == 2
    assert main(["bench", "verify", str(board / "exposures.json"), str(board / "oracle.json")]) == 0
    assert main(["bench", "table", str(board)]) == 2
    assert "has not the size or the seeds" in capsys.readouterr().err
    monkeypatch.setattr(verification, "STANDARD_V1", ranked)
    monkeypatch.setattr(rules, "STANDARD_V1", ranked)
    monkeypatch.setattr(leaderboard_module, "STANDARD_V1", ranked)
    assert main(["bench", "table", str(board)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert lines[1].startswith("| filter oracle | 1.000") and "the best" in lines[1]
    assert len(lines) == 1 + len(named)
    assert main(["bench", "table", str(board), "--format", "html", "--out", str(tmp_path / "board.html")]) == 0
    assert "filter oracle" in (tmp_path / "board.html").read_text("utf-8")
    (board / "broken.json").write_text(json.dumps({"a": 1}))
    assert main(["bench", "table", str(board)]) == 2


def test_what_cannot_be_judged_is_said(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zipped = tmp_path / "model.zip"
    zipped.write_bytes(b"")
    for agent, why in (
        ("nothing", "is of no known kind"),
        ("policies_of_mine:absent", "has no 'absent'"),
        ("no_such_module:a", "no module 'no_such_module'"),
        (str(zipped), "pass --trust"),
    ):
        assert main(["bench", "run", "--agent", agent, *SMALL, "--out", str(tmp_path / "a.json")]) == 2
        assert why in capsys.readouterr().err
    with pytest.raises(ValueError, match="traded with costs="):
        STANDARD_V1.require_trading(TradingSettings(costs=Costs(fee=0.0)))
    with pytest.raises(ValueError, match="decides at every close of 15m"):
        STANDARD_V1.require_trading(TradingSettings(timeframes=("1h",), window=(32,)))


def test_a_paired_difference_is_sharper_than_two_intervals() -> None:
    rng = np.random.default_rng(0)
    best = rng.uniform(0.5, 1.5, 40)
    luck = rng.normal(0.0, 0.5, 40)
    one, other = (best * 0.6 + luck)[None], (best * 0.55 + luck)[None]
    found, alone = difference(one, other, best), score(one, best)
    assert found.value == pytest.approx(0.05)
    assert found.high - found.low < 0.1 * (alone.high - alone.low) and found.low > 0.0
    with pytest.raises(ValueError, match="not on the same markets"):
        difference(one, other[:, 1:], best)


def test_the_rows_of_the_repository_stand_on_the_leaderboard() -> None:
    rows = read_results(Path(__file__).parents[4] / "benchmarks" / "leaderboard")
    assert {values["task"] for values in rows.values()} >= {"standard"}
    assert "Leaderboard of cryptoenv-standard-v1" in leaderboard(list(rows.values())).title


@pytest.mark.slow
def test_the_rows_of_the_repository_verify() -> None:
    for values in read_results(Path(__file__).parents[4] / "benchmarks" / "leaderboard").values():
        assert verify(values, progress=False) == ["the budget and the name are what its makers say"]
