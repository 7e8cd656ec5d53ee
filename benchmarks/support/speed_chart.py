"""A bar chart of `benchmarks.env_speed`: how many steps a second, ours beside each reference.

`python -m benchmarks.support.speed_chart [--results FILE] [--out FILE]` reads the JSON and writes a PNG.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from cryptoenv.files.durable_files import make_folder, write_figure

#: What to show: the start of the row's measure, the group's label, the reference's name.
GROUPS = (
    ("gym.make, three timeframes, full costs, observation 'window'", "gym.make\n3 timeframes", "CartPole-v1"),
    ("gym.make, one timeframe, window 50 / gym-anytrading", "gym.make\nwindow 50", "gym-anytrading"),
    ("gym.make, one timeframe, window 50 / Gym-Trading-Env", "gym.make\nwindow 50", "Gym-Trading-Env"),
    ("make_vec 'index', N = 4096, all", "make_vec\nN = 4096, index", "CartPole-v1"),
    ("make_vec 'window', N = 1024 / 1024", "make_vec\nN = 1024, windows", "1024 Gym-Trading-Env"),
)
OURS, THEIRS = "#1f6f8b", "#b8b8b8"


def speed_chart(results: dict[str, Any], out: Path) -> None:
    """Draw the rows of GROUPS that were measured; a reference that was not installed is left out.

    Raises:
        ValueError: no row of GROUPS was measured.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = [(label, name, row) for start, label, name in GROUPS for row in results["rows"] if _is(row, start)]
    if not found:
        raise ValueError("the results hold none of the rows to draw: run `make bench-peers` first")
    figure, axes = pyplot.subplots(figsize=(9.0, 4.2), layout="constrained")
    for i, (_, name, row) in enumerate(found):
        for offset, value, colour in ((-0.2, row["ours"], OURS), (0.2, row["reference"], THEIRS)):
            bar = axes.bar(i + offset, value, width=0.38, color=colour)
            axes.bar_label(bar, [_rate(value)], padding=2, fontsize=9)
        axes.text(i + 0.2, 1.3e2, name, rotation=90, ha="center", va="bottom", fontsize=8, color="#303030")
        axes.text(i - 0.2, 1.3e2, "CryptoTrade-v0", rotation=90, ha="center", va="bottom", fontsize=8, color="white")
    axes.set_yscale("log")
    axes.set_ylim(1e2, 1e8)
    axes.set_xticks(range(len(found)), [label for label, _, _ in found])
    axes.set_ylabel("env steps per second (log)")
    axes.set_title("Speed: CryptoTrade-v0 with all costs on, beside references in the same run")
    axes.spines[["top", "right"]].set_visible(False)
    make_folder(out.parent)
    write_figure(figure, out, dpi=110)
    pyplot.close(figure)


def _is(row: dict[str, Any], start: str) -> bool:
    return row["measure"].startswith(start) and "ratio" in row


def _rate(value: float) -> str:
    return f"{value / 1e6:.1f}M" if value >= 1e6 else f"{value / 1e3:.0f}k"


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/env_speed.json"))
    parser.add_argument("--out", type=Path, default=Path("docs/images/env_speed.png"))
    options = parser.parse_args()
    speed_chart(json.loads(options.results.read_text(encoding="utf-8")), options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
