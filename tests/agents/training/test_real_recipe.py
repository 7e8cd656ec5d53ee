"""A recipe with everything in it, on real bars of BTC and ETH: trained, judged by the same rules, predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import agents
from agents.command_line import main
from agents.run_folders.run_folder import Run
from cryptoenv import read_bars

COINS = ("BTC", "ETH")
FUNDING = "binance_perp_BTCUSDT_funding_8h_2020_2023.csv.gz"
FEATURES = """
base:
  returns: {}
  volatility: {}
  volume: {}
  reference: {}
  exogenous: {columns: [funding]}
  pursuit: {columns: [close, volume, funding], window: 32, cycles: [0.5, 1, 2, 4], scales: [4, 8], coefficients: 2}
higher: {returns: {}, volatility: {}, trend: {}, reference: {}}
"""
PRETRAINED = """
teacher: horizon
timeframes: [15m, 4h]
architecture: {window: [32, 16], patches: [4, 4], width: 16, layers: 1, heads: 2, feedforward: 32}
training: {steps: 150, batch: 128, validate_every: 50}
"""
TRADED = """
reward: {log_return: 1.0, drawdown: 0.2, turnover: 0.0005}
limits: {stop_loss: 0.05}
sizing: {volatility: 0.6}
cloning: {samples: 20000, epochs: 1}
learning: {steps: 20000, num_envs: 64, rollout_steps: 32, batch_size: 512, warm_up: 2, evaluate_every: 10000}
"""


@pytest.mark.slow
def test_everything_that_a_recipe_can_say(real_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / f"{coin}.parquet" for coin in COINS]
    for coin, file in zip(COINS, files, strict=True):
        read_bars(real_data / f"binance_spot_{coin}USDT_5m_20230101_20240906.csv.gz")[:"2023-12-30"].to_parquet(file)
    rates = pd.read_csv(real_data / FUNDING).iloc[:, :2]
    rates.set_axis(["timestamp", "funding"], axis=1).to_csv(tmp_path / "funding.csv", index=False)
    (tmp_path / "features.yaml").write_text(FEATURES, "utf-8")
    beside = f"reference: {files[0]}\nexogenous: {{path: {tmp_path / 'funding.csv'}, known_after: 0s}}\n"
    named = f"features: {tmp_path / 'features.yaml'}\n{beside}"
    (tmp_path / "pretraining.yaml").write_text(named + PRETRAINED, "utf-8")
    bars = [word for file in files for word in ("--bars", str(file))]
    words = ["--recipe", str(tmp_path / "pretraining.yaml"), "--out", str(tmp_path / "pre")]
    assert main(["pretrain", *bars, *words]) == 0
    head = f"algorithm: ppo\nmarket: [{files[0]}, {files[1]}]\nextractor: {tmp_path / 'pre' / 'artifact'}\n"
    (tmp_path / "agent.yaml").write_text(head + named + "timeframes: [15m, 4h]\n" + TRADED, "utf-8")
    run = tmp_path / "run"
    assert main(["train", "--recipe", str(tmp_path / "agent.yaml"), "--out", str(run)]) == 0
    capfd.readouterr()
    assert main(["evaluate", str(run)]) == 0
    said = capfd.readouterr().out
    assert "stop_loss 0.05" in said and "volatility 0.6" in said and "BTC.parquet, ETH.parquet" in said
    trained = Run.load(run)
    names = trained.agent.extractor.config.feature_names[0]
    assert {"z_funding", "pursuit_funding_trend", "reference_beta"} <= set(names)
    assert trained.agent.settings.reward == {"log_return": 1.0, "drawdown": 0.2, "turnover": 0.0005}
    table = agents.evaluate(trained, split="test")
    assert np.isfinite(table.drop(columns=[c for c in table if c.endswith(("_low", "_high"))])).to_numpy().all()
    assert 0.0 < table.loc["buy and hold", "mean_exposure"] < 1.0  # sized
    assert main(["predict", str(run), "--bars", str(files[1]), "--out", str(tmp_path / "said")]) == 0
    assert len(pd.read_parquet(tmp_path / "said" / "predictions.parquet")) > 30_000
