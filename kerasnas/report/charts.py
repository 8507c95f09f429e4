"""The charts of the page, as SVG text."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np

from kerasnas.errors import InvalidArgument
from kerasnas.explain.search.beliefs import winner_labels
from kerasnas.record import SearchRecord
from kerasnas.report.proposals import prediction
from kerasnas.report.svg import ACCENT, FAINT, INK, MUTED, SECOND, short, svg
from kerasnas.report.trial_rows import stop_text
from kerasnas.trial_record import WRONG

__all__ = [
    "belief_chart",
    "confusion_chart",
    "curves_chart",
    "entropy_chart",
    "foresight_chart",
    "trials_chart",
]

# A policy whose entropy is more than this share of that of blind choice has learned nothing to speak of.
_BLIND = 0.99


def trials_chart(record: SearchRecord) -> str:
    """Score of each trial in order, and the best so far."""
    numbers = {trial.trial_id: i + 1 for i, trial in enumerate(record.trials)}
    xs = [numbers[trial.trial_id] for trial in record.completed]
    scores = [trial.score or 0.0 for trial in record.completed]
    lost = [numbers[trial.trial_id] for trial in record.trials if trial.status in ("FAILED", "INVALID")]

    style: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "color": SECOND}

    def draw(axes: Any) -> None:
        axes.step([*xs, len(record.trials) + 0.4], [*record.best_so_far(), record.best.score], where="post", color=ACCENT, lw=2)
        axes.scatter(xs, scores, s=34, color="white", edgecolors=INK, zorder=3, label="trial")
        for trial in record.completed:  # what the search went by, of a trial that was stopped early
            if trial.expected_score != trial.score:
                x, ends = numbers[trial.trial_id], (trial.score, trial.expected_score)
                axes.plot([x, x], ends, color=FAINT, lw=1.5, zorder=1)
                axes.scatter([x], ends[1:], s=34, marker="_", color=MUTED, zorder=2)
        best = numbers[record.best.trial_id]
        axes.scatter([best], [record.best.score], s=70, color=SECOND, zorder=4)
        axes.annotate("winner", (best, record.best.score), xytext=(0, 9), **style)
        _zoom(axes, scores, record.direction)
        _mark_off_chart(axes, [(x, score, MUTED, 36) for x, score in zip(xs, scores, strict=True)])
        for x in lost:
            axes.annotate("x", (x, axes.get_ylim()[0]), color="#b42318", ha="center", va="bottom")
        axes.set_xlabel("trial" + (" (x: failed)" if lost else ""))
        axes.set_ylabel(record.objective)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, min_n_ticks=1))

    return svg(draw, 7.2, 3.0)


def curves_chart(record: SearchRecord) -> str | None:
    """Learning curves of the first objective that has some, the winner's in colour; None if there are none.

    A cross marks the last epoch of a trial that was stopped; why is shown where the pointer is on it.
    """
    recorded = {name for trial in record.trials for curve in trial.curves for name in curve}
    objectives = ((record.objective, record.direction), *record.objectives)
    objective, direction = next((one for one in objectives if one[0] in recorded), (None, "max"))
    if objective is None:
        return None
    runs = [(trial, curve[objective]) for trial in record.trials for curve in trial.curves if objective in curve]
    winner = record.best.trial_id if record.completed else None

    def draw(axes: Any) -> dict[str, str]:
        for trial, values in sorted(runs, key=lambda run: run[0].trial_id == winner):
            chosen = trial.trial_id == winner
            style = {"color": SECOND, "lw": 2.2, "zorder": 3} if chosen else {"color": MUTED, "lw": 1, "alpha": 0.55}
            axes.plot(range(1, len(values) + 1), values, marker="o", ms=3 if chosen else 2, **style)
        axes.set_xlabel("epoch")
        axes.set_ylabel(objective)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, min_n_ticks=1))
        _zoom(axes, [v for _, values in runs for v in values if math.isfinite(v)], direction)
        bottom, top = axes.get_ylim()
        titles = {}
        for number, trial in enumerate(record.trials, 1):
            values = trial.curves[-1].get(objective, ()) if trial.curves and trial.stopped is not None else ()
            known = [value for value in values if math.isfinite(value)]
            if known:
                y = min(max(known[-1], bottom), top)  # at the edge if it is off the chart
                style = {"color": INK, "markeredgecolor": "white", "markeredgewidth": 0.8, "zorder": 4, "clip_on": False}
                axes.plot(len(values), y, "X", ms=8, gid=f"stopped-{number}", **style)
                titles[f"stopped-{number}"] = f"trial {number} {stop_text(trial)}"
        return titles

    return svg(draw, 7.2, 3.0)


def belief_chart(record: SearchRecord, *, limit: int = 10) -> str | None:
    """For the decisions of the winner on which the policy is most decided, how likely it finds each value.

    A piece of a bar says which value it is where the pointer is on it. None if nothing was learned of any.
    """
    policies = [trial.policy for trial in record.trials if trial.policy]
    if not policies:
        return None
    last = policies[-1]
    winner = _winner(record) if record.completed else {}
    share = {name: _entropy(p.values()) / math.log(len(p)) for name, p in last.items() if len(p) > 1}
    learned = [name for name in share if share[name] < _BLIND and (name in winner or not winner)]
    names = sorted(learned, key=lambda name: math.log(len(last[name])) * (share[name] - 1))[:limit]
    if not names:
        return None

    def draw(axes: Any) -> dict[str, str]:
        titles = {}
        for row, name in enumerate(names):
            left = 0.0
            for i, (label, probability) in enumerate(last[name].items()):
                chosen = winner.get(name) == label
                colour = SECOND if chosen else mpl.colormaps["Blues"](0.15 + 0.35 * i / max(len(last[name]) - 1, 1))
                (bar,) = axes.barh(row, probability, left=left, color=colour, edgecolor="white", height=0.72)
                bar.set_gid(f"belief-{row}-{i}")
                titles[f"belief-{row}-{i}"] = f"{name} {label}: {100 * probability:.0f} %"
                if probability > 0.035 + 0.012 * len(label):
                    axes.text(left + probability / 2, row, label, ha="center", va="center", fontsize=8, color=INK)
                left += probability
        axes.set_yticks(range(len(names)), [short(name) for name in names])
        axes.tick_params(axis="y", colors=INK, length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("probability at the last proposal (orange: the winner's value)")
        return titles

    return svg(draw, 7.2, 0.8 + 0.34 * len(names))


def entropy_chart(record: SearchRecord) -> str | None:
    """Mean entropy of the decisions at each proposal, as a share of that of uniform choice; None if nothing was learned."""
    points = []
    for number, trial in enumerate(record.trials, 1):
        shares = [_entropy(p.values()) / math.log(len(p)) for p in (trial.policy or {}).values() if len(p) > 1]
        if shares:
            points.append((number, sum(shares) / len(shares)))
    if len(points) < 2 or min(entropy for _, entropy in points) > _BLIND:
        return None

    def draw(axes: Any) -> None:
        axes.plot(*zip(*points, strict=True), color=ACCENT, lw=2, marker="o", ms=3)
        axes.set_ylim(0, 1.05)
        axes.set_xlabel("trial")
        axes.set_ylabel("entropy (1: knows nothing)")
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, min_n_ticks=1))

    return svg(draw, 7.2, 2.4)


def foresight_chart(record: SearchRecord) -> str | None:
    """The predicted score of each trial, two standard deviations up and down, and what came; None without predictions."""
    numbered = [(number, trial, prediction(trial, record)) for number, trial in enumerate(record.trials, 1)]
    foretold = [(number, expected) for number, _, expected in numbered if expected]
    came = [(number, score) for number, trial, _ in numbered if (score := trial.expected_score) is not None]
    if not foretold:
        return None

    def draw(axes: Any) -> None:
        numbers, expected = zip(*foretold, strict=True)
        means, deviations = np.asarray(expected).T
        axes.errorbar(
            numbers, means, 2 * deviations, fmt="_", color=ACCENT, ecolor=FAINT, elinewidth=5, ms=7, label="predicted"
        )
        if came:
            axes.scatter(*zip(*came, strict=True), s=16, color=SECOND, zorder=3, label="came")
        axes.set_xlabel("trial")
        axes.set_ylabel(record.objective)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, min_n_ticks=1))
        _zoom(axes, [*(score for _, score in came), *means], record.direction)
        predicted = [(x, mean, ACCENT, 70) for x, mean in zip(numbers, means, strict=True)]  # seen behind what came
        _mark_off_chart(axes, [*predicted, *((x, score, SECOND, 36) for x, score in came)])

    return svg(draw, 7.2, 2.6)


def confusion_chart(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    """Confusion matrix: true classes down, predicted ones across; mistakes in orange."""
    counts = np.asarray(matrix)
    n = len(counts)
    labels = [short(label) for label in labels]
    size = min(max(3.2, 0.46 * n + 1.6), 8.0) + 0.04 * max(map(len, labels))

    def draw(axes: Any) -> None:
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        diagonal = np.eye(n, dtype=bool)
        colours = np.ones((n, n, 3))
        blue, orange = np.asarray([0.12, 0.44, 0.92]), np.asarray([0.85, 0.45, 0.05])
        for mask, colour in ((diagonal, blue), (~diagonal, orange)):
            strength = share if colour is blue else np.minimum(5 * share, 1)
            colours[mask] = (1 - (1 - colour) * (0.85 * strength)[..., None])[mask]
        axes.imshow(colours)
        if n <= 20:
            for i, j in np.ndindex(n, n):
                if counts[i, j]:
                    dark = diagonal[i, j] and share[i, j] > 0.5
                    axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=8, color="white" if dark else INK)
        axes.set_xticks(range(n), labels, rotation=90 if max(map(len, labels)) > 3 else 0, fontsize=8)
        axes.set_yticks(range(n), labels, fontsize=8)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.tick_params(length=0)

    return svg(draw, size, size)


def _winner(record: SearchRecord) -> dict[str, str | None]:
    """Return the winner's values by the names that a policy has for them."""
    plain = {name: str(value) for name, value in record.best.values.items() if name not in record.best.unused}
    try:
        return {**plain, **winner_labels(record)}
    except (*WRONG, InvalidArgument):  # a space that cannot be read
        return {**plain}


