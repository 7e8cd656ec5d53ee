"""A store of somebody else's: links and pipes lead nowhere, a sealed manifest that lies is found, a later one kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cryptoenv.store.key import SeriesKey, StoreError
from cryptoenv.store.manifest import NewerManifestError, write_manifest
from cryptoenv.store.parts import CorruptPartError, rows_of
from cryptoenv.store.ranges import Ranges, merged, without
from cryptoenv.store.store import BarStore
from tests.cryptoenv.store.test_store import FUNDING, contents, rates_at
from tests.cryptoenv.store.test_store_faults import KEY, START, STEP, append_pages, covered, truth

COUNT = 3_100  # two months: two parts


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    append_pages(folder, COUNT, COUNT)
    return folder


@pytest.fixture
def store(base: Path, tmp_path: Path) -> BarStore:
    shutil.copytree(base, tmp_path / "store")
    return BarStore(tmp_path / "store")


def everything(folder: Path) -> dict[str, Any]:
    """What is at and below a folder, links as links."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        kind: Any = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
        found[str(path.relative_to(folder))] = kind
    return found


def write(store: BarStore) -> None:
    append_pages(store.folder, COUNT + 200, COUNT)


OPERATIONS: dict[str, Callable[[BarStore], Any]] = {
    "manifest": lambda store: store.manifest(KEY),
    "read": lambda store: store.read(KEY),
    "validate": lambda store: store.validate(KEY),
    "repair": lambda store: store.repair(KEY),
    "write": write,
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_folder_that_is_a_link_is_refused(store: BarStore, tmp_path: Path, level: int, operation: str) -> None:
    link = [KEY.folder(store.folder), *KEY.folder(store.folder).parents][level]
    os.rename(link, tmp_path / "outside")
    link.symlink_to(tmp_path / "outside")
    before = everything(tmp_path)
    with pytest.raises(StoreError, match="is a link"):
        OPERATIONS[operation](store)
    assert everything(tmp_path) == before


def test_the_topmost_folder_may_be_a_link(store: BarStore, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store.folder)
    assert len(BarStore(tmp_path / "link").read(KEY)) == len(truth(COUNT))


def test_a_new_series_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "binance").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="is a link"):
        append_pages(tmp_path / "store", 100, 100)
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.parametrize("name", [".lock", "quarantine"])
def test_a_writer_or_a_repair_writes_to_nothing_outside(store: BarStore, tmp_path: Path, name: str) -> None:
    """Opening a writer emptied what `.lock` pointed to, a repair moved files to where `quarantine` did."""
    folder, outside = KEY.folder(store.folder), tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside / "file" if name == ".lock" else outside)
    part = sorted(folder.glob("*.parquet"))[0]
    part.write_bytes(part.read_bytes()[:-1])
    before = everything(tmp_path)
    with pytest.raises(StoreError, match="link"):
        store.repair(KEY)
    if name == ".lock":
        with pytest.raises(StoreError, match="link"):
            write(store)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
@pytest.mark.parametrize("name", ["manifest.json", "2024-01*", "2024-02*"])
def test_a_file_that_is_none_is_damage(store: BarStore, tmp_path: Path, name: str, kind: str) -> None:
    """The link is set aside, never what it points to, though that be the very file; nobody waits at a pipe."""
    (path,) = KEY.folder(store.folder).glob(name)
    outside = tmp_path / "outside"
    os.rename(path, outside)
    if kind == "link":
        path.symlink_to(outside)
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    content = outside.read_bytes()
    with pytest.raises(StoreError, match=r"only (regular files|those) are read"):
        store.read(KEY)
    assert str(path) in store.validate(KEY)[0]
    assert f"{path} moved to" in store.repair(KEY)[0]
    assert os.path.lexists(path.parent / "quarantine" / path.name) and outside.read_bytes() == content
    assert store.validate(KEY) == ()
    append_pages(store.folder, COUNT, COUNT)
    assert len(store.read(KEY)) == len(truth(COUNT))


def test_left_overs_that_are_links_go_alone(store: BarStore, tmp_path: Path) -> None:
    folder, outside = KEY.folder(store.folder), tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    (folder / ".tmp-file").symlink_to(outside / "file")
    (folder / ".tmp-folder").symlink_to(outside)
    (folder / f"2024-03-{'0' * 64}.parquet").symlink_to(outside / "file")
    (folder / ".tmp-manifest.json").symlink_to(outside / "file")  # what a writer of old opened and wrote to
    (folder / ".tmp-own").mkdir()
    write(store)
    assert everything(outside) == {"file": b"kept"}
    assert sorted(path.name for path in folder.glob(".tmp*")) == [".tmp-own"]


