"""What envs that show themselves have in common: `render` and `close`."""

from typing import Any

import gymnasium as gym

from cryptoenv.rendering.portfolio_renderer import PortfolioRenderer
from cryptoenv.rendering.renderer import RENDER_MODES, Renderer


class PicturedEnv(gym.Env[dict[str, Any], Any]):
    """An env with a renderer, or with none (`_renderer` is None) where it was made without a render mode."""

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 10}  # noqa: RUF012 (as Gymnasium declares it)
    _renderer: Renderer | PortfolioRenderer | None

    def render(self) -> Any:
        """The current frame: (600, 800, 3) uint8 with `render_mode="rgb_array"`, text with "ansi".

        None with "human", where every reset and step shows itself; None and a warning without a render mode.

        Raises:
            RuntimeError: no episode was begun. ImportError: matplotlib is not installed.
        """
        if self._renderer is not None:
            return self._renderer.render()
        gym.logger.warn(f"render() shows nothing without a render_mode: make the env with one of {RENDER_MODES}")
        return None

    def close(self) -> None:
        """Close the window, if any; calling it again changes nothing."""
        if self._renderer is not None:
            self._renderer.close()
