"""Embeddings of training markets are computed once and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agents.markets.embedded import embed
from agents.markets.expert_market import ExpertMarket
from pretrain import Extractor


def test_embeddings_are_computed_once(
    extractor: Extractor, labelled: tuple[ExpertMarket, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTOENV_CACHE", str(tmp_path))
    first = embed(extractor, labelled, progress=False)
    np.testing.assert_array_equal(first.rows, np.concatenate([extractor.embed(t.market) for t in labelled]))
    monkeypatch.setattr(Extractor, "embed", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(embed(extractor, labelled, progress=False).rows, first.rows)


def test_a_disk_that_takes_nothing_is_only_slower(
    extractor: Extractor, labelled: tuple[ExpertMarket, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way of the folder")
    monkeypatch.setenv("CRYPTOENV_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="embeddings are not kept"):
        found = embed(extractor, labelled, progress=False)
    np.testing.assert_array_equal(found.rows, np.concatenate([extractor.embed(t.market) for t in labelled]))
