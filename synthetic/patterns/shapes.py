"""The skeletons of chart patterns: turning points, named parts, lines, and what a trader who waits for them does.

After T. N. Bulkowski, "Encyclopedia of Chart Patterns" (2nd ed., 2005), whose identification guidelines also give the
volume: it recedes through triangles, rectangles and the right side of reversals, and rises with the breakout. Trends:
volume goes with the trend (Dow; Edwards & Magee, "Technical Analysis of Stock Trends").

A shape points up or is mirrored: `mirrored` turns levels over and swaps support with resistance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True)
class LineShape:
    """A straight line through two turning points, by their places; drawn from the first one to `end`."""

    name: str
    first: int
    second: int
    end: int


@dataclass(frozen=True)
class RuleShape:
    """What to do: wait from turning point `armed`, enter at a close beyond the line, leave at the target or the stop.

    Attributes:
        line: name of the line.
        side: 1 to enter long at a close above it, -1 to enter short at one below.
        armed: place of the turning point from which a close counts.
        target: log distance from the line, in heights, at which to take the profit.
        offset: how far beyond the line, in heights, the close must be.
        stop: how far back through the line, in heights, a close ends it.
    """

    line: str
    side: int
    armed: int
    target: float
    offset: float = 0.06
    stop: float = 0.35


@dataclass(frozen=True)
class PatternShape:
    """One pattern.

    Attributes:
        points: (time, level) of the turning points: time from 0 to 1, level in heights.
        parts: (name, first turning point, last turning point).
        lines: support, resistance, neckline, trend line.
        rule: what to do; None where waiting is best.
        volume: factor on the usual volume at each turning point.
        unrest: factor on the noise at each turning point; all 1 where empty.
        evident: place of the turning point at which a pattern without a rule can be told; 0 where a rule confirms it.
    """

    points: tuple[tuple[float, float], ...]
    parts: tuple[tuple[str, int, int], ...]
    lines: tuple[LineShape, ...]
    rule: RuleShape | None
    volume: tuple[float, ...]
    unrest: tuple[float, ...] = ()
    evident: int = 0


_OPPOSITES: Final = (
    ("support", "resistance"),
    ("rally", "decline"),
    ("peak", "trough"),
    ("throwback", "pullback"),  # Bulkowski: back to the line after a break upward, downward
)


def _mirrored_name(name: str) -> str:
    for pair in _OPPOSITES:
        for word, other in (pair, pair[::-1]):
            if word in name:
                return name.replace(word, other)
    return name


def mirrored(shape: PatternShape) -> PatternShape:
    """The same pattern upside down."""
    rule = shape.rule
    return replace(
        shape,
        points=tuple((time, -level) for time, level in shape.points),
        parts=tuple((_mirrored_name(name), first, last) for name, first, last in shape.parts),
        lines=tuple(replace(line, name=_mirrored_name(line.name)) for line in shape.lines),
        rule=replace(rule, line=_mirrored_name(rule.line), side=-rule.side) if rule else None,
    )


_TREND_UP: Final = PatternShape(
    points=((0, 0), (0.16, 0.42), (0.24, 0.24), (0.42, 0.75), (0.52, 0.52), (0.7, 1.1), (0.8, 0.87), (1, 1.45)),
    parts=(
        ("first leg", 0, 1),
        ("correction 1", 1, 2),
        ("second leg", 2, 3),
        ("correction 2", 3, 4),
        ("third leg", 4, 5),
        ("correction 3", 5, 6),
        ("fourth leg", 6, 7),
    ),
    lines=(LineShape("trend line", 2, 4, 7),),
    rule=RuleShape("trend line", 1, 4, 0.8, offset=0.1, stop=0.2),
    volume=(0.9, 1.5, 0.8, 1.5, 0.8, 1.5, 0.8, 1.4),
)

_BREAKOUT_UP: Final = PatternShape(
    points=(
        (0, 0.15),
        (0.1, 1),
        (0.22, 0),
        (0.34, 1),
        (0.46, 0),
        (0.57, 1),
        (0.65, 0.3),
        (0.72, 1),
        (0.82, 1.6),
        (0.87, 1.4),
        (1, 2.15),
    ),
    parts=(("range", 0, 7), ("breakout", 7, 8), ("throwback", 8, 9), ("move", 9, 10)),
    lines=(LineShape("resistance", 1, 3, 10), LineShape("support", 2, 4, 7)),
    rule=RuleShape("resistance", 1, 6, 1.0),
    volume=(1.1, 1, 0.95, 0.85, 0.8, 0.7, 0.65, 1.9, 2.2, 1, 1.3),
)

_FALSE_BREAKOUT_UP: Final = PatternShape(
    points=(
        (0, 0.15),
        (0.1, 1),
        (0.22, 0),
        (0.34, 1),
        (0.46, 0),
        (0.58, 1),
        (0.67, 1.45),
        (0.74, 1),
        (0.84, 0.1),
        (0.9, 0.2),
        (1, -0.4),
    ),
    parts=(("range", 0, 5), ("false breakout", 5, 7), ("return", 7, 8), ("failure", 8, 10)),
    lines=(LineShape("resistance", 1, 3, 8), LineShape("support", 2, 4, 10)),
    rule=RuleShape("resistance", -1, 6, 0.95),
    volume=(1.1, 1, 0.95, 0.85, 0.8, 0.9, 0.7, 1.3, 1.6, 1, 1.2),  # the bait: it breaks on little volume
)

_REVERSAL_TOP: Final = PatternShape(
    points=(
        (0, -0.6),
        (0.16, 0),
        (0.22, -0.2),
        (0.38, 0.7),
        (0.45, 0.38),
        (0.56, 1),
        (0.66, 0.55),
        (0.72, 0.68),
        (0.88, -0.35),
        (1, -0.6),
    ),
    parts=(("rally", 0, 5), ("peak", 4, 6), ("reaction", 6, 7), ("decline", 7, 9)),
    lines=(LineShape("trend line", 2, 4, 7),),
    rule=RuleShape("trend line", -1, 6, 0.9, offset=0.1),
    volume=(0.9, 1.2, 0.8, 1.4, 0.9, 2.2, 1.5, 0.9, 1.5, 1),
)

_CONSOLIDATION: Final = PatternShape(
    points=(
        (0, 0),
        (0.1, 0.5),
        (0.21, -0.5),
        (0.33, 0.5),
        (0.45, -0.5),
        (0.56, 0.5),
        (0.68, -0.5),
        (0.8, 0.5),
        (0.91, -0.5),
        (1, 0),
    ),
    parts=(("range", 0, 9),),
    lines=(LineShape("resistance", 1, 3, 9), LineShape("support", 2, 4, 9)),
    rule=None,
    volume=(1.2, 1.1, 1, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6),
    evident=5,  # both lines have been touched twice
)

_HEAD_AND_SHOULDERS: Final = PatternShape(
    points=(
        (0, -0.8),
        (0.17, 0.55),
        (0.28, 0),
        (0.42, 1),
        (0.56, 0),
        (0.68, 0.52),
        (0.77, 0),
        (0.84, -0.4),
        (0.88, -0.2),
        (1, -1.05),
    ),
    parts=(
        ("rally", 0, 1),
        ("left shoulder", 0, 2),
        ("head", 2, 4),
        ("right shoulder", 4, 6),
        ("breakout", 6, 7),
        ("pullback", 7, 8),
        ("move", 8, 9),
    ),
    lines=(LineShape("neckline", 2, 4, 9),),
    rule=RuleShape("neckline", -1, 5, 0.95),
    volume=(1, 1.8, 0.9, 1.5, 0.8, 0.9, 1.1, 2, 0.9, 1.4),  # highest on the left shoulder, least on the right
)

_DOUBLE_TOP: Final = PatternShape(
    points=((0, -0.8), (0.24, 1), (0.4, 0), (0.56, 1), (0.7, 0), (0.79, -0.4), (0.85, -0.18), (1, -1.1)),
    parts=(("rally", 0, 1), ("peak 1", 0, 2), ("peak 2", 2, 4), ("breakout", 4, 5), ("pullback", 5, 6), ("move", 6, 7)),
    lines=(LineShape("resistance", 1, 3, 4), LineShape("neckline", 2, 2, 7)),
    rule=RuleShape("neckline", -1, 3, 0.95),
    volume=(1, 1.8, 0.8, 1.2, 1, 2, 0.9, 1.4),  # the left peak has more volume than the right one
)

_ASCENDING_TRIANGLE: Final = PatternShape(
    points=(
        (0, -0.3),
        (0.12, 1),
        (0.26, 0),
        (0.38, 1),
        (0.48, 0.4),
        (0.57, 1),
        (0.645, 0.7),
        (0.71, 1),
        (0.8, 1.6),
        (0.85, 1.4),
        (1, 2.1),
    ),
    parts=(("triangle", 1, 7), ("breakout", 7, 8), ("throwback", 8, 9), ("move", 9, 10)),
    lines=(LineShape("resistance", 1, 3, 10), LineShape("support", 2, 4, 7)),
    rule=RuleShape("resistance", 1, 6, 1.0),
    volume=(1.2, 1.5, 1.2, 1.05, 0.9, 0.75, 0.6, 1.8, 2.2, 0.9, 1.3),
)

_SYMMETRICAL_TRIANGLE: Final = PatternShape(
    points=(
        (0, -0.5),
        (0.12, 0.6),
        (0.25, -0.48),
        (0.38, 0.34),
        (0.49, -0.24),
        (0.59, 0.14),
        (0.66, -0.08),
        (0.71, 0.03),
        (0.81, 0.65),
        (0.86, 0.42),
        (1, 1.15),
    ),
    parts=(("triangle", 1, 7), ("breakout", 7, 8), ("throwback", 8, 9), ("move", 9, 10)),
    lines=(LineShape("resistance", 1, 3, 7), LineShape("support", 2, 4, 7)),
    rule=RuleShape("resistance", 1, 6, 1.0, offset=0.1),
    volume=(1.2, 1.5, 1.2, 1.05, 0.9, 0.75, 0.6, 1.6, 2.2, 0.9, 1.3),
)

_SUPPORT_REACTION: Final = PatternShape(
    points=((0, 0.9), (0.14, 0), (0.28, 0.75), (0.42, 0), (0.56, 0.7), (0.7, 0), (0.85, 0.75), (1, 1.1)),
    parts=(("touch 1", 0, 2), ("touch 2", 2, 4), ("touch 3", 4, 6), ("move", 6, 7)),
    lines=(LineShape("support", 1, 3, 7),),
    rule=RuleShape("support", 1, 5, 0.75, offset=0.22, stop=0.2),
    volume=(0.9, 1.7, 0.8, 1.6, 0.8, 1.6, 0.9, 1),
)

_VOLATILITY_CYCLE: Final = PatternShape(
    points=(
        (0, 0),
        (0.06, 0.12),
        (0.12, -0.12),
        (0.19, 0.4),
        (0.27, -0.5),
        (0.34, 0.3),
        (0.41, -0.12),
        (0.47, 0.08),
        (0.54, -0.08),
        (0.61, 0.12),
        (0.68, -0.4),
        (0.76, 0.5),
        (0.83, -0.3),
        (0.9, 0.12),
        (0.96, -0.08),
        (1, 0),
    ),
    parts=(
        ("contraction 1", 0, 2),
        ("expansion 1", 2, 5),
        ("contraction 2", 5, 9),
        ("expansion 2", 9, 12),
        ("contraction 3", 12, 15),
    ),
    lines=(),
    rule=None,
    volume=(0.6, 0.6, 0.8, 1.6, 2, 1.5, 0.9, 0.6, 0.5, 0.8, 1.6, 2, 1.5, 0.8, 0.6, 0.6),
    unrest=(0.4, 0.4, 0.7, 1.5, 1.8, 1.4, 0.7, 0.4, 0.4, 0.7, 1.5, 1.8, 1.4, 0.6, 0.4, 0.4),
    evident=9,  # it has contracted, expanded and contracted again
)

SHAPES: Final[dict[str, PatternShape]] = {
    "trend_up": _TREND_UP,
    "trend_down": mirrored(_TREND_UP),
    "breakout_up": _BREAKOUT_UP,
    "breakout_down": mirrored(_BREAKOUT_UP),
    "false_breakout_up": _FALSE_BREAKOUT_UP,
    "false_breakout_down": mirrored(_FALSE_BREAKOUT_UP),
    "reversal_top": _REVERSAL_TOP,
    "reversal_bottom": mirrored(_REVERSAL_TOP),
    "consolidation": _CONSOLIDATION,
    "head_and_shoulders": _HEAD_AND_SHOULDERS,
    "inverse_head_and_shoulders": mirrored(_HEAD_AND_SHOULDERS),
    "double_top": _DOUBLE_TOP,
    "double_bottom": mirrored(_DOUBLE_TOP),
    "ascending_triangle": _ASCENDING_TRIANGLE,
    "descending_triangle": mirrored(_ASCENDING_TRIANGLE),
    "symmetrical_triangle_up": _SYMMETRICAL_TRIANGLE,
    "symmetrical_triangle_down": mirrored(_SYMMETRICAL_TRIANGLE),
    "support_reaction": _SUPPORT_REACTION,
    "resistance_reaction": mirrored(_SUPPORT_REACTION),
    "volatility_cycle": _VOLATILITY_CYCLE,
}
