"""What the segmentation benchmark compares: variants of the recipe, ways of joining timeframes, filters as ceilings."""

from __future__ import annotations

from dataclasses import replace

from pretrain.segmenter.config import SegmenterFeatures
from pretrain.segmenter.recipe import SegmenterRecipe
from synthetic import EVERYTHING, OBSERVABLE, Information

SEEDS = 3
#: CPU seconds of what begins anew: parts taken away, each way of joining, the founding design.
ANEW_SECONDS, JOIN_SECONDS, DESIGN_SECONDS = 30.0, 8.0, 60.0
STEPS = {"easy": 60, "real": 60}  #: of each training that does not, where they are not the recipe's
FALSE_SHARE = 0.25  #: false changes per bar of the fixed rate, in units of the labels' own changes
FULL, NO_PURSUIT, NO_MACHINE = "segmenter", "without pursuit", "without machine"
ANEW, ONE_SCALE, SEED_DESIGN = "begun anew", "one timescale, begun anew", "founding design"
FILTER = "exact filter"
#: What nobody can beat; where markets have a latent level of volatility, the filter is given it, and no trader is.
FILTERS = {
    FILTER: EVERYTHING, "exact filter, the volatility level estimated": OBSERVABLE,
    "exact filter without volume": Information(volume=False), "exact filter of 256 bars": Information(memory=256),
    "exact filter of 64 bars": Information(memory=64),
}  # fmt: skip
CEILINGS = {"standard": tuple(FILTERS), "easy": (FILTER,), "joins": (FILTER,), "real": ()}


def variants(recipe: SegmenterRecipe, part: str) -> dict[str, SegmenterRecipe]:
    """The segmenter with parts taken away; of all parts but "standard", the pursuit alone."""
    plain = replace(recipe.reads, pursuit=False)
    anew = SegmenterRecipe.read("segmenter_anew")
    config = anew.architecture
    alone = replace(config, timeframes=config.timeframes[:1], window=config.window[:1], patches=config.patches[:1])
    single = SegmenterFeatures(pursuit_window=anew.reads.pursuit_window[:1])
    both = {FULL: recipe, NO_PURSUIT: replace(recipe, reads=plain)}
    if part != "standard":
        return both
    return both | {
        ANEW: anew,
        ONE_SCALE: replace(anew, architecture=alone, reads=single),
    }


def joins() -> dict[str, SegmenterRecipe]:
    """Ways of joining timeframes, and bodies, of one size, begun anew and without a memory; and the founding design."""
    plain = SegmenterRecipe.read("segmenter_anew")
    small = replace(plain.architecture, window=(32, 32, 32), patches=(4, 4, 4))
    changes = {
        "tokens": {}, "separate": {"join": "separate"}, "concatenation": {"join": "concatenation"},
        "tokens, GPT body": {"encoder": "gpt"},
    }  # fmt: skip
    named = {
        name: replace(plain, architecture=replace(small, **changed))  # type: ignore[arg-type]
        for name, changed in changes.items()
    }
    return named | {SEED_DESIGN: SegmenterRecipe.read("segmenter_seed")}
