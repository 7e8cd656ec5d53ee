"""What a text is worth: from -1, bad, to 1, good; by a lexicon, or by a classifier on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrain.sentiment.dated_texts import TextsError
from synthetic.installation import install_hint

LEXICON = "lexicon"
POSITIVE, NEGATIVE = ("positive", "pos", "bullish", "label_2"), ("negative", "neg", "bearish", "label_0")
BATCH, MOST_TOKENS = 32, 512
Scorer = Callable[[Sequence[str]], NDArray[np.float64]]


def new_scorer(model: str) -> Scorer:
    """A function of n texts that gives (n,) float64 scores in [-1, 1].

    Args:
        model: "lexicon" for VADER (Hutto and Gilbert 2014), or the folder of a Hugging Face text classifier with its
            tokenizer, of which the probability of its positive label less that of its negative one is the score.

    Raises:
        TextsError: no such folder, or a classifier whose labels are not known to be good or bad. ImportError: a package
            is missing.
    """
    return lexicon_scorer() if model == LEXICON else classifier_scorer(Path(model))


def lexicon_scorer() -> Scorer:
    """VADER's compound score."""
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ModuleNotFoundError as error:
        raise ImportError(f"the lexicon is that of vaderSentiment: {install_hint('sentiment')}") from error
    analyser = SentimentIntensityAnalyzer()

    def score(texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([analyser.polarity_scores(text)["compound"] for text in texts], np.float64)

    return score


def classifier_scorer(folder: Path) -> Scorer:
    """Of a classifier in a folder; nothing is fetched."""
    if not (folder / "config.json").is_file():
        what = "has no config.json" if folder.is_dir() else "no such folder"
        raise TextsError(f"--model {folder}: {what}; allowed: {LEXICON!r}, or the folder of a Hugging Face classifier")
    try:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
    except ModuleNotFoundError as error:
        raise ImportError(f"a classifier needs {error.name}: {install_hint('pretrain')}") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        network = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        ).eval()
    except (OSError, ValueError, KeyError) as error:
        raise TextsError(f"--model {folder}: {' '.join(str(error).split())[:200]}") from error
    good, bad = label_places(network.config.id2label, folder)

    def score(texts: Sequence[str]) -> NDArray[np.float64]:
        found = []
        with torch.inference_mode():
            for start in range(0, len(texts), BATCH):
                part = list(texts[start : start + BATCH])
                given: Any = tokenizer(
                    part, padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt"
                )
                shares = torch.softmax(network(**given).logits.double(), dim=-1)
                found.append((shares[:, good] - shares[:, bad]).numpy())
        return np.concatenate(found)

    return score


def label_places(labels: Mapping[int, str], folder: Path) -> tuple[int, int]:
    """Numbers of the good and the bad label.

    Raises:
        TextsError: their names are none that are known.
    """
    names = {str(name).lower(): number for number, name in labels.items()}
    found = [next((names[name] for name in known if name in names), None) for known in (POSITIVE, NEGATIVE)]
    if found[0] is None or found[1] is None:
        raise TextsError(
            f"--model {folder}: its labels are {sorted(names)}; one of {POSITIVE} and one of {NEGATIVE} are needed"
        )
    return int(found[0]), int(found[1])
