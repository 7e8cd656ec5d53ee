"""The token store: what is written comes back to the bit, kills at any moment, damage and bad requests in one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from cryptoenv.files.folder_lock import FolderLockedError, folder_lock
from pretrain.data.splits import SplitRule, split_rows
from pretrain.tokens.hdf5_store import METADATA, NORMALIZATION, SPLIT, StoreError, TokenStore, versions
from pretrain.tokens.series import FEATURES, SeriesError, TokenSeries, synthetic_tokens
from synthetic.tokens.market import TokenConfig

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def tokens() -> tuple[TokenSeries, ...]:
    return synthetic_tokens(TokenConfig(tokens=3, bars=200), 3)


@pytest.fixture
def store(tokens: tuple[TokenSeries, ...], tmp_path: Path) -> TokenStore:
    found = TokenStore(tmp_path / "v1")
    found.add(tokens)
    return found


def same(a: TokenSeries, b: TokenSeries) -> bool:
    plain = (a.address, a.supply, a.source, a.pumps) == (b.address, b.supply, b.source, b.pumps)
    return plain and (a.times == b.times).all() and a.values.tobytes() == b.values.tobytes()


def test_what_is_written_comes_back_to_the_bit(store: TokenStore, tokens: tuple[TokenSeries, ...]) -> None:
    again = TokenStore(store.folder)
    assert len(again) == 3 and all(same(a, b) for a, b in zip(again, tokens, strict=True))
    assert [again.id_of(token.address) for token in tokens] == [0, 1, 2]
    with h5py.File(store.file(1)) as file:
        assert file.attrs["schema"] == "cryptoenv-token/1" and len(file.attrs["sha256"]) == 64
        assert all(file[name].dtype == np.float64 and file[name].compression == "gzip" for name in FEATURES)
    assert same(again.read_all([2])[0], tokens[2])
    assert versions(store.folder.parent) == ("v1",)


def test_the_same_tokens_are_the_same_bytes(
    store: TokenStore, tokens: tuple[TokenSeries, ...], tmp_path: Path
) -> None:
    other = TokenStore(tmp_path / "v2")
    other.add(tokens[:1])
    other.add(tokens[1:])
    for number in range(3):
        assert other.file(number).read_bytes() == store.file(number).read_bytes()
    assert (other.folder / METADATA).read_bytes() == (store.folder / METADATA).read_bytes()


def test_split_and_normalization_come_back(store: TokenStore, tokens: tuple[TokenSeries, ...]) -> None:
    rule = SplitRule("mixed", (0.4, 0.2, 0.4), look_ahead=5, seed=2, train_share=0.5)
    splits = split_rows([token.timeline(10) for token in tokens], rule)
    store.write_split(splits, rule)
    assert store.split() == (splits, rule)
    parameters = np.arange(12.0).reshape(2, 6)
    store.write_normalization(parameters)
    assert (store.normalization() == parameters).all()
    (store.folder / NORMALIZATION).write_bytes(b"\x93NUMPY")
    with pytest.raises(StoreError, match="is no array"):
        store.normalization()
    np.save(store.folder / NORMALIZATION, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(StoreError, match="is no array"):
        store.normalization()
    text = (store.folder / SPLIT).read_text().replace('"stop": 200', '"stop": 201')
    (store.folder / SPLIT).write_text(text)
    with pytest.raises(StoreError, match="is not within the 3 tokens"):
        store.split()


def test_damage_is_named(store: TokenStore) -> None:
    path = store.file(1)
    whole = path.read_bytes()
    for place in (len(whole) // 3, len(whole) // 2, len(whole) - 900):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            found = store.read(1)
        except StoreError as error:
            assert "token_1.h5" in str(error)
        else:  # a byte of HDF5's own that holds nothing
            assert found.values.shape == (200, 6)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match=r"token_1\.h5 is no HDF5 file of a token, or it is damaged"):
        store.read(1)
    path.write_bytes(store.file(0).read_bytes())
    with pytest.raises(StoreError, match="does not have the sha256"):
        store.read(1)
    path.unlink()
    with pytest.raises(StoreError, match=r"token_1\.h5 is missing: the store is not whole"):
        store.read(1)
    path.symlink_to(store.file(0))
    with pytest.raises(StoreError, match="no regular file"):
        store.read(1)
    assert store.read(2).values.shape == (200, 6)


def test_a_planted_change_of_one_number_is_seen(store: TokenStore) -> None:
    with h5py.File(store.file(0), "r+") as file:
        file["price"][7] *= 1.0 + 1e-15
    with pytest.raises(StoreError, match="does not have the sha256"):
        store.read(0)


def test_a_column_outside_the_file_is_refused(store: TokenStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(1600))
    with h5py.File(store.file(0), "r+") as file:
        del file["price"]
        file.create_dataset("price", (200,), "f8", external=[(str(tmp_path / "secret"), 0, 1600)])
    with pytest.raises(StoreError, match="price is no column of the file itself"):
        store.read(0)
    with h5py.File(store.file(0), "r+") as file:
        del file["price"]
        file["price"] = h5py.ExternalLink(str(store.file(1)), "price")
    with pytest.raises(StoreError, match="price is no column of the file itself"):
        store.read(0)


def test_bad_requests_are_told_in_words(store: TokenStore, tokens: tuple[TokenSeries, ...], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no token 3; allowed: ids from 0 to 2"):
        store.read(3)
    with pytest.raises(StoreError, match="holds no token -1"):
        store.read(-1)
    with pytest.raises(StoreError, match="allowed: none: it is empty"):
        TokenStore(tmp_path / "nothing").read(0)
    with pytest.raises(StoreError, match="already"):
        store.add(tokens[:1])
    with pytest.raises(StoreError, match="holds no token of the address 'x'"):
        store.id_of("x")
    with folder_lock(store.folder, "a test"), pytest.raises(FolderLockedError):
        store.add(synthetic_tokens(TokenConfig(tokens=1, bars=50), 9))
    (store.folder / METADATA).unlink()
    with pytest.raises(StoreError, match=r"token_metadata\.json is missing"):
        store.entries()
    (store.folder / METADATA).write_text(json.dumps({"schema": "cryptoenv-token/1", "tokens": [{}]}))
    with pytest.raises(StoreError, match="entry 0 must have the id 0"):
        store.entries()


def test_rows_that_are_no_tokens_are_refused() -> None:
    times = np.arange(4, dtype=np.int64) * 60_000
    values = np.full((4, 6), 2.0)
    for change, message in (
        (lambda t, v: t.__setitem__(2, 7), "row 2 is not one step after"),
        (lambda t, v: v.__setitem__((1, 0), 0.0), "row 1: price is 0.0: it must be finite and > 0"),
        (lambda t, v: v.__setitem__((3, 3), -1.0), "row 3: buys is -1.0: it must be finite and >= 0"),
        (lambda t, v: v.__setitem__((0, 5), 2.1), "row 0: market_cap is not price times supply"),
    ):
        t, v = times.copy(), values.copy()
        TokenSeries("a", t, v, 1.0)
        change(t, v)
        with pytest.raises(SeriesError, match=message):
            TokenSeries("a", t, v, 1.0)


WRITER = """
import sys
from pretrain.tokens.hdf5_store import TokenStore
from pretrain.tokens.series import synthetic_tokens
from synthetic.tokens.market import TokenConfig
store = TokenStore(sys.argv[1])
first = int(sys.argv[2])
batches = [synthetic_tokens(TokenConfig(tokens=4, bars=120), seed) for seed in range(first, first + 40)]
print("ready", flush=True)
for batch in batches:
    store.add(batch)
    print(len(store), flush=True)
"""


def killed_writer(folder: Path, first_seed: int, seconds: float) -> int:
    """Kill a writer so long after it began; returns how many tokens it said were stored."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(first_seed)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    time.sleep(seconds)
    os.kill(writer.pid, signal.SIGKILL)
    said = [int(line) for line in writer.stdout.read().split("\n") if line.strip().isdigit()]
    writer.wait()
    return max(said, default=0)


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_a_killed_writer_loses_nothing_and_leaves_nothing_unreadable(kills: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder, stored = tmp_path / "v1", 0
    for kill in range(kills):
        stored = max(stored, killed_writer(folder, 1000 * kill, float(rng.uniform(0.0, 0.25))))
        store = TokenStore(folder)
        held = list(store)
        assert len(held) >= stored and len(held) % 4 == 0  # a batch is there as a whole
        stored = len(held)
        for token in held[-8:]:
            seed, number = (int(part) for part in token.address.split("-"))
            assert same(token, synthetic_tokens(TokenConfig(tokens=4, bars=120), seed)[number])
    store.add(synthetic_tokens(TokenConfig(tokens=1, bars=120), 10**6))
    assert len(store) == stored + 1
