"""Colours of a report by their part, in the light and the dark theme: one place for the page and the pictures.

Text reaches a contrast of 4.5 on its background and lines one of 3 (WCAG 2.2, AA) in both; tests hold it.
"""

from __future__ import annotations

#: Part -> (light, dark).
COLOURS: dict[str, tuple[str, str]] = {
    "page": ("#ffffff", "#11151c"),
    "card": ("#f5f7fa", "#1a202b"),
    "text": ("#1b2330", "#e6eaf1"),
    "quiet": ("#566070", "#a3aebf"),
    "rule": ("#cfd6e0", "#364152"),
    "grid": ("#e3e8ef", "#2a3342"),
    "link": ("#0b57b5", "#7db8ff"),
    "main": ("#0b5fc0", "#64adff"),
    "held": ("#6b7280", "#9aa6b8"),
    "second": ("#a8480a", "#f2a33c"),
    "third": ("#7336c9", "#b99cff"),
    "fourth": ("#0a7285", "#4fd0e0"),
    "fifth": ("#a81b60", "#f58ab8"),
    "sixth": ("#6a6200", "#d3c53c"),
    "gain": ("#0c7a4d", "#45c98b"),
    "loss": ("#bf2630", "#ff7d7d"),
    "best": ("#0c7a4d", "#45c98b"),
}
BACKGROUNDS = ("page", "card")
TEXTS = ("text", "quiet", "link", "gain", "loss")
LINES = ("main", "held", "second", "third", "fourth", "fifth", "sixth", "gain", "loss", "best")
#: In the order in which lines take them.
SERIES = ("main", "second", "third", "fourth", "fifth", "sixth")


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2, relative luminance of sRGB)."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