def _zoom(axes: Any, scores: Sequence[float], direction: str) -> None:
    """Keep a few very bad scores from pressing all others into one line."""
    if len(scores) < 3:
        return
    low, high = np.quantile(scores, [0.25, 1.0] if direction == "max" else [0.0, 0.75])
    margin = max((high - low) * 1.2, 1e-3 * max(abs(high), 1e-3))
    bottom, top = min(scores), max(scores)
    if direction == "max":
        bottom = max(bottom, low - margin)
    else:
        top = min(top, high + margin)
    pad = 0.12 * max(top - bottom, 1e-6)
    axes.set_ylim(bottom - pad, top + 1.6 * pad)


def _mark_off_chart(axes: Any, points: Sequence[tuple[int, float, str, int]]) -> None:
    """Draw an arrow for each (x, y, colour, size) that the axis leaves out, and its value where one of three rows has room."""
    bottom, top = axes.get_ylim()
    room = 0.065 * np.ptp(axes.get_xlim())
    ends = {edge: [-math.inf] * 3 for edge in (bottom, top)}  # the x of the last value in each row
    for x, y, color, size in sorted(points):
        if bottom <= y <= top:
            continue
        edge, mark, place, step = (bottom, "v", 10, 9) if y < bottom else (top, "^", -16, -9)
        axes.scatter([x], [edge], s=size, marker=mark, color=color, clip_on=False, zorder=5 - size / 100)
        row = next((row for row, last in enumerate(ends[edge]) if x - last >= room), None)
        if row is not None:
            ends[edge][row] = x
            style = {"textcoords": "offset points", "ha": "center", "color": color, "fontsize": 8}
            axes.annotate(f"{y:.3g}", (x, edge), xytext=(0, place + row * step), **style)


def _entropy(probabilities: Any) -> float:
    return -sum(p * math.log(p) for p in probabilities if p > 0)
