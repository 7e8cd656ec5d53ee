"""What the benchmark of real bars charges."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.real_rewards import FUNDING, rates_until


def test_known_rates_come_first_and_the_constant_one_goes_on_from_them(tmp_path: Path) -> None:
    times = pd.date_range("2024-01-01", periods=20, freq="8h", tz="UTC")
    known = pd.DataFrame({"timestamp": times, "funding_rate": [0.0002 + 1e-6 * k for k in range(20)]})
    known.to_csv(tmp_path / "rates.csv", index=False)
    found = rates_until(str(tmp_path / "rates.csv"), times[-1] + pd.Timedelta(days=3))
    assert found.iloc[:20].tolist() == known["funding_rate"].tolist() and set(found.iloc[20:]) == {FUNDING}
    assert (found.index.diff()[1:] == pd.Timedelta(hours=8)).all()
    assert found.index[-1] > times[-1] + pd.Timedelta(days=3)
