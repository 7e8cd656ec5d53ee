"""Embeddings of a market, computed once and kept in a file that every process maps."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.files.durable_files import make_file, make_folder
from cryptoenv.market.market import Market
from pretrain.extractor.artifact import FORMAT_VERSION, Extractor


def cache_folder() -> Path:
    """Where embeddings are kept: `CRYPTOENV_CACHE`, else `XDG_CACHE_HOME/cryptoenv`, else `~/.cache/cryptoenv`."""
    if chosen := os.environ.get("CRYPTOENV_CACHE"):
        return Path(chosen) / "embeddings"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cryptoenv" / "embeddings"


def cached_embeddings(extractor: Extractor, market: Market, folder: Path | None = None) -> NDArray[np.float32]:
    """(T, D) float32 embeddings of `market`, memory-mapped and read-only; rows before the first decision are 0.

    The file is named by the hashes of the artifact and of the market and by the version of artifacts (which changes
    with how embeddings are computed), so that no other embeddings can be mistaken for it; it appears whole or not at
    all. A file of the wrong size (a disk that filled up) is computed again.

    Args:
        extractor: a trained extractor.
        market: of its timeframes and features.
        folder: of the cache; `cache_folder()` where None.

    Raises:
        ArtifactError: the market does not fit the extractor. OSError: the folder cannot be written.
    """
    extractor.require(market)
    folder = cache_folder() if folder is None else folder
    place = "" if extractor.device.type == "cpu" else f"-{extractor.device.type}"  # another one's last bits differ
    path = folder / f"{extractor.hash[:32]}-{market.hash[:32]}-{FORMAT_VERSION}{place}.npy"
    shape = (len(market), extractor.width)
    kept = _mapped(path, shape)
    if kept is not None:
        return kept
    make_folder(folder)
    embeddings = extractor.embed(market)
    make_file(path, lambda place: np.save(place, embeddings))
    written = _mapped(path, shape)
    if written is None:
        raise OSError(f"{path} cannot be read back")
    return written


def keep_part(extractor: Extractor, whole: Market, embeddings: NDArray[np.float32], part: Market) -> None:
    """Keep the embeddings of a part of a market, cut out of those of the whole, which are the same.

    Args:
        extractor: that made them.
        whole: the market; `part` is `whole.part(...)`.
        embeddings: (T, D) of the whole market.
        part: of it.

    Raises:
        OSError: the cache cannot be written.
    """
    folder = cache_folder()
    path = folder / f"{extractor.hash[:32]}-{part.hash[:32]}-{FORMAT_VERSION}.npy"
    if _mapped(path, (len(part), extractor.width)) is not None:
        return
    begin = (part.start_ms - whole.start_ms) // timeframe_ms(whole.timeframes[0])
    mine = np.array(embeddings[begin : begin + len(part)], dtype=np.float32)
    mine[: part.first_decision(extractor.layout.window)] = 0.0
    make_folder(folder)
    make_file(path, lambda place: np.save(place, mine))


def _mapped(path: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """The file as an array, or None where it is missing or is not one of this shape."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape and array.dtype == np.float32 else None
