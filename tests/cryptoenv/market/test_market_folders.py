"""A foreign market folder is consistently made: its hashes are right whatever lies in it."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptoenv import Market
from cryptoenv.bars.price_columns import CLOSE, FUNDING, FUNDING_MARKS, HIGH, LOW, OPEN, SIGMA, VOLUME
from cryptoenv.market import files as market_files
from cryptoenv.market.files import MARKET_FILE, MarketFileError, array_digest, digests_hash
from tests.naive.random_bars import random_bars

Arrays = dict[str, np.ndarray]
Header = dict[str, Any]


@pytest.fixture(scope="module")
def made() -> Market:
    return Market.from_bars(random_bars(20, seed=1), ("1h", "4h"))


def reseal(market: Market, folder: Path, lie: Callable[[Arrays, Header], object]) -> Path:
    """The market's folder with a lie in it, and hashes that fit the lie."""
    market.save(folder)
    arrays = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    content = json.loads((folder / MARKET_FILE).read_text())
    header = content["header"]
    lie(arrays, header)
    entries = []
    for name in [entry[0] for entry in content["arrays"] if entry[0] in arrays] + sorted(
        set(arrays) - {entry[0] for entry in content["arrays"]}
    ):
        np.save(folder / f"{name}.npy", arrays[name], allow_pickle=True)
        digest = "0" * 64 if arrays[name].dtype.hasobject else array_digest(arrays[name])
        entries.append([name, arrays[name].dtype.str, list(arrays[name].shape), digest])
    content |= {"header": header, "arrays": entries, "hash": digests_hash(header, entries)}
    (folder / MARKET_FILE).write_text(json.dumps(content))
    return folder


def cell(name: str, row: int, column: int, value: float) -> Callable[[Arrays, Header], None]:
    def lie(arrays: Arrays, header: Header) -> None:
        arrays[name][row, column] = value

    return lie


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays, Header], None]:
    def lie(arrays: Arrays, header: Header) -> None:
        arrays[name] = change(arrays[name])

    return lie


def stated(**values: Any) -> Callable[[Arrays, Header], None]:
    return lambda arrays, header: header.update(values)


NAN, INF = float("nan"), float("inf")
CELLS = [
    *(("align", row, 1, value) for row, value in ((100, 10**9), (100, 119), (100, -5), (100, 23), (479, 120), (0, 0))),
    ("align", 100, 0, 101),
    ("align", 100, 0, 2**62),
    *(("features_1h", row, 3, value) for row, value in ((300, NAN), (300, INF), (300, -8.5), (479, 9.0), (0, 1.0))),
    ("features_4h", 119, 0, NAN),
    *(("prices", 50, column, value) for column in (OPEN, HIGH, LOW, CLOSE) for value in (NAN, INF, 0.0, -1.0, 1e-300)),
    ("prices", 50, HIGH, 1.0),
    ("prices", 50, CLOSE, 1e6),
    *(("prices", 479, VOLUME, value) for value in (NAN, INF, -1.0, 1e300)),
    *(("prices", 0, SIGMA, value) for value in (NAN, INF, -0.1)),
    *(("prices", 50, FUNDING, value) for value in (NAN, INF, 0.01)),
    *(("prices", 50, FUNDING_MARKS, value) for value in (NAN, 7.0)),
]


@pytest.mark.parametrize(("name", "row", "column", "value"), CELLS)
def test_a_single_wrong_value_is_named(
    made: Market, tmp_path: Path, name: str, row: int, column: int, value: float
) -> None:
    folder = reseal(made, tmp_path / "m", cell(name, row, column, value))
    with pytest.raises(MarketFileError, match=f"{name}, row {row}.*allowed"):
        Market.load(folder)


