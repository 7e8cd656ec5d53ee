"""What the service's OpenAPI document says beyond its routes: bodies, answers and examples."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from agents.live.serving.bodies import Acts, Predict

JSON = "application/json"
DESCRIPTION = (
    "Predictions of trained models, and actions of trained agents. Bars go in as an exchange gives them: features and "
    "scaling are the server's. GET /models says what is served and what each model needs."
)
_BAR = [1_735_689_600_000, 93_400.0, 93_650.5, 93_310.0, 93_580.1, 412.7]
EXAMPLES: dict[str, Any] = {
    "bars": {
        "summary": "Bars as ccxt's fetch_ohlcv gives them (a model needs more of them: /models says how many)",
        "value": {"bars": [_BAR, [1_735_690_500_000, 93_580.1, 93_700.0, 93_500.0, 93_555.0, 233.1]]},
    },
    "sequence": {
        "summary": "One window of features that are scaled already",
        "value": {"sequence": [[0.1, -0.4, 1.2], [0.0, 0.3, -0.7]]},
    },
    "batch": {
        "summary": "Several at once",
        "value": {"batch": [{"bars": [_BAR], "last": 3}, {"sequence": [[0.1, -0.4, 1.2]]}]},
    },
}
_ACTS: dict[str, Any] = {
    "bars": {
        "summary": "The last bar's action, with the account as it is",
        "value": {"bars": [_BAR], "account": {"exposure": 0.98, "unrealised_return": 0.012, "bars_held": 7}},
    }
}


def _body(kind: Any, examples: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The body's description, and the schemas that it refers to."""
    schema = TypeAdapter(kind).json_schema(ref_template="#/components/schemas/{model}")
    parts = schema.pop("$defs", {})
    content = {JSON: {"schema": schema, "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}, parts


PREDICT, _PREDICT_PARTS = _body(Predict, EXAMPLES)
ACT, _ACT_PARTS = _body(Acts, _ACTS)
_REFUSAL = {
    "type": "object", "required": ["detail"],
    "properties": {
        "detail": {"type": "string", "description": "What is wrong, and where."},
        "needs": {"type": "object", "description": "What the model needs: shapes, columns, number of bars."},
    },
}  # fmt: skip
_REFUSED = {JSON: {"schema": {"$ref": "#/components/schemas/Refusal"}}}
#: Answers that any route behind the guard may give.
_OF_ALL = {
    "400": "A header stands twice, or the request is none.", "401": "A key is needed.",
    "403": "A page of others.", "413": "The body is too large.", "421": "Another host's name.",
    "429": "Too many requests of this key.", "500": "Something went wrong in the server.",
    "503": "Too many requests are at work.", "504": "No answer in time.",
}  # fmt: skip
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer.",
        "content": {
            JSON: {
                "schema": {"type": "object"},
                "example": {
                    "model": "segmenter", "version": "4be1f6f3a2c0",
                    "rows": [{"time": "2026-01-01T00:15:00Z", "close": 93_555.0, "values": {"bull_15m": 0.61}}],
                    "predicted_segment": 2, "segment": "bull",
                },
            }
        },
    },
    422: {"description": "The body does not fit; what is needed is named.", "content": _REFUSED},
}  # fmt: skip


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's document with schemas of bodies, keys, and the answers that the guard gives."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.update(_PREDICT_PARTS | _ACT_PARTS | {"Refusal": _REFUSAL})
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    document["security"] = [{"bearer": []}, {"header": []}, {}]
    for path, methods in document["paths"].items():
        for one in methods.values():
            if path in ("/health", "/ready"):
                one["security"] = []
            for code, said in _OF_ALL.items():
                one["responses"].setdefault(code, {"description": said, "content": _REFUSED})
    return document
