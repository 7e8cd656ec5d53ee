"""What an episode looks like: its record, a text panel, a chart, a live window."""

from cryptoenv.rendering.record import (
    LONGEST_NAME,
    EpisodeRecord,
    Summary,
    drawdown,
    money_text,
    price_text,
    side_text,
    summarise,
)
from cryptoenv.rendering.renderer import (
    RENDER_MODES,
    Renderer,
    display_is_missing,
    require_matplotlib,
    require_render_mode,
    usable_render_modes,
)
from cryptoenv.rendering.text_panel import SPARKLINE_BARS, SPARKS, sparkline

__all__ = [
    "LONGEST_NAME",
    "RENDER_MODES",
    "SPARKLINE_BARS",
    "SPARKS",
    "EpisodeRecord",
    "Renderer",
    "Summary",
    "display_is_missing",
    "drawdown",
    "money_text",
    "price_text",
    "require_matplotlib",
    "require_render_mode",
    "side_text",
    "sparkline",
    "summarise",
    "usable_render_modes",
]
