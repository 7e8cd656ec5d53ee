"""What a pretraining leaves in MLflow: every setting, the figures, the artifact and the pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pretrain import FitOptions, pretrain_extractor
from tests.pretrain.extractor.test_recipe import SMALL


def test_a_pretraining_is_logged_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = pytest.importorskip("mlflow.tracking", reason='not installed: pip install "cryptoenv-rl[tracking]"')
    place = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    monkeypatch.chdir(tmp_path)
    for name, seed in (("first", 1), ("second", 2)):
        options = FitOptions(tmp_path / name, progress=False, mlflow="extractors")
        made = pretrain_extractor(replace(SMALL, seed=seed), options)
    client = tracking.MlflowClient(place)
    runs = client.search_runs([client.get_experiment_by_name("extractors").experiment_id])
    assert sorted(run.data.params["seed"] for run in runs) == ["1", "2"]
    (run,) = (run for run in runs if run.data.params["seed"] == "2")
    assert run.data.params["teacher"] == "oracle"
    assert run.data.params["architecture/width"] == "8"
    assert run.data.params["training/batch"] == "64"
    assert run.data.metrics["kept/steps"] == made.provenance.metrics["steps"]
    assert "validation/loss" in run.data.metrics
    held = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"artifact", "pictures", "recipe.yaml"} <= held
    file = Path(client.download_artifacts(run.info.run_id, "artifact/config.json", str(tmp_path)))
    assert json.loads(file.read_text("utf-8")) == json.loads((tmp_path / "second/artifact/config.json").read_text())
