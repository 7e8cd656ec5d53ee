"""What may be asked, as JSON: read strictly, no text where a number belongs, no NaN, no endless number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Discriminator, Field, FiniteFloat, Tag, TypeAdapter, ValidationError

MOST_BARS, MOST_COLUMNS, MOST_TOGETHER = 50_000, 512, 256
MS_OF_1973, MS_OF_2262 = 100_000_000_000, 9_200_000_000_000
MOST = 1e15  #: of a number, either sign

Number = Annotated[FiniteFloat, Field(ge=-MOST, le=MOST)]
Row = Annotated[list[Number], Field(min_length=1, max_length=MOST_COLUMNS)]
Rows = Annotated[list[Row], Field(min_length=1, max_length=MOST_BARS)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class Strict(BaseModel):
    """No key that is not known, and nothing made into what it is not."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Bars(Strict):
    """Closed bars of one market."""

    bars: Rows = Field(
        description="Oldest first, one after the other: [open time in ms since 1970 UTC, open, high, low, close, "
        "volume, further columns], as ccxt's fetch_ohlcv gives them.",
    )
    columns: list[Name] = Field(
        default=[], max_length=64, description="Names of the further columns, in the order that they stand in."
    )
    timeframe: Name | None = Field(
        default=None, description="Of the bars: the model's base timeframe, or a finer one. Found out where left out."
    )
    reference: Rows | None = Field(
        default=None, description="Bars of the reference market, where the model's features are taken against one."
    )
    gaps: bool = Field(
        default=False,
        description="Bars may be missing (the exchange was down): they are flat and without volume, as in a market.",
    )


class OfModel(Strict):
    """A request to one of the models."""

    model: Name | None = Field(default=None, description="As /models names it; the first one where left out.")


class PredictBars(OfModel, Bars):
    """Predictions at the closes of the last bars: features and scaling are the server's."""

    last: Annotated[int, Field(ge=1, le=10_000)] = Field(default=1, description="How many of the last bars.")
    steps: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="Of a forecaster: so many steps from the last bar."
    )
    paths: Annotated[int, Field(ge=2, le=1_000)] = Field(default=256, description="With steps: of sampled paths.")
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(default=0, description="With steps: of the paths.")


def _form(given: Any) -> str:
    return "tables" if isinstance(given, dict) else "rows"


_Sequence = Annotated[Annotated[Rows, Tag("rows")] | Annotated[dict[str, Rows], Tag("tables")], Discriminator(_form)]


class PredictSequence(OfModel):
    """A prediction of one window of features that are scaled already, by the artifact's own scaler."""

    sequence: _Sequence = Field(
        description="Oldest bar first, a row of features for each. A model of several timeframes: one such table per "
        "timeframe, by its name.",
    )
    close: Annotated[FiniteFloat, Field(gt=0.0, le=1e15)] | None = Field(
        default=None, description="Of a forecaster: the last close. With `sigma`, predicted_close is in its unit."
    )
    time: Annotated[int, Field(ge=0, le=MS_OF_2262)] = Field(
        default=0, description="When the last bar closed, ms since 1970 UTC, for a model that knows the hour."
    )
    sigma: Annotated[FiniteFloat, Field(gt=0.0, le=10.0)] | None = Field(
        default=None, description="Of a forecaster: standard deviation of the base bars' log-returns (the last 96)."
    )


class PredictToken(OfModel):
    """Predictions of a token's last rows."""

    token: Rows = Field(
        description="Oldest first, at one distance: [time in ms since 1970 UTC, price, volume, liquidity, buys, sells]."
    )
    supply: Annotated[FiniteFloat, Field(gt=0.0, le=1e30)] = Field(description="Tokens in all.")
    last: Annotated[int, Field(ge=1, le=10_000)] = 1


def _kind(given: Any) -> str | None:
    """Which kind of request an object is, by the one key that only it has."""
    if isinstance(given, dict):
        return next((key for key in ("batch", "bars", "sequence", "token") if key in given), None)
    return None


_BY_KEY = Discriminator(
    _kind,
    custom_error_type="kind",
    custom_error_message='expected an object with one of the keys "bars", "sequence", "token" or "batch"',
)
_BARS = Annotated[PredictBars, Tag("bars")]
_SEQUENCE = Annotated[PredictSequence, Tag("sequence")]
_TOKEN = Annotated[PredictToken, Tag("token")]
One = Annotated[_BARS | _SEQUENCE | _TOKEN, _BY_KEY]


class PredictBatch(Strict):
    """Several requests at once."""

    batch: Annotated[list[One], Field(min_length=1, max_length=MOST_TOGETHER)]


Predict = Annotated[_BARS | _SEQUENCE | _TOKEN | Annotated[PredictBatch, Tag("batch")], _BY_KEY]


