"""How long to train the winner of a search."""

import math

from kerasnas.record import SearchRecord, TrialRecord

__all__ = ["final_epochs"]


def final_epochs(record: SearchRecord, epochs: int, trial: TrialRecord | None = None) -> int:
    """Return the epochs of a final training, from the learning curves of a trial; the best one unless it is given.

    All of `epochs` if the trial ran through or left no curve; if it was stopped early, up to the last epoch whose objective
    equals its best: on a plateau the first of equals is luck, and a single epoch is too few.
    """
    best = max if record.direction == "max" else min
    lengths = []
    for curve in (trial or record.best).curves:
        values = curve.get(record.objective, ())
        finite = [value for value in values if math.isfinite(value)]
        if finite and len(values) < epochs:
            lengths.append(1 + max(i for i, value in enumerate(values) if value == best(finite)))
        else:
            lengths.append(epochs)
    return max(lengths, default=epochs)
