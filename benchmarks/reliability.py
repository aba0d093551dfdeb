"""Draw the reliability diagrams of the weights that come with the package, from their cards: docs/reliability.png.

    python benchmarks/reliability.py [--out docs/reliability.png] [CARD.json ...]

For each card that has a calibration, classes and action units: how often a network is right that is so sure, before and
after its logits are divided by the temperature. Prints a table as well. Without cards: those of the package.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fdpbench.arithmetic import pin_arithmetic  # noqa: E402

pin_arithmetic()

import matplotlib  # noqa: E402
from tabulate import tabulate  # noqa: E402

from fdpbench.bench.train.artifacts import located, shipped_weights  # noqa: E402
from fdpbench.bench.train.cards import calibration_rows  # noqa: E402
from fdpbench.prep.store.documents import read_object  # noqa: E402

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

OUT = Path(__file__).resolve().parents[1] / "docs/reliability.png"
NAMES = {"classes": "classes", "units": "action units"}


def draw(place: Any, name: str, calibration: dict[str, Any]) -> None:
    """One diagram: accuracy by confidence, a point for each bin that holds a clip."""
    place.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    for step, style in (("before", {"color": "tab:orange", "linestyle": "--"}), ("after", {"color": "tab:blue"})):
        bins = [one for one in calibration["bins"][step] if one["count"]]
        sizes = [4 + 60 * one["count"] / sum(each["count"] for each in bins) for one in bins]
        points = [one["confidence"] for one in bins], [one["accuracy"] for one in bins]
        place.plot(*points, linewidth=1.2, label=f"{step}: ECE {calibration['ece'][step]:.3f}", **style)
        place.scatter(*points, s=sizes, color=style["color"])
    place.set_title(f"{name}\ntemperature {calibration['temperature']:.3f}", fontsize=8)
    place.set_xlim(0, 1)
    place.set_ylim(0, 1)
    place.tick_params(labelsize=7)
    place.legend(fontsize=7, loc="upper left")
    place.set_xlabel("probability", fontsize=7)
    place.set_ylabel("how often so", fontsize=7)


def main() -> None:
    """Draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cards", type=Path, nargs="*")
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    files = asked.cards or [located(file).with_suffix(".json") for file in shipped_weights().values()]
    cards = {file.stem: read_object(file, "make it again: make weights") for file in files}
    calibrated = {
        name: one["calibration"]
        for name, card in cards.items()
        for one in card["weights"].values()
        if "calibration" in one
    }
    if not calibrated:
        sys.exit(f"no calibration in {', '.join(map(str, files))}: make the cards again, `make weights`")
    figure, axes = plt.subplots(2, len(calibrated), figsize=(2.8 * len(calibrated), 6.0), squeeze=False)
    for column, (name, calibration) in enumerate(calibrated.items()):
        for row, key in enumerate(NAMES):
            if key in calibration:
                draw(axes[row][column], f"{name}, {NAMES[key]}", calibration[key])
            else:
                axes[row][column].set_axis_off()
    figure.tight_layout()
    figure.savefig(asked.out, dpi=110, metadata={"Software": None})
    table = [{"weights": name, **row} for name, card in cards.items() for row in calibration_rows(card)]
    print(tabulate([{key: value for key, value in row.items() if key != "file"} for row in table], "keys", "github"))
    print(asked.out)


if __name__ == "__main__":
    main()