ARRAYS = ("prices", "align", "features_1h", "features_4h")


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[:-1],
        lambda a: np.concatenate([a, a[-1:]]),
        lambda a: a[:, :-1],
        lambda a: a.ravel(),
        lambda a: a[None],
        lambda a: np.asfortranarray(a),
        lambda a: a.astype(a.dtype.newbyteorder()),
        lambda a: a.astype(np.int32 if a.dtype == np.int64 else np.complex64),
        lambda a: a.astype(object),
        lambda a: a.view(np.uint64 if a.itemsize == 8 else np.uint32),
        lambda a: a[:0],
    ],
    ids=["short", "long", "narrow", "flat", "deep", "Fortran", "swapped", "small", "objects", "unsigned", "empty"],
)
def test_arrays_of_another_make_are_refused(
    made: Market, tmp_path: Path, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    with pytest.raises(MarketFileError, match=f"{name}|prices|align"):
        Market.load(reseal(made, tmp_path / "m", changed(name, change)))


@pytest.mark.parametrize(
    "lie",
    [
        stated(timeframes=["1h"]),
        stated(timeframes=["4h", "1h"]),
        stated(timeframes=["1h", "../../x"]),
        stated(timeframes="1h"),
        stated(timeframes=[["1h"], "4h"]),
        stated(start_ms=1),
        stated(start_ms=10**18),
        stated(start_ms=1.5),
        stated(start_ms=None),
        stated(valid_from=[-1, 0]),
        stated(valid_from=[0]),
        stated(valid_from=[True, 0]),
        stated(valid_from=[10**30, 0]),
        stated(feature_names=[["a"], ["b"]]),
        stated(feature_names=[[], []]),
        stated(feature_names=None),
        stated(funding_series=1),
        stated(price_columns=["open"]),
        stated(feature_spec={"base": {"trend": {"adx": 10**9, "x": 1}}}),
        stated(feature_spec=None),
        stated(further=1),
        stated(format=1),
        lambda arrays, header: header.clear(),
        lambda arrays, header: arrays.pop("align"),
        lambda arrays, header: arrays.update(further=np.zeros((2, 2))),
        lambda arrays, header: arrays.update({name: array[:0] for name, array in arrays.items()}),
    ],
)
def test_descriptions_that_lie_are_refused(
    made: Market, tmp_path: Path, lie: Callable[[Arrays, Header], object]
) -> None:
    with pytest.raises(MarketFileError):
        Market.load(reseal(made, tmp_path / "m", lie))


def test_an_honest_reseal_is_loaded(made: Market, tmp_path: Path) -> None:
    assert Market.load(reseal(made, tmp_path / "m", lambda arrays, header: None)).hash == made.hash


@pytest.mark.parametrize("file", [MARKET_FILE, "align.npy", "features_1h.npy"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_links_pipes_and_folders_are_no_files(made: Market, tmp_path: Path, file: str, kind: str) -> None:
    folder = tmp_path / "m"
    made.save(folder)
    (folder / file).rename(tmp_path / file)
    if kind == "link":
        (folder / file).symlink_to(tmp_path / file)
    elif kind == "pipe":
        os.mkfifo(folder / file)
    else:
        (folder / file).mkdir()
    with pytest.raises(MarketFileError, match=file):
        Market.load(folder)


def test_cut_and_padded_files_are_refused(made: Market, tmp_path: Path) -> None:
    made.save(tmp_path / "m")
    path = tmp_path / "m" / "prices.npy"
    whole = path.read_bytes()
    for content in (b"", whole[:5], whole[:100], whole[:-8], whole + bytes(8), b"\x93NUMPY\x03\x00" + whole[8:]):
        path.write_bytes(content)
        with pytest.raises(MarketFileError, match=r"prices\.npy cannot be read"):
            Market.load(tmp_path / "m")


def test_saving_replaces_a_market_and_nothing_else(made: Market, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    before = made.save(folder)
    other = Market.from_bars(random_bars(30, seed=2), ("15m", "1h"))
    assert other.save(folder).hash == other.hash
    assert sorted(path.name for path in folder.iterdir()) == [
        "align.npy", "features_15m.npy", "features_1h.npy", MARKET_FILE, "prices.npy",
    ]  # fmt: skip
    assert before.prices.tobytes() == made.prices.tobytes()  # its map is of the files that were there
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        made.save(folder)
    assert Market.load(folder).hash == other.hash


def test_a_worker_hashes_a_market_once(made: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pickled = pickle.dumps(made.save(tmp_path / "m"))
    hashed: list[int] = []
    plain = market_files.array_digest
    monkeypatch.setattr(market_files, "array_digest", lambda array: hashed.append(array.nbytes) or plain(array))
    assert pickle.loads(pickled).hash == made.hash
    assert len(hashed) == 2 + len(made.timeframes)