def resealed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes the manifest and seals it, as whoever makes a foreign store can."""
    path = KEY.folder(folder) / "manifest.json"
    document = json.loads(path.read_bytes())
    del document["sha256"]
    change(document)
    sealed = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    document["sha256"] = hashlib.sha256(sealed).hexdigest()
    path.write_bytes(json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n")


def _part(document: dict[str, Any], **fields: Any) -> None:
    document["parts"][0] |= fields


def _end(document: dict[str, Any]) -> int:
    return int(document["covered"][-1][1])


def _gap_over_the_first_part(document: dict[str, Any]) -> None:
    first, second = document["parts"]
    document["parts"] = [second]
    document["gaps"] = [[START, second["first_ms"]], *(gap for gap in document["gaps"] if gap[0] > second["first_ms"])]
    assert first["first_ms"] == START


LIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "covered behind the last bar": lambda d: d.update(covered=[[START, _end(d) + 500 * STEP]]),
    "covered before the first bar": lambda d: d.update(covered=[[START - STEP, _end(d)]]),
    "covered far away": lambda d: d["covered"].append([_end(d) + 9 * STEP, _end(d) + 99 * STEP]),
    "less covered than there is": lambda d: d.update(covered=[[START, _end(d) - 200 * STEP]], gaps=d["gaps"][:-5]),
    "a hole in what is covered": lambda d: d.update(covered=[[START, START + 20 * STEP], [START + 30 * STEP, _end(d)]]),
    "no gaps": lambda d: d.update(gaps=[]),
    "one gap less": lambda d: d["gaps"].pop(3),
    "a gap too wide": lambda d: d["gaps"][3].__setitem__(1, d["gaps"][3][1] + 4 * STEP),
    "a gap where bars are": lambda d: d["gaps"].insert(0, [START + STEP, START + 3 * STEP]),
    "a part left out": lambda d: d["parts"].pop(0),
    "a part left out for a gap": _gap_over_the_first_part,
    "rows": lambda d: _part(d, rows=7),
    "rows without end": lambda d: _part(d, rows=10**15),
    "no rows": lambda d: _part(d, rows=0),
    "rows that are none": lambda d: _part(d, rows=2916.0),
    "first": lambda d: _part(d, first_ms=START + STEP),
    "last": lambda d: _part(d, last_ms=START + 10 * STEP),
    "another period": lambda d: _part(d, period="2023-12"),
    "no period": lambda d: _part(d, period="2024-13"),
    "a period outside": lambda d: _part(d, period="../../../../outside/2024-01"),
    "a SHA-256 outside": lambda d: _part(d, sha256="/../../../../outside"),
    "another SHA-256": lambda d: _part(d, sha256="0" * 64),
    "a part twice": lambda d: d["parts"].append(d["parts"][-1]),
    "parts out of order": lambda d: d["parts"].reverse(),
    "covered off the grid": lambda d: d.update(covered=[[START + 1, _end(d)]]),
    "covered overlapping": lambda d: d["covered"].append([START, START + STEP]),
    "covered the wrong way round": lambda d: d.update(covered=[[_end(d), START]]),
    "covered without end": lambda d: d.update(covered=[[START, 10**18 * STEP]]),
    "gaps outside": lambda d: d["gaps"].append([_end(d) + STEP, _end(d) + 2 * STEP]),
    "an earlier version": lambda d: d.update(version=0),
    "a version that is none": lambda d: d.update(version=True),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_sealed_manifest_that_lies_is_found(store: BarStore, base: Path, tmp_path: Path, lie: str) -> None:
    """And is put right: what was hidden is asked for again, no row is lost, nothing outside is touched."""
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.copy(sorted(KEY.folder(base).glob("*.parquet"))[0], outside)
    kept = everything(outside)
    resealed(store.folder, LIES[lie])
    before = everything(tmp_path)
    assert any("manifest" in problem for problem in store.validate(KEY)), store.validate(KEY)
    assert everything(tmp_path) == before
    assert store.repair(KEY) and store.validate(KEY) == () and store.repair(KEY) == ()
    append_pages(store.folder, COUNT, COUNT)
    shutil.rmtree(KEY.folder(store.folder) / "quarantine", ignore_errors=True)
    found, whole = contents(store.folder), contents(base)
    if lie.startswith("covered far away"):  # nothing of it is left, though it was never asked for
        assert store.manifest(KEY).covered == (covered(0, COUNT),)
    assert found == whole and everything(outside) == kept


@pytest.mark.parametrize(
    "lie", [{"gaps": ((START, START + 1),)}, {"parts": ()}, {"covered": ((START, START + 9), (START, START + 5))}]
)
def test_a_funding_manifest_that_lies_is_found(tmp_path: Path, lie: dict[str, Any]) -> None:
    store, times = BarStore(tmp_path), [START + k * 28_800_000 for k in range(400)]
    with store.writer(FUNDING) as writer:
        writer.append(rates_at(times), (START, times[-1] + 1))
    write_manifest(FUNDING.folder(tmp_path), replace(store.manifest(FUNDING), **lie))
    assert len(store.validate(FUNDING)) == 1
    assert store.repair(FUNDING) and store.validate(FUNDING) == ()
    with store.writer(FUNDING) as writer:
        for start, end in writer.missing(START, times[-1] + 1):
            writer.append(rates_at([time for time in times if start <= time < end]), (start, end))
    assert len(store.read(FUNDING)) == 400 and store.validate(FUNDING) == ()


@pytest.mark.parametrize("fields", [{}, {"parts": "in another form"}, {"key": None, "covered": {}}])
def test_a_manifest_of_a_later_release_is_left_alone(store: BarStore, fields: dict[str, Any]) -> None:
    resealed(store.folder, lambda document: document.update(version=2, later=[1], **fields))
    if fields:  # however it is sealed
        path = KEY.folder(store.folder) / "manifest.json"
        path.write_bytes(path.read_bytes().replace(b'"sha256":"', b'"sha256":"later:'))
    before = everything(store.folder)
    (problem,) = store.validate(KEY)
    assert "later release" in problem and "damaged" not in problem
    for refused in (store.read, store.manifest, store.repair):
        with pytest.raises(NewerManifestError, match=r"version 2.*install the later one"):
            refused(KEY)
    with pytest.raises(NewerManifestError):
        write(store)
    assert everything(store.folder) == before and store.series() == (KEY,)


def test_a_version_that_was_damaged_is_no_later_release(store: BarStore) -> None:
    path = KEY.folder(store.folder) / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":3'))
    assert "not those written" in store.validate(KEY)[0]
    assert store.repair(KEY) and len(store.read(KEY)) == len(truth(COUNT))


def test_json_without_end_is_one_error(store: BarStore) -> None:
    path = KEY.folder(store.folder) / "manifest.json"
    for content in (b"[" * 100_000, b'{"version":' + b"9" * 5_000 + b"}", b"null", b"\xff\xfe", b""):
        path.write_bytes(content)
        assert "not a manifest" in store.validate(KEY)[0]
        with pytest.raises(StoreError, match="not a manifest"):
            store.read(KEY)


def test_a_part_that_unpacks_to_anything_is_not_unpacked(tmp_path: Path) -> None:
    """Two million equal rows are 55 kB; a month of minutes has 44,640."""
    key, count = SeriesKey("binance", "BTC/USDT", "1m"), 2_000_000
    same = pa.array(np.full(count, 1.0)).dictionary_encode()
    columns = [pa.array(np.full(count, START)).cast(pa.timestamp("ms", tz="UTC")), *[same] * 5]
    path = tmp_path / "part"
    pq.write_table(pa.table(columns, names=["timestamp", *key.columns]), path, compression="zstd")
    content = path.read_bytes()
    assert len(content) < 100_000
    with pytest.raises(CorruptPartError, match="2000000 rows"):
        rows_of(key, path, hashlib.sha256(content).hexdigest())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_forked_while_its_parent_writes(tmp_path: Path) -> None:
    """It neither keeps the lock, nor appends, nor ends the parent's hold of it."""
    store = BarStore(tmp_path)
    bars = truth(300)
    with store.writer(KEY) as writer:
        writer.append(bars[:98], covered(0, 100))
        pid = os.fork()
        if pid == 0:
            try:
                writer.append(bars[98:196], covered(100, 200))
            except StoreError as error:
                refused = f"process {os.getppid()}" in str(error)
                writer.close()
                os._exit(0 if refused else 3)
            os._exit(4)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        pid = os.fork()
        if pid == 0:
            import time

            time.sleep(30)
            os._exit(0)
        writer.append(bars[98:196], covered(100, 200))
        with pytest.raises(StoreError, match=f"process {os.getpid()} "), store.writer(KEY):
            pass
    try:
        append_pages(tmp_path, 300, 100)  # while the child lives
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert len(store.read(KEY)) == len(bars)


@pytest.mark.parametrize("seed", range(20))
def test_differences_of_ranges(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def drawn() -> tuple[Ranges, np.ndarray]:
        inside = rng.random(60) < rng.random()
        return merged((k, k + 1) for k in np.flatnonzero(inside).tolist()), inside

    (some, in_some), (holes, in_holes) = drawn(), drawn()
    expected = merged((k, k + 1) for k in np.flatnonzero(in_some & ~in_holes).tolist())
    assert without(some, holes) == expected
