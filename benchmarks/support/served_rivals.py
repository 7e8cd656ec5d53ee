"""The same model behind a plain FastAPI handler, as its documentation shows it: a Pydantic body, a pool of threads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel

import pretrain
from pretrain.fitting.predicting import on_one_thread


class Body(BaseModel):
    """Windows of scaled features by timeframe, or bars: time in ms, prices, volume."""

    sequence: dict[str, list[list[float]]] = {}
    bars: list[list[float]] = []


def answered(model: Any, asked: list[Body]) -> list[dict[str, float]]:
    """What a model says of requests: of windows read together, of bars one after the other, at the last bar of each."""
    if asked[0].bars:
        return [of_bars(model, one.bars) for one in asked]
    tables = [one.sequence for one in asked]
    parts = [torch.tensor([one[name] for one in tables], dtype=torch.float32) for name in model.layout.timeframes]
    count = len(asked)
    with on_one_thread(), torch.inference_mode():
        found = model.read_scaled(parts, np.ones(count), np.zeros(count, np.int64))
    return [dict(zip(model.columns, row, strict=True)) for row in found.tolist()]


def of_bars(model: Any, rows: list[list[float]]) -> dict[str, float]:
    """What a model says at the last of these bars."""
    values = np.array(rows)
    index = pd.DatetimeIndex(values[:, 0].astype("datetime64[ms]"), name="timestamp").tz_localize("UTC")
    bars = pd.DataFrame(values[:, 1:], index=index, columns=["open", "high", "low", "close", "volume"])
    last = model.predict(bars).iloc[-1]
    return dict(zip(model.columns, last.tolist(), strict=True))


def run_fastapi(place: Path, port: int) -> None:
    """A plain handler, until it is killed."""
    import uvicorn
    from fastapi import FastAPI

    model, app = pretrain.load(place), FastAPI()

    def predict(body: Body) -> dict[str, Any]:
        return {"values": answered(model, [body])[0]}

    predict.__annotations__["body"] = Body
    app.post("/predict")(predict)
    uvicorn.run(app, port=port, access_log=False, log_level="warning")


if __name__ == "__main__":
    run_fastapi(Path(sys.argv[1]), int(sys.argv[2]))
