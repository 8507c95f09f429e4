"""A sheet of histograms: a line for each layer, its kernel on the left, what it computes on the right."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kerasnas.explain.model.weight_statistics import Distribution

__all__ = ["distribution_sheet"]

_MOST_LINES = 40
_KERNEL, _ACTIVATION, _DEAD = "#4c72b0", "#8a8a8a", "#c44e52"


def distribution_sheet(rows: "Sequence[Distribution]", samples: int) -> Any:
    """Draw the histograms of the kernels and the activations of the layers that have a kernel or a nonlinearity.

    Args:
        rows: as `WeightStatistics` holds them.
        samples: on how many samples the activations were looked at; 0 for none.

    Returns:
        A matplotlib figure. It has the first 40 layers, and says so if there are more.
    """
    from matplotlib.figure import Figure

    kernels: dict[str, Any] = {}
    for row in rows:
        if row.units is None and row.part.endswith("kernel"):
            kernels.setdefault(row.layer, row)
    activations = {row.layer: row for row in rows if row.units is not None}
    # In the order of computation where that is known.
    names = [name for name in activations if name in kernels or activations[name].dead_units is not None]
    names += [name for name in kernels if name not in activations]
    shown = names[:_MOST_LINES]
    columns = 2 if samples else 1
    figure = Figure(figsize=(1.6 + 4.2 * columns, 1.3 + 1.25 * max(1, len(shown))), dpi=110, layout="constrained")
    axes = figure.subplots(max(1, len(shown)), columns, squeeze=False)
    for line, name in enumerate(shown):
        _draw(axes[line, 0], kernels.get(name), _KERNEL)
        axes[line, 0].set_ylabel(_short(name), rotation=0, ha="right", va="center", fontsize=9)
        if samples:
            output = activations.get(name)
            _draw(axes[line, 1], output, _DEAD if output is not None and output.dead_units else _ACTIVATION)
    for axis in axes.flat[len(shown) * columns :]:
        axis.axis("off")
    axes[0, 0].set_title("weights of the kernel", fontsize=10, pad=20)
    if samples:
        title = f"output of the layer on {samples} samples\n(at the end: before the softmax; red: some units are dead)"
        axes[0, 1].set_title(title, fontsize=10, pad=20)
    rest = f" (the first {len(shown)} of {len(names)} layers)" if len(names) > len(shown) else ""
    figure.suptitle(f"Distributions of weights and activations{rest}\nheight: share of the numbers, square root", fontsize=11)
    return figure


def _draw(axis: Any, row: Any, colour: str) -> None:
    axis.set_yticks([])
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    if row is None:
        axis.set_xticks([])
        axis.spines["bottom"].set_visible(False)
        axis.text(0.5, 0.5, "no kernel", transform=axis.transAxes, ha="center", va="center", fontsize=8, color="#8a8a8a")
        return
    # The square root keeps the tails visible beside the peak at zero that a ReLU makes.
    axis.stairs(np.sqrt(row.histogram / row.histogram.sum()), row.edges, fill=True, color=colour)
    axis.tick_params(labelsize=7)
    facts = [f"mean {row.mean:.2g}", f"sd {row.sd:.2g}"]
    if row.units is None:
        facts += [f"stable rank {row.stable_rank:.3g}"]
    if row.zeros_share:
        facts += [f"zeros {row.zeros_share:.0%}"]
    if row.dead_units is not None:
        facts += [f"dead units {row.dead_units} of {row.units}"]
    axis.text(0, 1.03, ", ".join(facts), transform=axis.transAxes, ha="left", va="bottom", fontsize=7.5)


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:10]}…{name[-11:]}"