class Account(Strict):
    """What an agent observes of its account; all of it 0 for who holds nothing and has held nothing."""

    exposure: Annotated[FiniteFloat, Field(ge=-100.0, le=100.0)] = Field(
        default=0.0, description="Signed value of the position over equity."
    )
    target: Annotated[FiniteFloat, Field(ge=-100.0, le=100.0)] | None = Field(
        default=None, description="The exposure that was last asked for; the exposure where left out."
    )
    unrealised_return: Annotated[FiniteFloat, Field(ge=-1e6, le=1e6)] = Field(
        default=0.0, description="Unrealised profit of the position over equity."
    )
    drawdown: Annotated[FiniteFloat, Field(ge=0.0, le=1.0)] = Field(
        default=0.0, description="Share of the highest equity that is lost."
    )
    bars_held: Annotated[int, Field(ge=0, le=10_000_000)] = Field(
        default=0, description="Base bars that the position has been held."
    )


class Act(OfModel, Bars):
    """What an agent does at the close of the last bar."""

    account: Account = Account()


class ActBatch(Strict):
    """Several requests at once."""

    batch: Annotated[list[Act], Field(min_length=1, max_length=MOST_TOGETHER)]


def _act_kind(given: Any) -> str | None:
    if isinstance(given, dict):
        return "batch" if "batch" in given else "act"
    return None


_ACT_BY_KEY = Discriminator(
    _act_kind, custom_error_type="kind", custom_error_message='expected an object with the key "bars" or "batch"'
)
Acts = Annotated[Annotated[Act, Tag("act")] | Annotated[ActBatch, Tag("batch")], _ACT_BY_KEY]


class BodyError(ValueError):
    """A body that cannot be used; the message names what is wrong, where, and what is needed.

    Args:
        said: in words.
        needs: of the model that was asked.
    """

    def __init__(self, said: str, needs: dict[str, Any] | None = None) -> None:
        super().__init__(said)
        self.needs = needs


_PREDICT: TypeAdapter[Any] = TypeAdapter(Predict)
_ACT: TypeAdapter[Any] = TypeAdapter(Acts)
_BEGINS = re.compile(rb'\s*\{\s*(?:"model"\s*:\s*"[^"]*"\s*,\s*)?"(bars|sequence)"')
_SHOWN = 5  #: errors of a body that are told
_TAGS = frozenset(("bars", "sequence", "token", "batch", "act", "rows", "tables"))


def read_predict(body: bytes) -> PredictBatch | One:
    """The request in a body.

    Raises:
        BodyError: none of those that are known.
    """
    found: PredictBatch | One | None = _plain(body, {"bars": PredictBars, "sequence": PredictSequence})
    return _read(body, _PREDICT) if found is None else found


def read_act(body: bytes) -> ActBatch | Act:
    """The request in a body; errors as `read_predict`."""
    found: ActBatch | Act | None = _plain(body, {"bars": Act})
    return _read(body, _ACT) if found is None else found


def _plain(body: bytes, kinds: Mapping[str, type[BaseModel]]) -> Any:
    """One request whose rows are nothing but numbers, its rows as arrays; None of any other: pydantic reads that one,
    or says what is wrong with it. Takes half of pydantic's time, and lets through nothing that it refuses."""
    begins = _BEGINS.match(body)
    key = "" if begins is None else begins[1].decode()
    if key not in kinds or b"true" in body or b"false" in body:
        return None
    try:
        given = orjson.loads(body)
        tables = given.pop(key)
        named = isinstance(tables, dict) and key == "sequence"
        arrays = {name: _numbers(rows) for name, rows in (tables if named else {"": tables}).items()}
        asked = kinds[key].model_validate(given | {key: [[0.0]]})
    except ValueError:
        return None
    if "reference" in given or body.count(b'"') != 2 * (_texts(given) + 1 + len(arrays) * named):
        return None  # a text stands in place of a number
    return asked.model_copy(update={key: arrays if named else arrays[""]})


def _texts(given: Any) -> int:
    """Texts in JSON, keys among them."""
    if isinstance(given, dict):
        return len(given) + sum(map(_texts, given.values()))
    return sum(map(_texts, given)) if isinstance(given, list) else isinstance(given, str)


def _numbers(rows: Any) -> NDArray[np.float64]:
    """(n, width) float64 of rows.

    Raises:
        ValueError: they are no such table, or hold what is no number of the allowed size.
    """
    try:
        found = np.array(rows, np.float64)
    except (TypeError, OverflowError) as error:
        raise ValueError("no table of numbers") from error
    if found.ndim != 2 or not (1 <= len(found) <= MOST_BARS and 1 <= found.shape[1] <= MOST_COLUMNS):
        raise ValueError("no table")
    if not np.abs(found).max() <= MOST:  # NaN is not, either
        raise ValueError("no number, or too large a one")
    return found


def _read(body: bytes, adapter: TypeAdapter[Any]) -> Any:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        raise BodyError(_in_words(error)) from None


def _in_words(error: ValidationError) -> str:
    """What is wrong with a body, without what stood in it."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    told = []
    for one in found[:_SHOWN]:
        place = list(one["loc"])
        # A tag of a union stands before the key of the same name, or before nothing that a client wrote.
        named = [part for at, part in enumerate(place) if not (part in _TAGS and _is_tag(place, at))]
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in named).lstrip(".")
        told.append(f"{where[:200] or 'body'}: {one['msg']}")
    rest = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(dict.fromkeys(told)) + rest


def _is_tag(place: list[int | str], at: int) -> bool:
    before = place[at - 1] if at else None
    return at == 0 or (isinstance(before, int) and place[at - 2] == "batch") or place[at] in ("rows", "tables")
