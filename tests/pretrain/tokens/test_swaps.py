"""Swaps and bars of real tokens become rows, by hand and on real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pretrain.tokens.hdf5_store import TokenStore
from pretrain.tokens.series import BUYS, LIQUIDITY, MARKET_CAP, PRICE, SELLS, VOLUME, SeriesError, TokenSeries
from pretrain.tokens.swaps import read_tokens

SWAPS = "pumpfun_swaps_11tokens_2026.csv.gz"


def swaps() -> pd.DataFrame:
    times = pd.date_range("2026-01-01", periods=40, freq="3s", tz="UTC")
    return pd.DataFrame(
        {
            "timestamp": times, "mint": "abc", "side": ["buy", "sell"] * 20, "price_sol": np.linspace(1e-6, 2e-6, 40),
            "sol": 0.5, "tokens": 1000.0, "market_cap_sol": 1e9 * np.linspace(1e-6, 2e-6, 40),
        }
    )  # fmt: skip


def test_swaps_become_rows(tmp_path: Path) -> None:
    table = swaps()
    table.loc[3, ["price_sol", "sol"]] = 9.0, 0.01  # dust says nothing about the price
    table.to_csv(tmp_path / "s.csv.gz", index=False)
    (token,) = read_tokens(tmp_path / "s.csv.gz")
    assert token.address == "abc" and token.supply == pytest.approx(1e9) and token.pumps is None
    assert len(token) == 24 and token.step_ms == 5_000  # swaps at 0, 3; 6, 9; 12; ...
    assert token.values[0, [VOLUME, BUYS, SELLS]].tolist() == [2000.0, 0.5, 0.5]
    assert token.values[1, PRICE] == pytest.approx(table["price_sol"][2]) and token.values[1, SELLS] == 0.01
    np.testing.assert_allclose(token.values[:, LIQUIDITY] ** 2 / token.values[:, PRICE], 85.0 * 206_900_000.0)
    np.testing.assert_allclose(token.values[:, MARKET_CAP], 1e9 * token.values[:, PRICE])
    assert len(read_tokens(tmp_path / "s.csv.gz", 10)[0]) == 12


def test_bars_and_stores_are_read(tokens: tuple[TokenSeries, ...], tmp_path: Path) -> None:
    parts = [token.table().assign(address=token.address, supply=token.supply) for token in tokens[:2]]
    pd.concat(parts).reset_index().to_parquet(tmp_path / "bars.parquet")
    found = read_tokens(tmp_path / "bars.parquet")
    for mine, real in zip(found, tokens, strict=False):
        assert mine.address == real.address and (mine.values[:, :5] == real.values[:, :5]).all()
    TokenStore(tmp_path / "store").add(tokens)
    assert len(read_tokens(tmp_path / "store")) == 5


def test_what_is_no_token_is_told(tmp_path: Path) -> None:
    table = swaps()
    for name, made, message in (
        ("a.csv", table.drop(columns="sol"), "a column of value is missing; it may be called value, sol"),
        ("b.csv", table.assign(side="swap"), "side is 'swap'; allowed: buy, sell"),
        ("c.csv", table.iloc[:4], "no token has 8 rows"),
        ("d.csv", table.drop(columns=["side"]).rename(columns={"sol": "buys"}), "column 'volume' is missing"),
        ("e.csv", table.drop(columns="timestamp"), "column 'timestamp' is missing"),
        ("f.csv", table.assign(timestamp="soon"), "f.csv: column 'timestamp' holds no times"),
        ("g.csv", pd.DataFrame(), "g.csv cannot be read as a table"),
    ):
        made.to_csv(tmp_path / name, index=False)
        with pytest.raises(SeriesError, match=message):
            read_tokens(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_tokens(tmp_path / "none.csv")
    with pytest.raises(SeriesError, match="is no store of tokens"):
        read_tokens(tmp_path)
    (tmp_path / "x.txt").touch()
    with pytest.raises(SeriesError, match="files that end in"):
        read_tokens(tmp_path / "x.txt")


def test_real_swaps(real_data: Path) -> None:
    if not (real_data / SWAPS).is_file():
        pytest.skip(f"{SWAPS} is not there")
    found = read_tokens(real_data / SWAPS)
    assert len(found) == 11 and all(abs(token.supply / 1e9 - 1) < 1e-3 for token in found)
    assert all(8 <= len(token) <= 61 and token.step_ms == 5_000 for token in found)
