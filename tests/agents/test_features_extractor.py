"""Embeddings of training markets are computed once and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agents.features_extractor import embed
from agents.taught_market import TaughtMarket
from pretrain import Extractor


def test_embeddings_are_computed_once(
    extractor: Extractor, taught: tuple[TaughtMarket, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTOENV_CACHE", str(tmp_path))
    first = embed(extractor, taught, progress=False)
    np.testing.assert_array_equal(first.rows, np.concatenate([extractor.embed(t.market) for t in taught]))
    monkeypatch.setattr(Extractor, "embed", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(embed(extractor, taught, progress=False).rows, first.rows)


def test_a_disk_that_takes_nothing_is_only_slower(
    extractor: Extractor, taught: tuple[TaughtMarket, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way of the folder")
    monkeypatch.setenv("CRYPTOENV_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="embeddings are not kept"):
        found = embed(extractor, taught, progress=False)
    np.testing.assert_array_equal(found.rows, np.concatenate([extractor.embed(t.market) for t in taught]))
