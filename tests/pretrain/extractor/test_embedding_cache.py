"""Cached embeddings are the extractor's own, shared, and never those of something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryptoenv.market.market import Market
from pretrain import Extractor, FitOptions, fit_extractor
from pretrain.extractor.embedding_cache import cache_folder, cached_embeddings
from tests.pretrain.conftest import planted, random_market, small_config, small_training


@pytest.fixture(scope="module")
def extractor(markets: tuple[Market, ...]) -> Extractor:
    items = [planted(market) for market in markets]
    return fit_extractor(
        items[:1], items[1:2], small_config(), small_training(steps=3), options=FitOptions(progress=False)
    )


def test_a_second_call_maps_what_the_first_computed(
    extractor: Extractor, markets: tuple[Market, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cached_embeddings(extractor, markets[0], tmp_path)
    np.testing.assert_array_equal(first, extractor.embed(markets[0]))
    assert isinstance(first, np.memmap)
    assert not first.flags.writeable
    monkeypatch.setattr(Extractor, "embed", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(cached_embeddings(extractor, markets[0], tmp_path), first)
    with pytest.raises(pytest.fail.Exception):
        cached_embeddings(extractor, random_market(9), tmp_path)


def test_a_damaged_file_is_computed_again(extractor: Extractor, markets: tuple[Market, ...], tmp_path: Path) -> None:
    expected = np.array(cached_embeddings(extractor, markets[0], tmp_path))
    [path] = tmp_path.iterdir()
    for damaged in (path.read_bytes()[:-100], b"", b"no array"):
        path.write_bytes(damaged)
        np.testing.assert_array_equal(cached_embeddings(extractor, markets[0], tmp_path), expected)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_a_failure_leaves_nothing_behind(
    extractor: Extractor, markets: tuple[Market, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Extractor, "embed", broken)
    with pytest.raises(MemoryError):
        cached_embeddings(extractor, markets[0], tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOENV_CACHE", "/somewhere")
    assert cache_folder() == Path("/somewhere/embeddings")
    monkeypatch.delenv("CRYPTOENV_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == Path("/cache/cryptoenv/embeddings")
