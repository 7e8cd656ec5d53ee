"""The same model behind a plain FastAPI handler, and behind LitServe: `python -m benchmarks.support.served_rivals`.

Each does what its own documentation shows: FastAPI a handler with a Pydantic body, which runs in its pool of threads;
LitServe its own batching, of as many requests and as long a wait as ours.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel

import pretrain
from pretrain.fitting.predicting import on_one_thread


class Body(BaseModel):
    """Windows of scaled features by timeframe."""

    sequence: dict[str, list[list[float]]]


def predicted(model: Any, sequences: list[dict[str, list[list[float]]]]) -> list[dict[str, float]]:
    """What a model says of windows, read together."""
    parts = [torch.tensor([one[name] for one in sequences], dtype=torch.float32) for name in model.layout.timeframes]
    count = len(sequences)
    with on_one_thread(), torch.inference_mode():
        found = model.read_scaled(parts, np.ones(count), np.zeros(count, np.int64))
    return [dict(zip(model.columns, row, strict=True)) for row in found.tolist()]


def run_fastapi(place: Path, port: int) -> None:
    """A plain handler, until it is killed."""
    import uvicorn
    from fastapi import FastAPI

    model, app = pretrain.load(place), FastAPI()

    def predict(body: Body) -> dict[str, Any]:
        return {"values": predicted(model, [body.sequence])[0]}

    predict.__annotations__["body"] = Body
    app.post("/predict")(predict)
    uvicorn.run(app, port=port, access_log=False, log_level="warning")


def run_litserve(place: Path, port: int) -> None:
    """LitServe with its batching, until it is killed."""
    import litserve

    class Api(litserve.LitAPI):  # type: ignore[misc]
        def setup(self, device: str) -> None:
            self.model = pretrain.load(place)

        def decode_request(self, request: dict[str, Any]) -> Any:
            return request["sequence"]

        def batch(self, inputs: list[Any]) -> list[Any]:
            return inputs

        def predict(self, inputs: list[Any]) -> list[dict[str, float]]:
            return predicted(self.model, inputs)

        def unbatch(self, output: list[dict[str, float]]) -> list[dict[str, float]]:
            return output

        def encode_response(self, output: dict[str, float]) -> dict[str, Any]:
            return {"values": output}

    server = litserve.LitServer(Api(max_batch_size=32, batch_timeout=0.002), accelerator="cpu", timeout=60)
    server.run(port=port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    {"fastapi": run_fastapi, "litserve": run_litserve}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
