"""The same model behind LitServe, with batches of as many requests as ours and the wait that the command names."""

from __future__ import annotations

import sys
from typing import Any

import litserve

import pretrain
from benchmarks.support.served_rivals import Body, answered


class Api(litserve.LitAPI):
    """What LitServe calls, for the artifact that the command line names."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self.model = pretrain.load(sys.argv[1])

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe gives what it is annotated with
        """Check a body."""
        return Body(**request)

    def batch(self, inputs: list[Body]) -> list[Body]:
        """As they are."""
        return inputs

    def predict(self, inputs: list[Body]) -> list[dict[str, float]]:
        """Read them."""
        return answered(self.model, inputs)

    def unbatch(self, output: list[dict[str, float]]) -> list[dict[str, float]]:
        """As they are."""
        return output

    def encode_response(self, output: dict[str, float]) -> dict[str, Any]:
        """An answer."""
        return {"values": output}


if __name__ == "__main__":
    server = litserve.LitServer(Api(max_batch_size=32, batch_timeout=float(sys.argv[3])), accelerator="cpu", timeout=60)
    server.run(port=int(sys.argv[2]), log_level="warning", generate_client_file=False)
