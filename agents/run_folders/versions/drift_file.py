"""`drift.json`: what is kept of the data and the results of a model, so that live ones can be compared with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptoenv.analysis.drift.calibration import CalibrationReference
from cryptoenv.analysis.drift.equity import EquityReference
from cryptoenv.analysis.drift.losses import LossReference
from cryptoenv.analysis.drift.reference import TableReference
from cryptoenv.files.bounded_json import JsonError, parse_json
from cryptoenv.files.durable_files import NotRegularError, read_regular, write_file
from cryptoenv.files.typed_values import ConfigError

FORMAT = 1
LARGEST = 16_000_000  #: bytes
_KEYS = frozenset(("format", "features", "until_ms", "losses", "equity", "calibration"))


@dataclass(frozen=True)
class ModelReference:
    """What live data are compared with.

    Attributes:
        features: per timeframe, of the rows that were learned from.
        until_ms: close of the last bar of them, ms since the epoch.
        losses: per bar (for an agent its net log-return, negative), on bars that were not learned from; or None.
        equity: net log-returns per bar on the same bars; or None.
        calibration: of probabilities; or None.
    """

    features: tuple[TableReference, ...] = ()
    until_ms: int = 0
    losses: LossReference | None = None
    equity: EquityReference | None = None
    calibration: CalibrationReference | None = None

    def words(self) -> str:
        """What live data can be compared in, and in what not, since too little is known of it."""
        columns = [column.judged for table in self.features for column in table.columns]
        calibrated = self.calibration is not None and self.calibration.judged
        parts = {"losses": self.losses is not None, "equity": self.equity is not None, "calibration": calibrated}
        found = ", ".join([f"{sum(columns)} of {len(columns)} features", *(name for name, can in parts.items() if can)])
        missing = ", ".join(name for name, can in parts.items() if not can)
        return found + (f"; not in {missing}, of which too little is known" if missing else "")

    def write(self, path: Path) -> None:
        """Write it whole, or leave what was there."""
        parts = {key: getattr(self, key) for key in ("losses", "equity", "calibration")}
        told = {
            "format": FORMAT, "until_ms": self.until_ms, "features": [table.to_json() for table in self.features],
            **{key: None if one is None else one.to_json() for key, one in parts.items()},
        }  # fmt: skip
        write_file(path, json.dumps(told, sort_keys=True, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> ModelReference:
        """Read it.

        Raises:
            FileNotFoundError: no such file. ConfigError: something else than was written.
        """
        try:
            told = parse_json(read_regular(path, LARGEST), str(path), LARGEST)
        except (JsonError, NotRegularError) as error:
            raise ConfigError(str(error)) from error
        if not isinstance(told, dict) or set(told) != _KEYS or told["format"] != FORMAT:
            raise ConfigError(f"{path} is no reference for drift of format {FORMAT}")
        if not isinstance(told["features"], list) or type(told["until_ms"]) is not int:
            raise ConfigError(f"{path}: features must be a list, and until_ms a whole number")
        return cls(
            tuple(TableReference.from_json(one, f"{path}: features") for one in told["features"]), told["until_ms"],
            _part(LossReference, told, "losses", path), _part(EquityReference, told, "equity", path),
            _part(CalibrationReference, told, "calibration", path),
        )  # fmt: skip


def _part(kind: Any, told: dict[str, Any], name: str, path: Path) -> Any:
    return None if told[name] is None else kind.from_json(told[name], f"{path}: {name}")
