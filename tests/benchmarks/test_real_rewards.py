"""What the benchmark of real bars charges."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.real_rewards import FUNDING, funding_of


def test_known_rates_come_first_and_the_constant_one_goes_on_from_them(tmp_path: Path) -> None:
    times = pd.date_range("2024-01-01", periods=20, freq="8h", tz="UTC")
    known = pd.DataFrame({"timestamp": times, "funding_rate": [0.0002 + 1e-6 * k for k in range(20)]})
    known.to_csv(tmp_path / "rates.csv", index=False)
    bars = pd.date_range(times[0], times[-1] + pd.Timedelta(days=3), freq="15min")
    found = funding_of(bars, str(tmp_path / "rates.csv"))
    assert found.iloc[:20].tolist() == known["funding_rate"].tolist() and set(found.iloc[20:]) == {FUNDING}
    assert (found.index.diff()[1:] == pd.Timedelta(hours=8)).all()
    constant = funding_of(bars, None)
    assert set(constant) == {FUNDING}
    for one in (found, constant):
        assert one.index[0] <= bars[0] and one.index[-1] > bars[-1]
